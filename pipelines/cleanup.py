"""What can be removed, found first and removed second, so that a person can look at the list in between.

    find(...)       old jobs, unused uploads, and files that belong to nothing: a CleanUp, nothing is changed
    carry_out(...)  finds again and removes; also returns what it was

Nothing that a row of the registry names is ever an orphan. A registry without any row is taken for one that
was lost rather than for an empty one: then no file is an orphan, because all would be.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.backup import back_up_daily
from pipelines.disk import bytes_in
from pipelines.housekeeping import expired, remove_rows
from pipelines.registry import Registry
from pipelines.rows import Rows
from pipelines.settings import Settings
from rvc.errors import ConfigError

logger = logging.getLogger(__name__)

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
