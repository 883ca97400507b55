"""Deleting a job for good: its row, its files, and the upload it worked on when nothing else needs that."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines.registry import Registry
from pipelines.rows import ENDED, Row
from rvc.errors import NotAllowedError


def forget_job(registry: Registry, row: Row) -> list[str]:
    """Remove the row of a job that has ended, or of an upload; the caller removes the folders afterwards.

    Voices that a training made stay. Hold the dispatcher's lock. A crash in between leaves folders without
    rows, which the next start removes.

    Args:
        registry: The rows.
        row: The job's or the upload's row.

    Returns:
        Ids of the rows that are gone: the job's, and its upload's if no other job works on that.

    Raises:
        NotAllowedError: It waits or runs, or other jobs need it.
    """
    if row["status"] not in ENDED and row["status"] != "uploaded":
        raise NotAllowedError(f"This job is {row['status']}; stop it first, then delete it.")
    others = [other for other in registry.list("jobs") if other["id"] != row["id"]]
    if row["status"] == "uploaded":
        users = [other for other in others if other["upload_id"] == row["id"]]
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
        shared = any(other["upload_id"] == row["upload_id"] for other in others)
        gone = [row["id"]] if shared or not row["upload_id"] else [row["id"], row["upload_id"]]
    registry.delete("jobs", gone)
    return gone


def remove_folders(jobs_dir: Path, job_ids: list[str]) -> None:
    """Remove the folders of jobs whose rows are gone."""
    for job_id in job_ids:
        shutil.rmtree(jobs_dir / job_id, ignore_errors=True)
