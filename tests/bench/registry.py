"""What a registry of many rows costs: `python -m tests.bench.registry [rows]` prints times of here.

Twice: as a server has them that has run for long, most of them ended and in the dated archives; and, which is
the worst, all of them in the registry itself, where they have ended but are not yet old. What has a bar says
PASS or MISSED, and the exit status is 1 if anything was missed. A start is that of the jobs: what the page
itself takes does not depend on the rows.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.layout import JOURNAL_NAME, LOCK_NAME, REGISTRY_NAME
from pipelines.store.records import Caller, Row, Rows, as_text, new_job
from pipelines.store.registry import SCHEMA_TABLE, SCHEMA_VERSION
from pipelines.store.storage import LEAST_FOLDED_BYTES

USERS = 200
STATUSES = ("completed", "completed", "failed", "cancelled")
LIVE = 5_000  # rows that a server keeps in its registry, of many
DAYS = 365  # over which the others lie in archives
TRIES = 50
START_S, CHANGE_S, LIST_S = 3.0, 0.020, 0.300  # the bars
ADMIN, USER = Caller("admin", admin=True), Caller("client-7")

_missed: list[str] = []


def row(number: int, **fields: object) -> Row:
    """A job as conversions leave them, with what takes room in it."""
    files = [
        {"name": f"recording {number}.wav", "seconds": 12.0, "sha256": f"{number:064x}", "size_bytes": 10**6}
    ]
    return new_job(
        f"client-{number % USERS}",
        "conversion",
        status=STATUSES[number % 4],
        seq=number,
        files=files,
        settings={"transpose_semitones": 3, "index_rate": 0.5},
        result={"seconds": 12.0, "transpose_semitones": 3.0, "source_median_hz": 110.0},
    ) | dict(fields)


def fill(data_dir: Path, rows: Rows, archived: Rows) -> None:
    """Write a data folder with rows in its registry and others in its archives, a file a day."""
    data_dir.mkdir(parents=True, exist_ok=True)
    table = {str(one["id"]): one for one in rows}
    document = {SCHEMA_TABLE: {"schema": {"version": SCHEMA_VERSION}}, "jobs": table}
    (data_dir / REGISTRY_NAME).write_bytes(orjson.dumps(document))
    (data_dir / "archive").mkdir()
    each, today = max(1, len(archived) // DAYS), datetime.now(UTC)
    for number, at in enumerate(range(0, len(archived), each)):
        day = today - timedelta(days=DAYS + 2 - number)
        lines = [orjson.dumps(one | {"updated_at": as_text(day)}) + b"\n" for one in archived[at : at + each]]
        (data_dir / "archive" / f"jobs-{day:%Y-%m-%d}.jsonl").write_bytes(b"".join(lines))


def started(data_dir: Path, what: str) -> Jobs:
    """Start a server's jobs on a folder and say how long that took."""
    began_s = time.perf_counter()
    jobs = Jobs(Settings(data_dir=data_dir))
    jobs.start()
    _say(what, [time.perf_counter() - began_s], START_S)
    return jobs


def measure(data_dir: Path, rows: int, archived: int) -> None:
    """Print what the acts of a server take on a folder, and its start after a kill."""
    print(f"{rows:,} rows in the registry, {archived:,} in the archives")  # noqa: T201
    waiting = [row(rows + number, status="pending", not_before=time.time() + 58) for number in range(TRIES)]
    fill(data_dir, [row(number) for number in range(rows)] + waiting, [row(n) for n in range(archived)])
    jobs = started(data_dir, "start")
    ids = list(jobs.registry.ids("jobs"))[:: max(1, rows // TRIES)]
    _repeat("a row is read", ids, lambda job_id: jobs.get(ADMIN, job_id))
    _repeat(
        "a state change: a row is written",
        ids,
        lambda job_id: jobs.registry.update("jobs", job_id, message="changed"),
        CHANGE_S,
    )
    pending = [str(one["id"]) for one in waiting]
    _repeat(
        "a state change: a job is cancelled", pending, lambda job_id: jobs.cancel(ADMIN, job_id), CHANGE_S
    )
    lists: dict[str, Callable[[str], Rows]] = {
        "a list: a user's jobs": lambda _: jobs.list(USER),
        "a list: those that failed": lambda _: jobs.list(USER, status="failed"),
        "a list: an admin's, of a user and a type": lambda _: jobs.list(
            ADMIN, user_id="client-9", type="conversion"
        ),
        "a list: an admin's newest 200 that failed": lambda _: jobs.list(ADMIN, status="failed", most=200),
        "archive: a user's that failed": lambda _: jobs.archived.list(USER, status="failed"),
        "archive: a user's search": lambda _: jobs.archived.list(USER, "recording 1207.wav"),
        "archive: an admin's, for what is not there": lambda _: jobs.archived.list(ADMIN, "no such words"),
    }
    for what, act in lists.items():
        _repeat(what, ids[:10], act, LIST_S)
    grow(jobs)
    killed = data_dir.with_name("killed")
    with jobs.registry.as_one():  # nobody writes meanwhile
        shutil.copytree(data_dir, killed, ignore=shutil.ignore_patterns(LOCK_NAME, "*.part"))
    length = (killed / JOURNAL_NAME).stat().st_size
    folding = threading.Thread(target=jobs.registry._fold)
    folding.start()
    meanwhile = (job_id for job_id in ids * 100 if folding.is_alive())
    _repeat(
        "a state change while the journal is folded",
        meanwhile,
        lambda job_id: jobs.registry.update("jobs", job_id, message="meanwhile"),
        CHANGE_S,
    )
    folding.join()
    began_s = time.perf_counter()
    jobs.close()
    _say("end, all written", [time.perf_counter() - began_s])
    started(killed, f"start after a kill, {length / 1e6:.0f} MB of journal read").close()
    shutil.rmtree(killed)


def grow(jobs: Jobs) -> None:
    """Let the journal grow to nine tenths of what it may be before it is folded."""
    some = list(jobs.registry.ids("jobs"))[:200]
    journal = jobs.registry.path.with_name(JOURNAL_NAME)
    while journal.stat().st_size < 0.9 * max(LEAST_FOLDED_BYTES, jobs.registry.path.stat().st_size // 2):
        jobs.registry.update_many("jobs", some, message="changed again")


def _repeat(what: str, ids: Iterable[str], act: Callable[[str], object], bar_s: float | None = None) -> None:
    took = []
    for job_id in ids:
        began_s = time.perf_counter()
        act(job_id)
        took.append(time.perf_counter() - began_s)
    _say(what, took, bar_s)


def _say(what: str, seconds: list[float], bar_s: float | None = None) -> None:
    """Print the median, what 95 of 100 stay within, for which the bar is, and the longest."""
    ordered = sorted(seconds)
    most_s, longest_s = ordered[int(0.95 * (len(ordered) - 1))], ordered[-1]
    verdict = ""
    if bar_s is not None:
        verdict = f"PASS (under {1e3 * bar_s:.0f} ms)"
        if most_s >= bar_s:
            verdict = f"MISSED (bar {1e3 * bar_s:.0f} ms)"
            _missed.append(what)
    print(  # noqa: T201
        f"  {what:44}",
        *(f"{1e3 * one:8.1f} ms" for one in (statistics.median(seconds), most_s, longest_s)),
        f"  {verdict}",
    )


def main(rows: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        live = min(LIVE, rows)
        measure(Path(folder) / "long" / "data", live, rows - live)
        measure(Path(folder) / "worst" / "data", rows, 0)
    return 1 if _missed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
