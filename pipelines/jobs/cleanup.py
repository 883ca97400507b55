"""What can be removed, found first and removed second, so that a person can look at the list in between.

    find(...)       old jobs, unused uploads, and files that belong to nothing: a CleanUp, nothing is changed
    carry_out(...)  finds again and removes; also returns what it was

Nothing that a row of the registry names is ever an orphan. A registry without any row is taken for one that
was lost rather than for an empty one: then no file is an orphan, because all would be.

What nobody needs any more: at start, what a crash left; later, what has expired.

uploads     from which nothing was ever started, after upload_expiry_s
jobs        that have ended, after cleanup_days: their rows go to archive/jobs-YYYY-MM-DD.jsonl,
            their folders are removed; voices stay
folders     of jobs that the registry does not know (a server died while it received an upload)
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from pipelines.jobs.outcome import count_use
from pipelines.jobs.progress import EventLog
from pipelines.settings import Settings
from pipelines.store.backup import back_up_daily
from pipelines.store.batch_states import saved_states
from pipelines.store.records import ENDED, RUNNING, Rows, now, uploads_of
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from rvc.errors import ConfigError
from rvc.files import bytes_in

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


_ID = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = re.compile(r"\.(incoming|outgoing|deleted)-.*")
UNTOUCHED_S = 86_400.0
"""Age from which a file that belongs to nothing is an orphan while a server runs: it may still be at it."""


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """What a clean-up removes.

    Attributes:
        jobs: Rows of ended jobs that had their time; they are archived.
        uploads: Rows of uploads from which nothing was started.
        orphans: Files and folders that belong to no row.
        size_bytes: What all of them take on the disk.
    """

    jobs: Rows
    uploads: Rows
    orphans: list[Path]
    size_bytes: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.jobs or self.uploads or self.orphans)

    def sentence(self, *, done: bool) -> str:
        """Return what was removed, or would be.

        Args:
            done: Whether it is gone.
        """
        if self.empty:
            return "There is nothing to clean up."
        counts = [
            (len(self.jobs), "old job", "old jobs"),
            (len(self.uploads), "unused upload", "unused uploads"),
            (len(self.orphans), "file or folder of no job or voice", "files or folders of no job or voice"),
        ]
        parts = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
        verb = "Removed" if done else "A clean-up would remove"
        return f"{verb} {parts}: {self.size_bytes / 1e6:.1f} MB."


def find(registry: Registry, settings: Settings, *, untouched_s: float = UNTOUCHED_S) -> CleanUp:
    """Return what can be removed; changes nothing.

    Args:
        registry: The open registry.
        settings: Data folder and ages.
        untouched_s: Age in seconds from which what belongs to nothing is an orphan; 0 when no server runs.
    """
    old, stale = expired(registry, settings)
    orphans = list(_orphans(registry, settings.data_dir, time.time() - untouched_s))
    folders = [settings.data_dir / "jobs" / row["id"] for row in (*old, *stale)]
    size = sum(bytes_in(path) for path in (*folders, *orphans))
    return CleanUp(jobs=old, uploads=stale, orphans=orphans, size_bytes=size)


def carry_out(registry: Registry, settings: Settings, *, untouched_s: float = UNTOUCHED_S) -> CleanUp:
    """Remove what can be removed and return what it was.

    Args:
        registry: The open registry.
        settings: Data folder and ages.
        untouched_s: As in find().

    Raises:
        OSError: The archive could not be written; nothing is removed then.
    """
    found = find(registry, settings, untouched_s=untouched_s)
    remove_rows(registry, settings.data_dir, found.jobs, found.uploads)
    for path in found.orphans:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if found.orphans:
        logger.info("removed %d files and folders that belonged to nothing", len(found.orphans))
    return found


def daily(registry: Registry, settings: Settings) -> None:
    """Once a day, back up the registry and then remove what belongs to nothing."""
    try:
        made = back_up_daily(settings.data_dir)
    except ConfigError:
        logger.exception("today's backup could not be made")
        return
    if made is not None:
        carry_out(registry, settings)


def _orphans(registry: Registry, data_dir: Path, before_s: float) -> Iterator[Path]:
    """Give what no row names and nobody has touched since `before_s` (seconds since 1970)."""
    known = {table: {row["id"] for row in registry.list(table)} for table in ("jobs", "models")}
    if not any(known.values()):
        return
    for table, ids in known.items():
        for path in _entries(data_dir / table):
            lost = _ID.fullmatch(path.name) is not None and path.name not in ids
            if (lost or _TEMPORARY.fullmatch(path.name)) and _touched_s(path) < before_s:
                yield path
    temporary = data_dir / "registry.json.tmp"
    if temporary.exists() and _touched_s(temporary) < before_s:
        yield temporary


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _touched_s(path: Path) -> float:
    """Return when a path, or anything directly in it, was last changed; now when it is just going away."""
    try:
        return max(one.lstat().st_mtime for one in (path, *_entries(path)))
    except OSError:
        return time.time()
