"""What nobody needs any more: at start, what a crash left; later, what has expired or belongs to nothing.

    uploads     from which nothing was ever started, after upload_expiry_s
    jobs        that have ended, after cleanup_days: their rows go to archive/jobs-YYYY-MM-DD.jsonl,
                their folders are removed; voices stay
    trash       voices and jobs that were deleted a day ago
    presets     of visitors without a login whom nobody has seen for cleanup_days
    orphans     files and folders that no row names

A registry without any row is taken for one that was lost, not for an empty one: then nothing is an orphan.
What has an age is removed when it is old for certain (store/clock.py); without a Clock, by the time of day.
"""

from __future__ import annotations

import logging
import math
import re
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from pipelines.jobs.outcome import count_use
from pipelines.jobs.progress import EventLog
from pipelines.settings import Settings
from pipelines.store.backup import back_up_daily
from pipelines.store.clock import DAY_S, Clock
from pipelines.store.layout import ARRIVING, BACKUPS
from pipelines.store.records import ENDED, RUNNING, TRASH_S, Row, Rows, as_text, now, saved_states, uploads_of
from pipelines.store.registry import Registry
from pipelines.users.accounts import NOT_A_LOGIN
from pipelines.voices.homes import is_only_copy
from pipelines.voices.library import Library
from rvc.errors import ConfigError
from rvc.files import atomic_write, bytes_in

logger = logging.getLogger(__name__)
UNTOUCHED_S = 86_400.0  # age of an orphan while a server runs: it may still be at it
_ID = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = re.compile(r"\.(incoming|outgoing|deleted)-.*")


def recover_on_start(registry: Registry, jobs_dir: Path, library: Library) -> None:
    """Turn what was running into interrupted, and remove what was half written and folders without a job.

    To be called first of all.
    """
    data_dir = jobs_dir.parent
    halves = [path for name in ("archive", BACKUPS, "exports") for path in (data_dir / name).glob(".*.part")]
    for half in (*halves, *data_dir.glob(".restoring-*")):
        _remove(half)
    lost = registry.list("jobs", lambda row: row["status"] in RUNNING)
    said = "The server was stopped while this job ran"
    ids = [row["id"] for row in lost]
    registry.update_many("jobs", ids, status="interrupted", message=said, eta_s=None, updated_at=now())
    with registry.as_one():
        for row in lost:
            # The registry is not written for mere progress; the job's own log knows how far it came.
            try:
                log = EventLog(jobs_dir / row["id"] / "events.jsonl")
                for event in log.read(len(log) - 1):
                    registry.update("jobs", row["id"], progress=float(event["fraction"]))
            except (OSError, ValueError, TypeError, KeyError):
                logger.warning("%s: its events are damaged, and tell no progress", row["id"])
            if row["type"] == "batch":
                files = saved_states(row["files"], jobs_dir / row["id"])
                count_use(row, registry.update("jobs", row["id"], files=files), library)
    if lost:
        logger.warning("%d jobs were interrupted; they can be resumed", len(lost))
    known = registry.ids("jobs")
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
    deleted: Rows  # jobs and uploads whose day in the trash is over
    voices: Rows  # whose day in the trash is over
    presets: Rows  # of visitors who come no more
    orphans: list[Path]
    size_bytes: int = 0  # of all of them

    @property
    def empty(self) -> bool:
        return not (self.jobs or self.uploads or self.deleted or self.voices or self.presets or self.orphans)

    def paths(self, data_dir: Path) -> list[Path]:
        """Return all files and folders of it, which may be gone already."""
        jobs = [data_dir / "jobs" / row["id"] for row in (*self.jobs, *self.uploads, *self.deleted)]
        return [*jobs, *(data_dir / "models" / row["id"] for row in self.voices), *self.orphans]

    def sentence(self, *, done: bool) -> str:
        if self.empty:
            return "There is nothing to clean up."
        counts = [
            (len(self.jobs), "old job", "old jobs"),
            (len(self.uploads), "unused upload", "unused uploads"),
            (len(self.deleted), "deleted job or upload", "deleted jobs or uploads"),
            (len(self.voices), "deleted voice", "deleted voices"),
            (len(self.presets), "preset of a visitor who is gone", "presets of visitors who are gone"),
            (len(self.orphans), "file or folder of no job or voice", "files or folders of no job or voice"),
        ]
        parts = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
        verb = "Removed" if done else "A clean-up would remove"
        return f"{verb} {parts}: {self.size_bytes / 1e6:.1f} MB."


def find(
    registry: Registry,
    settings: Settings,
    *,
    clock: Clock | None = None,
    untouched_s: float | None = UNTOUCHED_S,
) -> CleanUp:
    """Return what can be removed; orphans from an age on, 0 when no server runs, None for no orphans."""
    before_s = by_the_wall if clock is None else clock.before
    oldest_job = _as_text(before_s(settings.cleanup_days * DAY_S))
    oldest_upload = _as_text(before_s(settings.upload_expiry_s))
    before = _as_text(before_s(TRASH_S))

    def had_its_time(row: Row) -> bool:
        if row.get("deleted_at"):
            return bool(row["deleted_at"] < before)
        if row["status"] == "uploaded":
            return bool(row["created_at"] < oldest_upload)
        return row["status"] in ENDED and row["updated_at"] < oldest_job

    had = registry.list("jobs", had_its_time)
    deleted = [row for row in had if row.get("deleted_at")]
    gone = {row["id"] for row in had if row["status"] != "uploaded" or row.get("deleted_at")}
    used: set[str | None] = set()

    def note_use(row: Row) -> None:
        if row["id"] not in gone:
            used.add(row["input_job_id"])
            used.update(uploads_of(row))

    if had:
        registry.scan("jobs", note_use)
    unused = [row for row in had if not row.get("deleted_at") and row["id"] not in used]
    jobs = [row for row in unused if row["status"] != "uploaded"]
    uploads = [row for row in unused if row["status"] == "uploaded"]
    orphans = (
        []
        if untouched_s is None
        else _orphans(registry, settings.data_dir, before_s(untouched_s) if untouched_s else math.inf)
    )
    voices = registry.list("models", lambda row: "" < (row.get("deleted_at") or "") < before)
    presets = _abandoned_presets(registry, oldest_job)
    found = CleanUp(
        jobs=jobs, uploads=uploads, deleted=deleted, voices=voices, presets=presets, orphans=orphans
    )
    return replace(found, size_bytes=sum(map(bytes_in, found.paths(settings.data_dir))))


def remove(
    registry: Registry,
    settings: Settings,
    *,
    clock: Clock | None = None,
    untouched_s: float | None = UNTOUCHED_S,
) -> CleanUp:
    """Find what can be removed, archive the jobs' rows, remove it, and return what it was."""
    if clock is None or clock.trusted:
        _restart_trash(registry)
    found = find(registry, settings, clock=clock, untouched_s=untouched_s)
    if found.empty:
        return found
    with registry.reserve.spent(), registry.as_one():
        _archive(found.jobs, settings.data_dir / "archive")
        registry.delete("jobs", [row["id"] for row in (*found.jobs, *found.uploads, *found.deleted)])
        for table in ("models", "usage"):
            registry.delete(table, [row["id"] for row in found.voices])
        registry.delete("presets", [row["id"] for row in found.presets])
    for path in found.paths(settings.data_dir):
        _remove(path)
    logger.info("%s", found.sentence(done=True))
    return found


def doubtful(
    registry: Registry, settings: Settings, clock: Clock, *, untouched_s: float = UNTOUCHED_S
) -> bool:
    """Return whether a clean-up would remove something that is old by the time of day alone."""
    certain = find(registry, settings, clock=clock, untouched_s=untouched_s)
    return find(registry, settings, untouched_s=untouched_s) != certain


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def keep_house(registry: Registry, settings: Settings, *, clock: Clock | None = None) -> None:
    """Remove what had its time; once a day, back the registry up before and remove orphans too."""
    is_first = False
    try:
        trusted = clock is None or clock.trusted
        is_first = back_up_daily(settings.data_dir, trusted=trusted, opened=registry) is not None
    except ConfigError:
        logger.exception("today's backup could not be made")
    remove(registry, settings, clock=clock, untouched_s=UNTOUCHED_S if is_first else None)


def _restart_trash(registry: Registry) -> None:
    """Let the day of what was deleted in the future begin now: the clock has been put back since."""
    moment = now()
    for table in ("models", "jobs"):
        if max(map(str, registry.values(table, "deleted_at") - {None}), default="") <= moment:
            continue
        ahead = registry.list(table, lambda row: (row.get("deleted_at") or "") > moment)
        if ahead:
            with registry.reserve.spent():
                registry.update_many(table, [row["id"] for row in ahead], deleted_at=moment)


def _archive(rows: Rows, folder: Path) -> None:
    """Add rows to today's archive, all of them or none."""
    if not rows:
        return
    folder.mkdir(exist_ok=True)
    target = folder / f"jobs-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    before = target.read_bytes() if target.exists() else b""
    with atomic_write(target) as path:
        path.write_bytes(before + b"".join(orjson.dumps(row) + b"\n" for row in rows))


def by_the_wall(age_s: float) -> float:
    """Return the time, in seconds since 1970, before which what was made looks so old by the time of day."""
    return max(0.0, time.time() - age_s)


def _as_text(moment_s: float) -> str:
    return as_text(datetime.fromtimestamp(moment_s, UTC))


def _abandoned_presets(registry: Registry, before: str) -> Rows:
    """Return the presets of visitors without a login of whom nothing was seen since then."""
    presets = registry.list("presets", lambda row: row["user_id"].startswith(NOT_A_LOGIN))
    if not presets:
        return []
    present = set(registry.scan("jobs", lambda row: row["updated_at"] >= before and row["user_id"]))
    present |= {row["user_id"] for row in presets if (row.get("seen_at") or row["created_at"]) >= before}
    return [row for row in presets if row["user_id"] not in present]


def _orphans(registry: Registry, data_dir: Path, before_s: float) -> list[Path]:
    """Return what no row names and nobody has touched since then; all of it for infinity."""
    known = {table: registry.ids(table) for table in ("jobs", "models")}
    return [
        path
        for table, ids in known.items()
        if any(known.values())
        for path in _entries(data_dir / table)
        if (_ID.fullmatch(path.name) and path.name not in ids) or _TEMPORARY.fullmatch(path.name)
        if not is_only_copy(path, ids)
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
