"""What nobody needs any more: at start, what a crash left; later, what has expired.

uploads     from which nothing was ever started, after upload_expiry_s
jobs        that have ended, after cleanup_days: their rows go to archive/jobs-YYYY-MM-DD.jsonl,
            their folders are removed; voices stay
folders     of jobs that the registry does not know (a server died while it received an upload)
"""

from __future__ import annotations

import logging
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from pipelines.batch import saved_states
from pipelines.eventlog import EventLog
from pipelines.handover import count_use
from pipelines.library import Library
from pipelines.registry import Registry
from pipelines.rows import ENDED, RUNNING, Rows, now, uploads_of
from pipelines.settings import Settings

logger = logging.getLogger(__name__)

_JOB_FOLDER = re.compile(r"[0-9a-f]{32}")
ARRIVING = ".arriving"
"""Lies in an upload's folder until its row is written."""


def sweep_at_start(registry: Registry, jobs_dir: Path, library: Library) -> None:
    """Turn what was running into interrupted, and remove folders without a job.

    Call it before anything is received or started.

    Args:
        registry: The open registry.
        jobs_dir: Folder of the jobs' folders.
        library: Counts what an interrupted batch had converted.
    """
    lost = registry.list("jobs", lambda row: row["status"] in RUNNING)
    registry.update_many(
        "jobs",
        [row["id"] for row in lost],
        status="interrupted",
        message="The server was stopped while this job ran",
        eta_s=None,
        updated_at=now(),
    )
    for row in lost:
        # The registry is not written for mere progress; the job's own log knows how far it came.
        log = EventLog(jobs_dir / row["id"] / "events.jsonl")
        for event in log.read(len(log) - 1):
            registry.update("jobs", row["id"], progress=event["fraction"])
        if row["type"] == "batch":
            files = saved_states(row["files"], jobs_dir / row["id"])
            count_use(row, registry.update("jobs", row["id"], files=files), library)
    if lost:
        logger.warning("%d jobs were interrupted; they can be resumed", len(lost))
    known = {row["id"] for row in registry.list("jobs")}
    for folder in jobs_dir.iterdir():
        if folder.name in known:
            (folder / ARRIVING).unlink(missing_ok=True)
            continue
        # A registry without rows was lost, perhaps, and is about to be restored.
        nobodys = bool(known) or (folder / ARRIVING).exists()
        if nobodys and _JOB_FOLDER.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def remove_expired(registry: Registry, settings: Settings) -> None:
    """Remove uploads and jobs that had their time; archive the jobs' rows first.

    Raises:
        OSError: The archive could not be written; nothing is removed then.
    """
    remove_rows(registry, settings.data_dir, *expired(registry, settings))


def expired(registry: Registry, settings: Settings) -> tuple[Rows, Rows]:
    """Return the rows of (ended jobs, unused uploads) that had their time."""
    moment = datetime.now(UTC)
    oldest_job = _text(moment - timedelta(days=settings.cleanup_days))
    oldest_upload = _text(moment - timedelta(seconds=settings.upload_expiry_s))
    rows = registry.list("jobs")
    old = [row for row in rows if row["status"] in ENDED and row["updated_at"] < oldest_job]
    gone = {row["id"] for row in old}
    kept = [row for row in rows if row["id"] not in gone]
    used = {row["input_job_id"] for row in kept}.union(*(uploads_of(row) for row in kept))
    old = [row for row in old if row["id"] not in used]
    stale = [
        row
        for row in rows
        if row["status"] == "uploaded" and row["id"] not in used and row["created_at"] < oldest_upload
    ]
    return old, stale


def remove_rows(registry: Registry, data_dir: Path, jobs: Rows, uploads: Rows) -> None:
    """Remove jobs and uploads with their folders; the jobs' rows are archived first.

    Args:
        registry: The open registry.
        data_dir: The data folder.
        jobs: Rows of ended jobs.
        uploads: Rows of uploads.

    Raises:
        OSError: The archive could not be written; nothing is removed then.
    """
    if jobs:
        _archive(jobs, data_dir / "archive" / f"jobs-{datetime.now(UTC):%Y-%m-%d}.jsonl")
    leaving = [row["id"] for row in [*jobs, *uploads]]
    registry.delete("jobs", leaving)
    for job_id in leaving:
        shutil.rmtree(data_dir / "jobs" / job_id, ignore_errors=True)
    if leaving:
        logger.info("removed %d old jobs and %d unused uploads", len(jobs), len(uploads))


def _archive(rows: Rows, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)


def _text(moment: datetime) -> str:
    """Return a time of day as rows hold it, so that the two compare as text."""
    return moment.isoformat(timespec="milliseconds")
