"""In which state a job is and how far, in words."""

from __future__ import annotations

from pipelines.store.records import ENDED
from ui.look.language import tr, tr_n
from ui.look.wording import Row, ago, called, position, time_left

TONES = {"completed": "good", "failed": "bad", "interrupted": "warn"}


def state_of(row: Row) -> tuple[str, str]:
    """Return in what state a job is, in words, and the tone of its label."""
    status = str(row["status"])
    tone, state = TONES.get(status, ""), called(status)
    failed = sum(file.get("status") == "failed" for file in row.get("files") or ())
    if status == "completed" and failed:
        return tr_n("Done, {count} failed", "Done, {count} failed", count=failed), "warn"
    if status == "pending" and row.get("attempts"):
        said = tr_n(
            "Tried {count} time, waiting to try again",
            "Tried {count} times, waiting to try again",
            count=int(row["attempts"]),
        )
        return said, "warn"
    if row.get("dead_letter"):
        return tr_n("Given up after {count} try", "Given up after {count} tries", int(row["attempts"])), "bad"
    return state, tone


def how_far(row: Row) -> str:
    """Return of a job that waits or runs how far it is and how long it will take; of another one its age."""
    if row["status"] in ENDED:
        return ago(row["created_at"])
    if row["status"] == "pending":
        far = position(row.get("position"))
    else:
        far = tr("{percent} %", percent=f"{100 * float(row['progress'] or 0):.0f}")
    left = time_left(row.get("eta_s"))
    return f"{far} · {left}" if left else far
