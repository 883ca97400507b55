"""Which rows go when a job is deleted, into the trash or for good, and which come back with it.

The upload of a job goes with the last job that works on it, and comes back with the first.
"""

from __future__ import annotations

from pipelines.store.records import ENDED, Row, uploads_of
from pipelines.store.registry import Registry
from rvc.errors import NotAllowedError


def going_with(registry: Registry, row: Row, *, purge: bool) -> list[str]:
    """Return the ids of a job to delete, and of what nobody needs then; NotAllowedError if one needs it."""
    if row["status"] not in ENDED and row["status"] != "uploaded":
        raise NotAllowedError(f"This job is {row['status']}; stop it first, then delete it.")
    others = [other for other in registry.list("jobs") if other["id"] != row["id"]]
    present = [other for other in others if not other.get("deleted_at")]
    if users := sum(row["id"] in uploads_of(other) for other in present):
        raise NotAllowedError(
            f"{users} of your jobs work on this upload; delete them, and it goes with the last."
        )
    if any(other["input_job_id"] == row["id"] and other["status"] not in ENDED for other in present):
        raise NotAllowedError("A job that was started from this one waits or runs; wait for it, or stop it.")
    # What is in the trash needs its upload too, to come back; an upload that goes for good takes it along.
    needing = others if purge else present
    useless = [other["id"] for other in others if purge and row["id"] in uploads_of(other)]
    return [row["id"], *useless, *uploads_of(row).difference(*map(uploads_of, needing))]


def coming_with(row: Row) -> list[str]:
    """Return the ids of a job of the trash that is brought back, and of its uploads."""
    if not row.get("deleted_at"):
        raise NotAllowedError("This job was not deleted, so there is nothing to restore.")
    return [row["id"], *uploads_of(row)]
