"""The registry: which jobs and voice models exist, in DATA_DIR/registry.json, through TinyDB.

Rows are plain dicts with a text "id", in the tables of TABLES. Guaranteed: one writer (server.lock is held
while it is open), no torn file, nothing read or written is shared with the caller, any thread may call. The
document stays parsed in memory, so reads touch no disk; a change is a line of a journal (storage.py).
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from heapq import nlargest
from pathlib import Path
from typing import Any, TypeVar

import orjson
from filelock import FileLock, Timeout
from tinydb import TinyDB

from pipelines.store.layout import LOCK_NAME, REGISTRY_NAME, daily_backups, require_usable
from pipelines.store.records import Row, Rows
from pipelines.store.reserve import Reserve
from pipelines.store.row_kinds import OF_SCHEMA, wrong_in
from pipelines.store.storage import (
    JournaledStorage,
    TableByName,
    Tables,
    parsed,
    pieces_of,
    read_stored,
    write_gently,
)
from rvc.errors import ConfigError
from rvc.files import atomic_write, is_disk_full

logger = logging.getLogger(__name__)

TRIED_EVERY_S = 10.0  # whether a full disk has room again: strangers ask for it, and all rows are written
NEWS = 1_000  # writes of which it is still known what they changed
MANY_OBJECTS = 100_000  # lists and dicts that rows are made of
SCHEMA_VERSION = 1
SCHEMA_TABLE = "schema"
TABLES = ("jobs", "models", "usage", "tokens", "presets")

# Per version the step to the next one; it changes the document in place. A document from before versions were
# written, 0, has the rows of version 1.
MIGRATIONS: dict[int, Callable[[Tables], None]] = {0: lambda _: None}


def read_registry(path: Path) -> tuple[bytes, Tables]:
    """Return a registry with what its journal adds, as one file would hold it, and its tables.

    A server may be writing it. ConfigError if it is damaged or of a newer version.
    """
    try:
        tables, content, steps, _ = read_stored(path)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    _require_whole(tables, path)
    return b"".join(pieces_of(tables)) if steps else content, tables


def read_tables(content: bytes, path: Path) -> Tables:
    """Return the tables in the content of a registry's file; ConfigError if it holds none to be read."""
    try:
        tables = parsed(content)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    _require_whole(tables, path)
    return tables


def _require_whole(tables: Tables, path: Path, *, as_written: bool = False) -> None:
    """Refuse what is damaged or of a newer version; rows that are as they were written need no look."""
    version = _version_of(tables)
    if not (as_written and version == SCHEMA_VERSION) and (wrong := _wrong_in(tables)):
        raise _damaged(path, wrong)
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"The registry {path} was written by a newer Timbre (schema {version}); "
            "update this one, or set DATA_DIR to another folder."
        )


def _wrong_in(tables: Tables) -> str:
    """Say what is wrong with the rows; "" for nothing."""
    version = _version_of(tables)
    if type(version) is not int or version < 0:
        return f"is damaged (schema {str(version)[:20]!r})"
    for name, table in tables.items() if version <= OF_SCHEMA else ():
        for row_id, row in table.items():
            if wrong := wrong_in(name, row_id, row):
                return f"is damaged (the row {row_id[:40]!r} of its {name} has {wrong})"
    return ""


def _damaged(path: Path, wrong: str) -> ConfigError:
    return ConfigError(f"The registry {path} {wrong}; {_way_out(path)}.")


def _version_of(tables: Tables) -> Any:  # noqa: ANN401  # what a file says
    return tables.get(SCHEMA_TABLE, {}).get("schema", {}).get("version", 0)


def _way_out(path: Path) -> str:
    """Name the newest backup that is whole and the command that restores it, if there is one."""
    for backup in daily_backups(path.parent) if path.name == REGISTRY_NAME else ():
        with suppress(OSError, ValueError):
            if not _wrong_in(parsed(backup.read_bytes())):
                command = f"python app.py --data-dir {path.parent} --restore {backup}"
                return f"take the newest backup with: {command}"
    return "restore it from a backup or move it away"


Told = TypeVar("Told")


class InUseError(ConfigError):
    """Another process writes the registry."""


class _Database(TinyDB):
    table_class = TableByName


class Registry:
    """Jobs and models, with exactly one server as their writer; ConfigError if the folder cannot be used.

    One that is `read_only` has the rows as they are now, beside a server too, and makes no folder.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / REGISTRY_NAME
        self.schema = SCHEMA_VERSION
        self.version = 0  # rises with every write; equal numbers mean unchanged rows
        self._news: deque[tuple[int, str, list[str]]] = deque(maxlen=NEWS)  # version, table and ids of writes
        self._tried_s = float("-inf")
        self._folding: threading.Thread | None = None  # writes the document whole
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
            with _many_rows():
                try:
                    self._storage = JournaledStorage(self.path, read_only=read_only)
                except ValueError as error:
                    raise _damaged(self.path, str(error)) from error
                _require_whole(self._storage.memory, self.path, as_written=self._storage.intact)
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

    def content(self) -> bytes:
        """Return all rows as registry.json holds them."""
        with self._mutex:
            tables, _ = self._storage.snapshot()
        return b"".join(pieces_of(tables))

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
                self._storage.try_disk()
        return self._storage.fault

    def close(self) -> None:
        if self._folding is not None:
            self._folding.join()
        with self._mutex:
            if self._lock.is_locked:
                self._storage.fold()
            self._database.close()
            self._lock.release()

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Write all changes of the block in one step, or none of them; other threads wait."""
        with self._mutex:
            try:
                with self._storage.as_one():
                    yield
            except BaseException:
                self._news.clear()  # what was told of them is not so
                self.version += 1
                raise

    def changed_since(self, version: int, table: str) -> set[str] | None:
        """Return the ids of the rows that were written since a version; None where that is too long ago."""
        with self._mutex:
            known = self._news[0][0] - 1 if self._news else self.version
            if version < known:
                return None
            found: set[str] = set()
            for at, name, ids in reversed(self._news):
                if at <= version:
                    break
                if name == table:
                    found.update(ids)
            return found

    def _note(self, table: str, row_ids: Iterable[str]) -> None:
        """Note a write, after which the journal may be long enough to be folded."""
        self.version += 1
        self._news.append((self.version, table, list(row_ids)))
        storage, busy = self._storage, self._folding is not None and self._folding.is_alive()
        if storage.is_long and not busy and storage.has_room:
            self._folding = threading.Thread(target=self._fold, name="registry", daemon=True)
            self._folding.start()

    def _fold(self) -> None:
        """Write the document whole, while others read and write."""
        with self._mutex:
            tables, since = self._storage.snapshot()
        try:
            # The old document is held open until others go on: to free its room takes time.
            with self.path.open("rb"), ExitStack() as stack:
                with atomic_write(self.path) as path:
                    written = write_gently(path, pieces_of(tables))
                    stack.enter_context(self._mutex)
                    self._storage.announce(written)
                self._storage.follow(written, since)
        except OSError as error:  # it can wait
            logger.warning("the registry's journal could not be folded: %s", error)
            with self._mutex:
                self._storage.put_off()

    def insert(self, table: str, row: Row) -> Row:
        """Add a row under its "id", replacing one of the same id; return a copy of it."""
        with self._mutex:
            new = _copy(row)
            self._storage.change(table, lambda rows: rows.__setitem__(row["id"], new))
            self._note(table, [row["id"]])
            return _copy(row)

    def get(self, table: str, row_id: str) -> Row | None:
        with self._mutex:
            row = self._storage.memory.get(table, {}).get(row_id)
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
                self._note(table, ids)

    def update_each(self, table: str, changes: Mapping[str, Row]) -> None:
        """Set fields of several rows, others of each, in one write; by the ids of rows that are there."""
        with self._mutex:
            if changes:
                kept = _copy(dict(changes))
                self._database.table(table).update(
                    lambda row: row.update(kept[row["id"]]),
                    doc_ids=list(kept),  # type: ignore[arg-type]
                )
                self._note(table, kept)

    def delete(self, table: str, row_ids: Iterable[str]) -> None:
        """Remove rows, also when the disk is full; unknown ids are skipped."""
        if ids := list(row_ids):
            with self.reserve.spent(), self._mutex:
                self._database.table(table).remove(doc_ids=ids)  # type: ignore[arg-type]
                self._note(table, ids)

    def list(
        self,
        table: str,
        where: Callable[[Row], bool] | None = None,
        *,
        newest: int = 0,
        **equal: object,
    ) -> Rows:
        """Return copies of the rows, oldest first, that have these values and fulfil a condition.

        With `newest` so many of the highest seq, these first.
        """
        with self._mutex:
            found = list(self._storage.memory.get(table, {}).values())
            for name, value in equal.items():
                found = [row for row in found if row.get(name) == value]
            if where is not None:
                found = [row for row in found if where(row)]
            if newest:
                found = nlargest(newest, found, key=lambda row: row["seq"])
            return _copy(found)

    def ids(self, table: str) -> set[str]:
        with self._mutex:
            return set(self._storage.memory.get(table, {}))

    def values(self, table: str, name: str) -> set[Any]:
        """Return what a field, of texts or numbers, holds in any of the rows; None where a row lacks it."""
        with self._mutex:
            return {row.get(name) for row in self._storage.memory.get(table, {}).values()}

    def scan(self, table: str, tell: Callable[[Row], Told]) -> Sequence[Told]:
        """Return what a function tells of each row, oldest first; it neither changes nor keeps the row."""
        with self._mutex:
            return [tell(row) for row in self._storage.memory.get(table, {}).values()]

    def _migrate(self) -> None:
        version = _version_of(self._storage.memory)
        if version == SCHEMA_VERSION or not isinstance(version, int):
            return
        if tables := _copy(self._storage.memory):
            with atomic_write(self.path.with_name(f"registry.v{version}.json")) as path:
                path.write_bytes(b"".join(pieces_of(tables)))
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


@contextmanager
def _many_rows() -> Iterator[None]:
    """Load rows without looking for garbage among them meanwhile, nor later: there are no circles in them.

    Of 100,000 rows that is seconds at first, and then a tenth of one every now and then.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        if gc.get_count()[0] > MANY_OBJECTS:
            gc.freeze()
    finally:
        if collects:
            gc.enable()


Rowlike = TypeVar("Rowlike", Row, Rows, Tables)


def _copy(rows: Rowlike) -> Rowlike:
    """Copy a row, or rows, to the last leaf; JSON there and back is several times faster than deepcopy."""
    copy: Rowlike = orjson.loads(orjson.dumps(rows))
    return copy
