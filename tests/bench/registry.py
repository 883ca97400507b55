"""What a registry of many rows costs: `python -m tests.bench.registry [rows]` prints times of here."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.records import Caller, new_job
from pipelines.store.registry import SCHEMA_TABLE, SCHEMA_VERSION

USERS = 200
STATUSES = ("completed", "completed", "failed", "cancelled")


def row(number: int) -> dict[str, object]:
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
    )


def main(rows: int) -> None:
    """Print the start, a change, and lists of a folder with so many jobs."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        table = {str(one["id"]): one for one in map(row, range(rows))}
        document = {SCHEMA_TABLE: {"schema": {"version": SCHEMA_VERSION}}, "jobs": table}
        (data_dir / "registry.json").write_bytes(orjson.dumps(document))
        del document
        started_s = time.perf_counter()
        jobs = Jobs(Settings(data_dir=data_dir))
        _say(f"{rows:,} rows, opened", time.perf_counter() - started_s)
        started_s = time.perf_counter()
        jobs.start()
        _say("and started", time.perf_counter() - started_s)
        some, admin = list(table)[:: max(1, rows // 50)], Caller("admin", admin=True)
        one = Caller("client-7")
        acts: dict[str, Callable[[str], object]] = {
            "a row": lambda job_id: jobs.get(admin, job_id),
            "a state change": lambda job_id: jobs.registry.update("jobs", job_id, message="changed"),
            "a user's jobs": lambda _: jobs.list(one),
            "a user's failed ones": lambda _: jobs.list(one, status="failed"),
            "an admin's, of a user": lambda _: jobs.list(admin, user_id="client-9", type="conversion"),
        }
        for name, act in acts.items():
            took = []
            for job_id in some:
                started_s = time.perf_counter()
                act(job_id)
                took.append(time.perf_counter() - started_s)
            _say(f"{name}, median and longest of {len(took)}", statistics.median(took), max(took))
        started_s = time.perf_counter()
        jobs.close()
        _say("closed, all written", time.perf_counter() - started_s)


def _say(what: str, *seconds: float) -> None:
    print(f"{what:42}", *(f"{1e3 * one:9.1f} ms" for one in seconds))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
