"""Copies of the registry: made every day and on request, and put back.

    DATA_DIR/backups/registry-YYYY-MM-DD.json   one a day, the newest KEPT of them
    back_up(...)     copies it to any file, also while a server runs: the registry is replaced as a whole,
                     so a copy is always whole
    restore(...)     puts a copy in its place; what was there is kept beside it, and so are the folders of
                     jobs and voices that the copy does not know

A backup holds the rows, not the sound: jobs' recordings and the voices' files stay where they are.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipelines.store.registry import LOCK_NAME, REGISTRY_NAME, Registry, read_tables
from rvc.errors import ConfigError

logger = logging.getLogger(__name__)

KEPT = 7
BACKUPS = "backups"


def back_up(data_dir: Path, target: Path) -> int:
    """Copy the registry to a file, and return how many rows it holds.

    Args:
        data_dir: The data folder.
        target: The file to write; an older one is replaced.

    Raises:
        ConfigError: There is no registry, it is damaged, or the file cannot be written.
    """
    source = data_dir / REGISTRY_NAME
    if not source.is_file():
        raise ConfigError(f"There is no registry in {data_dir}; name its folder with --data-dir.")
    content = source.read_bytes()
    tables = read_tables(content, source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, content)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written ({error.strerror}); choose another file.") from error
    return _row_count(tables)


def back_up_daily(data_dir: Path) -> Path | None:
    """Make today's backup if there is none yet, and let the oldest go; return it when it was made."""
    folder = data_dir / BACKUPS
    today = folder / f"registry-{datetime.now(UTC):%Y-%m-%d}.json"
    if today.exists() or not (data_dir / REGISTRY_NAME).is_file():
        return None
    back_up(data_dir, today)
    for old in daily_backups(data_dir)[KEPT:]:
        old.unlink(missing_ok=True)
    logger.info("backed up the registry to %s", today.name)
    return today


def daily_backups(data_dir: Path) -> list[Path]:
    """Return the daily backups, newest first."""
    return sorted((data_dir / BACKUPS).glob("registry-????-??-??.json"), reverse=True)


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restoring did.

    Attributes:
        rows: How many jobs and voices the registry has now.
        aside: Folder with what was there before; None if there was nothing.
        lost: How many of the voices have no files any more.
        tokens: How many personal tokens are valid again or still.
    """

    rows: int
    aside: Path | None
    lost: int
    tokens: int


def restore(data_dir: Path, source: Path) -> Restored:
    """Put a backup in the registry's place.

    Args:
        data_dir: The data folder; made if it does not exist.
        source: A file that back_up() wrote, of this version or an older one.

    Raises:
        ConfigError: A server uses the folder, or the file is no registry that this version can read;
            nothing is changed then.
    """
    if not source.is_file():
        raise ConfigError(f"There is no file {source}; name a backup.")
    content = source.read_bytes()
    tables = read_tables(content, source)
    if "jobs" not in tables:
        raise ConfigError(f"{source} is no backup of a registry; name one that --backup wrote.")
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(data_dir / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"A Timbre server uses the data folder {data_dir}; stop it before you restore its registry."
        ) from error
    try:
        aside = _set_aside(data_dir, tables)
        _write(data_dir / REGISTRY_NAME, content)
    finally:
        lock.release()
    Registry(data_dir).close()  # brings an older form up
    voices = tables.get("models", {})
    lost = sum(not (data_dir / "models" / model_id).is_dir() for model_id in voices)
    tokens = sum(token.get("kind") == "personal" for token in tables.get("tokens", {}).values())
    return Restored(rows=_row_count(tables), aside=aside, lost=lost, tokens=tokens)


def _set_aside(data_dir: Path, tables: dict[str, Any]) -> Path | None:
    """Copy the registry, and move folders that the new one does not know, so that nothing sweeps them up."""
    aside = data_dir / f"before-restore-{datetime.now(UTC):%Y-%m-%d-%H%M%S-%f}"
    registry = data_dir / REGISTRY_NAME
    unknown = list(_unknown(data_dir, tables))
    if not registry.exists() and not unknown:
        return None
    aside.mkdir()
    if registry.exists():
        shutil.copy2(registry, aside / REGISTRY_NAME)
    for path in unknown:
        target = aside / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
    return aside


def _unknown(data_dir: Path, tables: dict[str, Any]) -> Iterator[Path]:
    for table in ("jobs", "models"):
        folder = data_dir / table
        known = set(tables.get(table, {}))
        yield from (path for path in folder.glob("*") if path.is_dir() and path.name not in known)


def _write(target: Path, content: bytes) -> None:
    """Write a file so that it is either whole or the one from before; for the owner's eyes only."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _row_count(tables: dict[str, Any]) -> int:
    return sum(len(tables.get(table, {})) for table in ("jobs", "models"))
