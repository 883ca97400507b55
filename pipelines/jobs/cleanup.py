"""What nobody needs any more: at start, what a crash left; later, what has expired or belongs to nothing.

    uploads     from which nothing was ever started, after upload_expiry_s
    jobs        that have ended, after cleanup_days: their rows go to archive/jobs-YYYY-MM-DD.jsonl,
                their folders are removed; voices stay
    voices      in the trash for a day (voices/library.py)
    orphans     files and folders that no row names

A registry without any row is taken for one that was lost, not for an empty one: then nothing is an orphan.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from pipelines.jobs.outcome import count_use
from pipelines.jobs.progress import EventLog
from pipelines.settings import Settings
from pipelines.store.backup import back_up_daily
from pipelines.store.records import ENDED, RUNNING, Rows, as_text, now, saved_states, uploads_of
from pipelines.store.registry import Registry
from pipelines.voices.library import TRASH_S, Library
from rvc.errors import ConfigError
from rvc.files import bytes_in

logger = logging.getLogger(__name__)
ARRIVING = ".arriving"  # lies in an upload's folder until its row is written
UNTOUCHED_S = 86_400.0  # age of an orphan while a server runs: it may still be at it
_ID = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = re.compile(r"\.(incoming|outgoing|deleted)-.*")


def recover_on_start(registry: Registry, jobs_dir: Path, library: Library) -> None:
    """Turn what was running into interrupted, and remove folders without a job; call it first of all."""
    lost = registry.list("jobs", lambda row: row["status"] in RUNNING)
    said = "The server was stopped while this job ran"
    ids = [row["id"] for row in lost]
    registry.update_many("jobs", ids, status="interrupted", message=said, eta_s=None, updated_at=now())
    with registry.as_one():
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
        # A registry without rows was lost, perhaps, and is about to be restored.
        elif _ID.fullmatch(folder.name) and (known or (folder / ARRIVING).exists()):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """What a clean-up removes, found first and removed second, so that a person can look at it in between."""

    jobs: Rows  # that have ended and had their time; they are archived
    uploads: Rows  # from which nothing was started
    voices: Rows  # that were deleted, and whose day in the trash is over
    orphans: list[Path]
    size_bytes: int = 0  # of all of them

    @property
    def empty(self) -> bool:
        return not (self.jobs or self.uploads or self.voices or self.orphans)

    def paths(self, data_dir: Path) -> list[Path]:
        """Return all files and folders of it, which may be gone already."""
        jobs = [data_dir / "jobs" / row["id"] for row in (*self.jobs, *self.uploads)]
        return [*jobs, *(data_dir / "models" / row["id"] for row in self.voices), *self.orphans]

    def sentence(self, *, done: bool) -> str:
        if self.empty:
            return "There is nothing to clean up."
        counts = [
            (len(self.jobs), "old job", "old jobs"),
            (len(self.uploads), "unused upload", "unused uploads"),
            (len(self.voices), "deleted voice", "deleted voices"),
            (len(self.orphans), "file or folder of no job or voice", "files or folders of no job or voice"),
        ]
        parts = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
        verb = "Removed" if done else "A clean-up would remove"
        return f"{verb} {parts}: {self.size_bytes / 1e6:.1f} MB."


def find(registry: Registry, settings: Settings, *, untouched_s: float | None = UNTOUCHED_S) -> CleanUp:
    """Return what can be removed; orphans from an age on, 0 when no server runs, None for no orphans."""
    moment = datetime.now(UTC)
    oldest_job = as_text(moment - timedelta(days=settings.cleanup_days))
    oldest_upload = as_text(moment - timedelta(seconds=settings.upload_expiry_s))
    rows = registry.list("jobs")
    old = [row for row in rows if row["status"] in ENDED and row["updated_at"] < oldest_job]
    gone = {row["id"] for row in old}
    kept = [row for row in rows if row["id"] not in gone]
    used = {row["input_job_id"] for row in kept}.union(*(uploads_of(row) for row in kept))
    unused = [row for row in rows if row["id"] not in used]
    jobs = [row for row in unused if row["id"] in gone]
    uploads = [r for r in unused if r["status"] == "uploaded" and r["created_at"] < oldest_upload]
    orphans = [] if untouched_s is None else _orphans(registry, settings.data_dir, time.time() - untouched_s)
    before = as_text(moment - timedelta(seconds=TRASH_S))
    voices = registry.list("models", lambda row: "" < (row.get("deleted_at") or "") < before)
    found = CleanUp(jobs=jobs, uploads=uploads, voices=voices, orphans=orphans)
    return replace(found, size_bytes=sum(map(bytes_in, found.paths(settings.data_dir))))


def remove(registry: Registry, settings: Settings, *, untouched_s: float | None = UNTOUCHED_S) -> CleanUp:
    """Find what can be removed, archive the jobs' rows, remove it, and return what it was."""
    found = find(registry, settings, untouched_s=untouched_s)
    if found.jobs:
        archive = settings.data_dir / "archive" / f"jobs-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        archive.parent.mkdir(exist_ok=True)
        with archive.open("ab") as file:
            file.writelines(orjson.dumps(row) + b"\n" for row in found.jobs)
    registry.delete("jobs", [row["id"] for row in (*found.jobs, *found.uploads)])
    for table in ("models", "usage"):
        registry.delete(table, [row["id"] for row in found.voices])
    for path in found.paths(settings.data_dir):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not found.empty:
        logger.info("%s", found.sentence(done=True))
    return found


def daily(registry: Registry, settings: Settings) -> None:
    try:
        if back_up_daily(settings.data_dir) is not None:
            remove(registry, settings)
    except ConfigError:
        logger.exception("today's backup could not be made")


def _orphans(registry: Registry, data_dir: Path, before_s: float) -> list[Path]:
    """Return what no row names and nobody has touched since `before_s` (seconds since 1970)."""
    known = {table: {row["id"] for row in registry.list(table)} for table in ("jobs", "models")}
    return [
        path
        for table, ids in known.items()
        if any(known.values())
        for path in _entries(data_dir / table)
        if (_ID.fullmatch(path.name) and path.name not in ids) or _TEMPORARY.fullmatch(path.name)
        if _touched_s(path) < before_s
    ]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _touched_s(path: Path) -> float:
    """Return when a path, or anything directly in it, was last changed; now when it is just going away."""
    try:
        return max(one.lstat().st_mtime for one in (path, *_entries(path)))
    except OSError:
        return time.time()
