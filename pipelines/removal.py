"""Deleting a job for good: its row, its files, and the upload it worked on when nothing else needs that."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from pipelines.rows import ENDED, unknown_job, uploads_of
from rvc.errors import NotAllowedError

if TYPE_CHECKING:
    from pipelines.jobs import Jobs
    from pipelines.registry import Registry
    from pipelines.rows import Caller, Row


def remove_job(jobs: Jobs, caller: Caller, job_id: str) -> Row:
    """Delete a job that has ended, or an upload, with its files; voices that a training made stay.

    The upload of a job goes with the last job that works on it. A crash in between leaves folders without
    rows, which the next start removes.

    Args:
        jobs: The dispatcher.
        caller: Who asks.
        job_id: The job or the upload.

    Returns:
        The row that is gone.

    Raises:
        UnknownNameError: There is no such job, or it is somebody else's.
        NotAllowedError: It waits or runs, or other jobs need it.
    """
    with jobs.lock:
        shown = jobs.get(caller, job_id)
        gone = _forget(jobs.registry, job_id)
    for gone_id in gone:
        shutil.rmtree(jobs.registry.path.parent / "jobs" / gone_id, ignore_errors=True)
    return shown


def _forget(registry: Registry, job_id: str) -> list[str]:
    """Remove the row of a job, and those of its uploads on which no other job works; return the ids."""
    row = registry.get("jobs", job_id)
    if row is None:
        raise unknown_job(job_id)
    if row["status"] not in ENDED and row["status"] != "uploaded":
        raise NotAllowedError(f"This job is {row['status']}; stop it first, then delete it.")
    others = [other for other in registry.list("jobs") if other["id"] != row["id"]]
    if row["status"] == "uploaded":
        users = [other for other in others if row["id"] in uploads_of(other)]
        if users:
            raise NotAllowedError(
                f"{len(users)} of your jobs work on this upload; delete them, and it goes with the last."
            )
        gone = [row["id"]]
    else:
        if any(other["input_job_id"] == row["id"] and other["status"] not in ENDED for other in others):
            raise NotAllowedError(
                "A job that was started from this one waits or runs; wait for it, or stop it."
            )
        gone = [row["id"], *uploads_of(row).difference(*(uploads_of(other) for other in others))]
    registry.delete("jobs", gone)
    return gone
