"""The registry: which jobs and voice models exist, in DATA_DIR/registry.json, through TinyDB.

Rows are plain dicts with a text "id"; "jobs", "models", "usage" and "tokens" are the tables. Guaranteed: one
writer (server.lock is held while it is open), no torn file, nothing read or written is shared with the
caller, any thread may call. The document stays parsed in memory, so reads touch no disk; a write serialises
all of it, which is why progress is kept elsewhere and old jobs are pruned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from filelock import FileLock, Timeout
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document, Table

from pipelines.store.records import Row, Rows
from rvc.errors import ConfigError
from rvc.files import atomic_write

Tables = dict[str, dict[str, Row]]

SCHEMA_VERSION = 1
SCHEMA_TABLE = "schema"
REGISTRY_NAME, LOCK_NAME = "registry.json", "server.lock"
TABLES = ("jobs", "models", "usage", "tokens")

# Per version the step to the next one; it changes the document in place. A document from before versions were
# written, 0, has the rows of version 1.
MIGRATIONS: dict[int, Callable[[Tables], None]] = {0: lambda _: None}


def read_tables(content: bytes, path: Path) -> Tables:
    """Return the tables in the content of a registry's file; ConfigError if it holds none to be read."""
    try:
        tables = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"The registry {path} is not readable JSON; {_way_out(path)}.") from error
    whole = isinstance(tables, dict) and all(
        isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())
        for table in tables.values()
    )
    if not whole:
        raise ConfigError(f"The registry {path} holds no tables; {_way_out(path)}.")
    version = _version_of(tables)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ConfigError(
            f"The registry {path} was written by a newer Timbre (schema {version}); "
            "update this one, or set DATA_DIR to another folder."
        )
    return tables


def _version_of(tables: Tables) -> object:
    return tables.get(SCHEMA_TABLE, {}).get("schema", {}).get("version", 0)


def _way_out(path: Path) -> str:
    backups = sorted((path.parent / "backups").glob("registry-????-??-??.json"))
    if backups and path.name == REGISTRY_NAME:
        return f"take the newest backup with: python app.py --restore {backups[-1]}"
    return "restore it from a backup or move it away"


class AtomicStorage(Storage):
    """TinyDB storage that keeps the document in memory and replaces the file as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault = ""  # why the last write failed; empty when it did not
        self.held = False  # whether writes only reach the memory for now
        self.memory = read_tables(path.read_bytes(), path) if path.exists() else {}

    def read(self) -> Tables:
        # One level deep is enough: TinyDB changes rows, and Registry copies whatever leaves it.
        return {
            name: {row_id: dict(row) for row_id, row in table.items()} for name, table in self.memory.items()
        }

    def write(self, data: Tables) -> None:
        """Replace the document, first on the disk, then in memory; when the disk refuses, neither."""
        if not self.held:
            try:
                with atomic_write(self.path) as path:
                    path.write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2))
            except OSError as error:
                self.fault = error.strerror or type(error).__name__
                raise
            self.fault = ""
        self.memory = data

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
    """Jobs and models, with exactly one server as their writer; ConfigError if the folder cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / REGISTRY_NAME
        self.schema = SCHEMA_VERSION
        self.version = 0  # rises with every write; equal numbers mean unchanged rows
        self._mutex = threading.RLock()
        # thread_local would let only the opening thread release it.
        self._lock = FileLock(folder / LOCK_NAME, timeout=0, thread_local=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"Another Timbre server already uses the data folder {folder}; "
                "stop it, or set DATA_DIR to another folder."
            ) from error
        except OSError as error:
            raise ConfigError(
                f"The data folder {folder} cannot be used ({error.strerror}); make it writable for whoever "
                "runs Timbre, or set DATA_DIR to another folder."
            ) from error
        try:
            (folder / f"{REGISTRY_NAME}.tmp").unlink(missing_ok=True)  # a write of an earlier version, cut
            self._storage = AtomicStorage(self.path)
            self._database = _Database(storage=lambda: self._storage)
            self._migrate()
        except BaseException:
            self._lock.release()
            raise

    def counts(self) -> dict[str, int]:
        with self._mutex:
            return {name: len(self._database.table(name)) for name in ("jobs", "models")}

    @property
    def fault(self) -> str:
        """Why the last write failed, such as "No space left on device"; empty when it did not."""
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

    def delete(self, table: str, row_ids: Iterable[str]) -> None:
        with self._mutex:
            if ids := list(row_ids):
                self._database.table(table).remove(doc_ids=ids)  # type: ignore[arg-type]
                self.version += 1

    def list(self, table: str, where: Callable[[Row], bool] | None = None, **equal: object) -> Rows:
        """Return copies of the rows, oldest first, that have these values and fulfil a condition."""
        with self._mutex:
            return [
                _copy(row)
                for row in self._database.table(table)
                if all(row.get(name) == value for name, value in equal.items())
                and (where is None or where(row))
            ]

    def _migrate(self) -> None:
        tables = self._storage.read()
        version = _version_of(tables)
        if version == SCHEMA_VERSION or not isinstance(version, int):
            return
        if tables:
            self.path.with_name(f"registry.v{version}.json").write_bytes(self.path.read_bytes())
        for step in range(version, SCHEMA_VERSION):
            MIGRATIONS[step](tables)
        for name in TABLES:
            tables.setdefault(name, {})
        tables[SCHEMA_TABLE] = {"schema": {"version": SCHEMA_VERSION}}
        self._storage.write(tables)


def _copy(row: Row) -> Row:
    """Copy a row to its last leaf; JSON there and back is several times faster than deepcopy."""
    copy: Row = orjson.loads(orjson.dumps(row))
    return copy
