"""Copies of the registry: made every day and on request, and put back.

A backup holds the rows, not the sound: jobs' recordings and the voices' files stay where they are. One may be
made while a server runs: the registry is replaced as a whole, so a copy is always whole.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.store.records import now
from pipelines.store.registry import LOCK_NAME, REGISTRY_NAME, Registry, Tables, read_tables
from rvc.errors import ConfigError
from rvc.files import atomic_write

logger = logging.getLogger(__name__)

KEPT = 7
BACKUPS = "backups"  # registry-YYYY-MM-DD.json, one a day, the newest KEPT of them


def back_up(data_dir: Path, target: Path) -> int:
    """Copy the registry to a file, replacing an older one, and return how many rows it holds."""
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
    today = data_dir / BACKUPS / f"registry-{datetime.now(UTC):%Y-%m-%d}.json"
    if today.exists() or not (data_dir / REGISTRY_NAME).is_file():
        return None
    back_up(data_dir, today)
    for old in daily_backups(data_dir)[KEPT:]:
        old.unlink(missing_ok=True)
    logger.info("backed up the registry to %s", today.name)
    return today


def daily_backups(data_dir: Path) -> list[Path]:
    return sorted((data_dir / BACKUPS).glob("registry-????-??-??.json"), reverse=True)


@dataclass(frozen=True, kw_only=True)
class Restored:
    rows: int  # how many jobs and voices the registry has now
    aside: Path | None  # folder with what was there before, if there was anything
    lost: int  # how many of the voices have no files any more
    tokens: int  # how many personal tokens are valid again or still


def restore(data_dir: Path, source: Path) -> Restored:
    """Put a backup, of this version or an older one, in the registry's place.

    What was there is kept beside it, and so are the folders of jobs and voices that the backup does not know.
    Voices that it has in the trash have their day again: some may have been restored since.
    """
    if not source.is_file():
        raise ConfigError(f"There is no file {source}; name a backup.")
    content = source.read_bytes()
    tables = read_tables(content, source)
    if "jobs" not in tables:
        raise ConfigError(f"{source} is no backup of a registry; name one that --backup wrote.")
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(data_dir / LOCK_NAME, timeout=0):
            aside = _set_aside(data_dir, tables)
            _write(data_dir / REGISTRY_NAME, content)
    except Timeout as error:
        raise ConfigError(
            f"A Timbre server uses the data folder {data_dir}; stop it before you restore its registry."
        ) from error
    _renew_trash(data_dir)
    models = [row for row in tables.get("models", {}).values() if not row.get("deleted_at")]
    lost = sum(not (data_dir / "models" / row["id"]).is_dir() for row in models)
    tokens = sum(token.get("kind") == "personal" for token in tables.get("tokens", {}).values())
    return Restored(rows=_row_count(tables), aside=aside, lost=lost, tokens=tokens)


def _renew_trash(data_dir: Path) -> None:
    registry = Registry(data_dir)  # which brings an older form up
    try:
        gone = [row["id"] for row in registry.list("models", lambda row: bool(row.get("deleted_at")))]
        registry.update_many("models", gone, deleted_at=now())
    finally:
        registry.close()


def _set_aside(data_dir: Path, tables: Tables) -> Path | None:
    """Copy the registry, and move folders that the new one does not know, so that nothing sweeps them up."""
    aside = data_dir / f"before-restore-{datetime.now(UTC):%Y-%m-%d-%H%M%S-%f}"
    registry = data_dir / REGISTRY_NAME
    unknown = [
        path
        for table in ("jobs", "models")
        for path in (data_dir / table).glob("*")
        if path.is_dir() and path.name not in tables.get(table, {})
    ]
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


def _write(target: Path, content: bytes) -> None:
    with atomic_write(target, private=True) as path:
        path.write_bytes(content)


def _row_count(tables: Tables) -> int:
    return sum(len(tables.get(table, {})) for table in ("jobs", "models"))
