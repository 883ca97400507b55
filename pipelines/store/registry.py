"""The registry: which jobs and voice models exist, in DATA_DIR/registry.json, through TinyDB.

Rows are plain dicts with a text "id", in the tables of TABLES. Guaranteed: one writer (server.lock is held
while it is open), no torn file, nothing read or written is shared with the caller, any thread may call. The
document stays parsed in memory, so reads touch no disk; a write serialises all of it, which is why progress
is kept elsewhere and old jobs are pruned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import orjson
from filelock import FileLock, Timeout
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document, Table

from pipelines.store.layout import LOCK_NAME, REGISTRY_NAME, daily_backups, require_usable
from pipelines.store.records import Row, Rows
from pipelines.store.reserve import Reserve
from pipelines.store.row_kinds import OF_SCHEMA, wrong_in
from rvc.errors import ConfigError
from rvc.files import atomic_write, is_disk_full

Tables = dict[str, dict[str, Row]]

TRIED_EVERY_S = 10.0  # whether a full disk has room again: strangers ask for it, and all rows are written
RETRY_PAUSE_S = 0.1
SCHEMA_VERSION = 1
SCHEMA_TABLE = "schema"
TABLES = ("jobs", "models", "usage", "tokens", "presets")

# Per version the step to the next one; it changes the document in place. A document from before versions were
# written, 0, has the rows of version 1.
MIGRATIONS: dict[int, Callable[[Tables], None]] = {0: lambda _: None}


def read_tables(content: bytes, path: Path) -> Tables:
    """Return the tables in the content of a registry's file; ConfigError if it holds none to be read."""
    tables, wrong = _checked(content)
    if wrong:
        raise ConfigError(f"The registry {path} {wrong}; {_way_out(path)}.")
    version = _version_of(tables)
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"The registry {path} was written by a newer Timbre (schema {version}); "
            "update this one, or set DATA_DIR to another folder."
        )
    return tables


def _checked(content: bytes) -> tuple[Tables, str]:
    """Read a registry's file, and say what is wrong with it; "" for nothing."""
    try:
        tables = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}, "is not readable JSON" if content.strip() else "is empty, not readable JSON"
    whole = isinstance(tables, dict) and all(
        isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())
        for table in tables.values()
    )
    if not whole:
        return {}, "holds no tables"
    version = _version_of(tables)
    if type(version) is not int or version < 0:
        return {}, f"is damaged (schema {str(version)[:20]!r})"
    for name, table in tables.items() if version <= OF_SCHEMA else ():
        for row_id, row in table.items():
            if wrong := wrong_in(name, row_id, row):
                return {}, f"is damaged (the row {row_id[:40]!r} of its {name} has {wrong})"
    return tables, ""


def _version_of(tables: Tables) -> Any:  # noqa: ANN401  # what a file says
    return tables.get(SCHEMA_TABLE, {}).get("schema", {}).get("version", 0)


def _way_out(path: Path) -> str:
    """Name the newest backup that is whole and the command that restores it, if there is one."""
    for backup in daily_backups(path.parent) if path.name == REGISTRY_NAME else ():
        with suppress(OSError):
            if not _checked(backup.read_bytes())[1]:
                command = f"python app.py --data-dir {path.parent} --restore {backup}"
                return f"take the newest backup with: {command}"
    return "restore it from a backup or move it away"


class InUseError(ConfigError):
    """Another process writes the registry."""


class AtomicStorage(Storage):
    """TinyDB storage that keeps the document in memory and replaces the file as a whole."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self.fault = ""  # why the last write failed; empty when it did not
        self.held = False  # whether writes only reach the memory for now
        self.room_given: Callable[[], bool] = lambda: False  # whether the reserve is given up for a write
        self.memory = read_tables(path.read_bytes(), path) if path.exists() else {}

    def read(self) -> Tables:
        # One level deep is enough: TinyDB changes rows, and Registry copies whatever leaves it.
        return {
            name: {row_id: dict(row) for row_id, row in table.items()} for name, table in self.memory.items()
        }

    def write(self, data: Tables) -> None:
        """Replace the document, first on the disk, then in memory; when the disk refuses, neither."""
        if self._read_only:
            raise RuntimeError("a registry that was opened to be read is not written")
        if not self.held:
            try:
                try:
                    self._replace(data)
                except OSError as error:
                    if not (is_disk_full(error) and self.room_given()):
                        raise
                    time.sleep(RETRY_PAUSE_S)  # others took the room first; what they cannot end they remove
                    self._replace(data)
            except OSError as error:
                self.fault = error.strerror or type(error).__name__
                raise
            self.fault = ""
        self.memory = data

    def _replace(self, data: Tables) -> None:
        with atomic_write(self.path) as path:
            path.write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2))

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Write what the block writes in one step at its end; when that or the block fails, nothing of it."""
        if self.held:  # within another such block
            yield
            return
        before, self.held = self.memory, True
        try:
            yield
            self.held = False
            if self.memory is not before:
                self.write(self.memory)
        except BaseException:
            self.memory = before
            raise
        finally:
            self.held = False


class _TableByName(Table):
    """A table whose document ids are the rows' own text ids."""

    document_id_class = str  # type: ignore[assignment]  # TinyDB's documented way to other ids
    default_query_cache_capacity = 0


class _Database(TinyDB):
    table_class = _TableByName


class Registry:
    """Jobs and models, with exactly one server as their writer; ConfigError if the folder cannot be used.

    One that is `read_only` has the rows as they are now, beside a server too, and makes no folder.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / REGISTRY_NAME
        self.schema = SCHEMA_VERSION
        self.version = 0  # rises with every write; equal numbers mean unchanged rows
        self._tried_s = float("-inf")
        self._mutex = threading.RLock()
        # thread_local would let only the opening thread release it.
        self._lock = FileLock(folder / LOCK_NAME, timeout=0, thread_local=False)
        try:
            if not read_only:
                folder.mkdir(parents=True, exist_ok=True)
            require_usable(folder)
            if not read_only:
                self._lock.acquire()
        except Timeout as error:
            raise InUseError(
                f"Another Timbre server already uses the data folder {folder}; "
                "stop it, or set DATA_DIR to another folder."
            ) from error
        except OSError as error:
            raise _unusable(folder, error) from error
        try:
            self._storage = AtomicStorage(self.path, read_only=read_only)
            self._database = _Database(storage=lambda: self._storage)
            if not read_only:
                # A write of an earlier version, cut.
                (folder / f"{REGISTRY_NAME}.tmp").unlink(missing_ok=True)
                self._migrate()
        except OSError as error:
            self._lock.release()
            raise _unusable(folder, error) from error
        except BaseException:
            self._lock.release()
            raise
        self.reserve = Reserve(folder)  # for whatever frees room: deleting rows gives it up by itself
        self._storage.room_given = lambda: self.reserve.given_up
        if not read_only:
            self.reserve.make()

    def counts(self) -> dict[str, int]:
        with self._mutex:
            return {name: len(self._database.table(name)) for name in ("jobs", "models")}

    @property
    def fault(self) -> str:
        """Why the disk refuses writes, such as "No space left on device"; empty when it does not.

        After one that failed it is tried now and then, so that it is known when the disk has room again.
        """
        moment_s = time.monotonic()
        if self._storage.fault and moment_s - self._tried_s >= TRIED_EVERY_S:
            self._tried_s = moment_s
            with self._mutex, suppress(OSError):
                self._storage.write(self._storage.memory)
        return self._storage.fault

    def close(self) -> None:
        with self._mutex:
            self._database.close()
            self._lock.release()

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Write all changes of the block in one step, or none of them; other threads wait."""
        with self._mutex, self._storage.as_one():
            yield

    def insert(self, table: str, row: Row) -> Row:
        """Add a row under its "id", replacing one of the same id; return a copy of it."""
        with self.as_one():
            rows = self._database.table(table)
            rows.remove(doc_ids=[row["id"]])
            rows.insert(Document(_copy(row), doc_id=row["id"]))
            self.version += 1
            return _copy(row)

    def get(self, table: str, row_id: str) -> Row | None:
        with self._mutex:
            row = self._database.table(table).get(doc_id=row_id)  # type: ignore[call-overload]
            return None if row is None else _copy(row)

    def update(self, table: str, row_id: str, **changes: object) -> Row:
        """Set fields of one row and return a copy of it; KeyError if there is none."""
        with self._mutex:
            self.update_many(table, [row_id], **changes)
            row = self.get(table, row_id)
            if row is None:
                raise KeyError(row_id)
            return row

    def update_many(self, table: str, row_ids: Iterable[str], **changes: object) -> None:
        """Set the same fields of several rows in one write; unknown ids are skipped."""
        with self._mutex:
            if ids := list(row_ids):
                self._database.table(table).update(_copy(changes), doc_ids=ids)  # type: ignore[arg-type]
                self.version += 1

    def update_each(self, table: str, changes: Mapping[str, Row]) -> None:
        """Set fields of several rows, others of each, in one write; by the ids of rows that are there."""
        with self._mutex:
            if changes:
                kept = _copy(dict(changes))
                self._database.table(table).update(
                    lambda row: row.update(kept[row["id"]]),
                    doc_ids=list(kept),  # type: ignore[arg-type]
                )
                self.version += 1

    def delete(self, table: str, row_ids: Iterable[str]) -> None:
        """Remove rows, also when the disk is full; unknown ids are skipped."""
        if ids := list(row_ids):
            with self.reserve.spent(), self._mutex:
                self._database.table(table).remove(doc_ids=ids)  # type: ignore[arg-type]
                self.version += 1

    def list(self, table: str, where: Callable[[Row], bool] | None = None, **equal: object) -> Rows:
        """Return copies of the rows, oldest first, that have these values and fulfil a condition."""
        with self._mutex:
            found: Rows = [
                row
                for row in self._database.table(table)
                if all(row.get(name) == value for name, value in equal.items())
                and (where is None or where(row))
            ]
            return _copy(found)

    def _migrate(self) -> None:
        tables = self._storage.read()
        version = _version_of(tables)
        if version == SCHEMA_VERSION or not isinstance(version, int):
            return
        if tables:
            with atomic_write(self.path.with_name(f"registry.v{version}.json")) as path:
                path.write_bytes(self.path.read_bytes())
        for step in range(version, SCHEMA_VERSION):
            MIGRATIONS[step](tables)
        for name in TABLES:
            tables.setdefault(name, {})
        tables[SCHEMA_TABLE] = {"schema": {"version": SCHEMA_VERSION}}
        self._storage.write(tables)


def _unusable(folder: Path, error: OSError) -> ConfigError:
    way_out = (
        "free some room on its disk" if is_disk_full(error) else "make it writable for whoever runs Timbre"
    )
    return ConfigError(
        f"The data folder {folder} cannot be used ({error.strerror}); {way_out}, or set DATA_DIR to another "
        "folder."
    )


Rowlike = TypeVar("Rowlike", Row, Rows)


def _copy(rows: Rowlike) -> Rowlike:
    """Copy a row, or rows, to the last leaf; JSON there and back is several times faster than deepcopy."""
    copy: Rowlike = orjson.loads(orjson.dumps(rows))
    return copy
