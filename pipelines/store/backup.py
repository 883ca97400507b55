"""Copies of the registry: made every day and on request, and put back.

A backup holds the rows; with the voices' files it is a zip (voices/archive.py). Jobs' recordings are in none.
One may be made while a server runs: the registry is replaced as a whole, so a copy is always whole.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.store import registry
from pipelines.store.layout import (
    BACKUPS,
    FILES,
    FOLDERS,
    JOURNAL_NAME,
    LOCK_NAME,
    REGISTRY_NAME,
    UNSURE,
    backup_number,
    daily_backups,
    require_usable,
)
from pipelines.store.records import now
from pipelines.store.storage import Tables
from rvc.errors import ConfigError
from rvc.files import atomic_write, flush

logger = logging.getLogger(__name__)

KEPT = 7
_LONGEST_PAUSE_DAYS = 30  # between two backups; more is taken for a clock that was set


def back_up(data_dir: Path, target: Path) -> int:
    """Copy the registry to a file, replacing an older one, and return how many rows it holds."""
    content, tables = read_registry(data_dir)
    with new_backup(data_dir, target) as path:
        path.write_bytes(content)
    return row_count(tables)


def read_registry(data_dir: Path) -> tuple[bytes, Tables]:
    source = data_dir / REGISTRY_NAME
    if not source.is_file():
        raise ConfigError(f"There is no registry in {data_dir}; name its folder with --data-dir.")
    try:
        return registry.read_registry(source)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read ({error.strerror}); ask who runs Timbre.") from error


@contextmanager
def new_backup(data_dir: Path, target: Path) -> Iterator[Path]:
    """Give a path to write a backup to, which then takes the target's place; ConfigError if it cannot."""
    if os.path.lexists(target) and not target.is_file():  # a device, a pipe, a folder, or a link to one
        raise ConfigError(f"{target} is no plain file, so it is not replaced; choose another file.")
    target = target.resolve()
    home = data_dir.resolve()
    inside = target.relative_to(home).parts if target.is_relative_to(home) else ("",)
    if inside[0] in {*FILES, *FOLDERS, "secret"} - {BACKUPS}:
        raise ConfigError(
            f"{target} is what Timbre works with, not a place for a backup; choose another file."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target, private=True) as path:
            yield path
    except OSError as error:
        raise ConfigError(f"{target} cannot be written ({error.strerror}); choose another file.") from error


def back_up_daily(
    data_dir: Path, *, trusted: bool = True, opened: registry.Registry | None = None
) -> Path | None:
    """Make today's backup if there is none yet, and let the oldest go; return it when it was made.

    The rows are those of an opened registry, or are read from the disk.

    Those made while the clock is not trusted (clock.py) are a kind of their own. Of each kind KEPT are kept,
    and as many from before each time that the clock was set, by what the backups' own days tell of that.
    """
    newest, today = next(iter(daily_backups(data_dir)), None), datetime.now(UTC).date()
    made = newest is not None and _day_of(newest) == today and _is_unsure(newest) != trusted
    if made or not (data_dir / REGISTRY_NAME).is_file():
        return None
    number = 1 + backup_number(newest) if newest else 1
    target = data_dir / BACKUPS / f"registry-{number:06d}-{'' if trusted else UNSURE + '-'}{today}.json"
    if opened is None:
        back_up(data_dir, target)
    else:
        with new_backup(data_dir, target) as path:
            path.write_bytes(opened.content())
    era, later, counts = 0, today, Counter[tuple[int, bool]]()
    for path in daily_backups(data_dir):
        day = _day_of(path)
        era += not timedelta(days=-1) <= later - day <= timedelta(days=_LONGEST_PAUSE_DAYS)
        later = day
        counts[era, _is_unsure(path)] += 1
        if counts[era, _is_unsure(path)] > KEPT:
            path.unlink(missing_ok=True)
    logger.info("backed up the registry to %s", target.name)
    return target


def _is_unsure(path: Path) -> bool:
    return UNSURE in path.name


def _day_of(path: Path) -> date:
    """Return the day on which a daily backup was made, by the clock of then."""
    try:
        return date.fromisoformat(path.stem[-len("2026-11-29") :])
    except ValueError:  # of an earlier version, without a day
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).date()


@dataclass(frozen=True, kw_only=True)
class Restored:
    rows: int  # how many jobs and voices the registry has now
    aside: Path | None  # folder with what was there before, if there was anything
    lost: int  # how many of the voices have no files any more
    tokens: int  # how many personal tokens are valid again or still
    voices: int = 0  # how many came with their files


def restore(data_dir: Path, source: Path) -> Restored:
    """Put a backup of the registry, of this version or an older one, in its place, as `put_back` does."""
    if not source.is_file():
        raise ConfigError(f"There is no file {source}; name a backup.")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ConfigError(f"{source} cannot be read ({error.strerror}); name another backup.") from error
    tables = tables_of(content, source)
    with restoring(data_dir) as staged:
        return put_back(data_dir, content, tables, staged)


def tables_of(content: bytes, source: Path) -> Tables:
    """Return the tables of a registry that was in a backup; ConfigError if it is none."""
    tables = registry.read_tables(content, source)
    if "jobs" not in tables:
        raise ConfigError(f"{source} is no backup of a registry; name one that --backup wrote.")
    return tables


@contextmanager
def restoring(data_dir: Path) -> Iterator[Path]:
    """Give a folder in the data folder for what is to be put back, while no server can use it.

    Voices in the trash have their day again: some may have been restored since the backup. What the disk
    refuses within is a ConfigError.
    """
    staged = data_dir / f".restoring-{secrets.token_hex(8)}"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        require_usable(data_dir)
        with FileLock(data_dir / LOCK_NAME, timeout=0):
            try:
                staged.mkdir()
                yield staged
            finally:
                shutil.rmtree(staged, ignore_errors=True)
    except Timeout as error:
        raise ConfigError(
            f"A Timbre server uses the data folder {data_dir}; stop it before you restore its registry."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"The data folder {data_dir} cannot be written ({error.strerror}), so nothing was restored; free "
            "some room on its disk, or let whoever runs Timbre write there."
        ) from error
    _renew_trash(data_dir)


def put_back(data_dir: Path, content: bytes, tables: Tables, staged: Path) -> Restored:
    """Put a registry, and the voices that lie in `models` of a folder of `restoring`, in their places.

    What was there is kept beside it, and so are the folders of jobs and voices that the backup does not know.
    When the disk refuses something, all is as it was.
    """
    with atomic_write(staged / REGISTRY_NAME, private=True) as path:
        path.write_bytes(content)
    came = sorted((staged / "models").glob("*"))
    aside = data_dir / f"before-restore-{datetime.now(UTC):%Y-%m-%d-%H%M%S-%f}"
    target, journal = data_dir / REGISTRY_NAME, data_dir / JOURNAL_NAME
    goes = [
        path
        for table in ("jobs", "models")
        for path in (data_dir / table).glob("*")
        if path.is_dir() and path.name not in tables.get(table, {})
    ]
    goes += [home for path in came if os.path.lexists(home := data_dir / "models" / path.name)]
    moves = [(path, aside / path.parent.name / path.name) for path in goes]
    moves += [(path, data_dir / "models" / path.name) for path in came]
    with _moved(moves, aside):
        for path in filter(Path.exists, (target, journal)):
            aside.mkdir(exist_ok=True)
            _keep(path, aside / path.name)
        (staged / REGISTRY_NAME).replace(target)
        journal.unlink(missing_ok=True)  # it would go on from this one if the two are the same
        flush(data_dir)
    models = [row for row in tables.get("models", {}).values() if not row.get("deleted_at")]
    return Restored(
        rows=row_count(tables),
        aside=aside if aside.exists() else None,
        lost=sum(not (data_dir / "models" / row["id"]).is_dir() for row in models),
        tokens=sum(token.get("kind") == "personal" for token in tables.get("tokens", {}).values()),
        voices=len(came),
    )


@contextmanager
def _moved(moves: list[tuple[Path, Path]], aside: Path) -> Iterator[None]:
    """Move files and folders, from a path to another; back again, without `aside`, if the block fails."""
    done = []
    try:
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            done.append((source, target))
        yield
    except BaseException:
        for source, target in reversed(done):
            target.replace(source)
        shutil.rmtree(aside, ignore_errors=True)  # by now a copy of the registry at most
        raise


def _keep(registry: Path, aside: Path) -> None:
    """Keep the registry that goes: as a second name, which takes no room, where the disk can do that."""
    try:
        os.link(registry, aside)
    except OSError:
        shutil.copy2(registry, aside)


def _renew_trash(data_dir: Path) -> None:
    opened = registry.Registry(data_dir)  # which brings an older form up
    try:
        for table in ("models", "jobs"):
            gone = [row["id"] for row in opened.list(table, lambda row: bool(row.get("deleted_at")))]
            opened.update_many(table, gone, deleted_at=now())
    finally:
        opened.close()


def row_count(tables: Tables) -> int:
    return sum(len(tables.get(table, {})) for table in ("jobs", "models"))
