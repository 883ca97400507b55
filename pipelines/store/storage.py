"""The registry's file and its journal: a change costs what changed, not all that there is.

    registry.json      the document as it was last written whole, a row a line
    registry.journal   what has changed since, a line a step: `CRC32 {table: {id: row or null}}`; the first
                       names the registry.json that it follows by its CRC32, `{"follows": CRC32}`

A step is done when its line is whole on the disk, so that a crash at any byte loses nothing that was done. A
journal that follows another registry.json is in that one already, or belongs to one that a backup replaced.

A long journal is folded: the document is written whole beside the one that is there, while others go on; the
journal says that it follows that one too (steps that are in it already change nothing); it takes its place;
and the journal is left with what came meanwhile. A crash between two of these finds both files agreeing.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from tinydb.storages import Storage
from tinydb.table import Table

from pipelines.store.layout import JOURNAL_NAME
from pipelines.store.records import Row
from rvc.files import atomic_write, flush, is_disk_full, room_in

logger = logging.getLogger(__name__)
Tables = dict[str, dict[str, Row]]
Step = dict[str, dict[str, Row | None]]  # by table and id the rows that change, None for those that go

RETRY_PAUSE_S = 0.1
LEAST_FOLDED_BYTES = 4_000_000  # a shorter journal is not worth writing the document for
FLUSHED_BYTES = 1 << 20
ROWS_AT_ONCE = 100  # a tenth of a millisecond
READS = 5  # of both files, while a server writes


class Stored(NamedTuple):
    """What the files of a registry hold."""

    tables: Tables
    content: bytes  # of the document
    length: int  # of the journal's whole steps, in bytes
    intact: bool  # whether a journal proves by its sums that both are as they were written


def read_stored(path: Path) -> Stored:
    """Read a registry; ValueError, with what is wrong, if one of the files is damaged.

    The rows are not looked at.
    """
    for _ in range(READS):  # a server may write the document whole between the two
        written, content = path.stat(), path.read_bytes()
        steps, length, follows = _read_journal(path.with_name(JOURNAL_NAME))
        now = path.stat()
        # No journal tells nothing of a document that has been replaced meanwhile.
        intact = zlib.crc32(content) in follows
        if (intact or not follows) and now.st_mtime_ns == written.st_mtime_ns:
            break
    else:
        logger.warning("%s belongs to another %s, so it is not read", JOURNAL_NAME, path.name)
        steps, length = [], 0
    tables = parsed(content)
    for step in steps:
        for name, rows in step.items():
            table = tables.setdefault(name, {})
            for row_id, row in rows.items():
                if row is None:
                    table.pop(row_id, None)
                else:
                    table[row_id] = row
    return Stored(tables, content, length, intact)


def pieces_of(tables: Tables) -> Iterator[bytes]:
    """Yield tables as a document, some rows at a time, so that other threads get their turn."""
    yield b"{"
    for number, (name, table) in enumerate(tables.items()):
        yield (b",\n" if number else b"\n") + orjson.dumps(name) + b": {"
        rows = iter(table.items())
        before = b"\n"
        while some := list(islice(rows, ROWS_AT_ONCE)):
            yield before + b",\n".join(
                orjson.dumps(row_id) + b": " + orjson.dumps(row) for row_id, row in some
            )
            before = b",\n"
        yield b"\n}"
    yield b"\n}\n"


class Written(NamedTuple):
    """A document on the disk."""

    crc: int
    length: int


def write_gently(path: Path, pieces: Iterable[bytes]) -> Written:
    """Write a document, flushed now and then: whoever flushes a journal meanwhile waits for little else."""
    crc = length = flushed = 0
    with path.open("wb", buffering=0) as file:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:  # the last free room of a disk takes a part of it
                rest = rest[file.write(rest) :]
            crc, length = zlib.crc32(piece, crc), length + len(piece)
            if length - flushed >= FLUSHED_BYTES:
                os.fsync(file.fileno())
                flushed = length
    return Written(crc, length)


def parsed(content: bytes) -> Tables:
    """Return the tables that a file holds; ValueError, with what is wrong, if there are none."""
    try:
        tables = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ValueError(
            "is not readable JSON" if content.strip() else "is empty, not readable JSON"
        ) from error
    if not isinstance(tables, dict) or not all(_is_table(table) for table in tables.values()):
        raise ValueError("holds no tables")
    return tables


def _is_table(table: object) -> bool:
    return isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())


def _read_journal(path: Path) -> tuple[list[Any], int, set[int]]:
    """Return a journal's steps, their length in bytes, and the CRC32s of the documents that they follow.

    A last line that was cut by a crash is none. ValueError if others come after one that is damaged.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [_step(line) for line in lines]
    count = next((n for n, step in enumerate(whole) if step is None), len(whole))
    if any(step is not None for step in whole[count:]):
        raise ValueError(f"has a damaged journal (line {count + 1} of {JOURNAL_NAME})")
    steps = [step for step in whole[:count] if step and "follows" not in step]
    follows = {step["follows"] for step in whole[:count] if step and "follows" in step}
    return steps, sum(map(len, lines[:count])), follows or {-1} if count else set()


def _step(line: bytes) -> dict[str, Any] | None:
    """Return what a whole line holds; None for one that was cut or damaged."""
    try:
        content = line[9:-1]
        if line[-1:] == b"\n" and int(line[:8], 16) == zlib.crc32(content):
            step: dict[str, Any] = orjson.loads(content)
            return step
    except ValueError:
        pass
    return None


def _line(step: Mapping[str, object]) -> bytes:
    return _framed(orjson.dumps(step))


def _framed(content: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(content), content)


class JournaledStorage(Storage):
    """TinyDB storage that keeps the document in memory and appends what changes to the journal."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self.fault = ""  # why the last write failed; empty when it did not
        self.held = False  # whether changes only reach the memory for now
        self.room_given: Callable[[], bool] = lambda: False  # whether the reserve is given up for a write
        self.memory: Tables = {}
        content, self._length, self.intact = b"", 0, False
        if path.exists():
            self.memory, content, self._length, self.intact = read_stored(path)
        self._journal = path.with_name(JOURNAL_NAME)
        self._follows, self._document_bytes = zlib.crc32(content), len(content)
        self._fold_at_bytes = 0  # no shorter is the journal folded; more after the disk refused that
        self._refused_bytes = 0  # of the last step, should the disk refuse it
        self._before: Step = {}  # what the step that is not written yet has changed, as it was
        self._orders: dict[str, list[str]] = {}  # of tables that it takes rows out of, as they were

    def read(self) -> Tables:
        """Return the document itself; rows are changed through `change` alone."""
        return self.memory

    def write(self, data: Tables) -> None:
        """Replace the whole document, first on the disk, then in memory; when the disk refuses, neither."""
        content = b"".join(pieces_of(data))
        self._trying(lambda: self._replace(content))
        self.memory = data
        self._follows, self._length, self._document_bytes = zlib.crc32(content), 0, len(content)

    def fold(self) -> None:
        """Write the document whole if there is anything in the journal; what the disk refuses can wait."""
        if self._length:
            with suppress(OSError):
                self.write(self.memory)

    def change(self, name: str, updater: Callable[[MutableMapping[str, Row]], None]) -> None:
        """Change rows of a table; when the disk refuses, they are as they were."""
        table = self.memory.get(name, {})
        rows = _Changing(table)
        updater(rows)
        if not rows.changed:
            return
        if self.held:
            before = self._before.setdefault(name, {})
            for row_id, row in rows.changed.items():
                before.setdefault(row_id, table.get(row_id))
                if row is None:
                    self._orders.setdefault(name, list(table))
        else:
            self._write_step({name: rows.changed})
        self._put(name, rows.changed)

    def _put(self, name: str, rows: Mapping[str, Row | None]) -> None:
        """Change rows in memory; None for those that go."""
        table = self.memory.setdefault(name, {})
        for row_id, row in rows.items():
            if row is None:
                table.pop(row_id, None)
            else:
                table[row_id] = row

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Write what the block changes as one step, at its end; when that or the block fails, nothing."""
        if self.held:  # within another such block
            yield
            return
        self._before, self._orders, self.held = {}, {}, True
        try:
            yield
            step = {
                name: {row_id: self.memory[name].get(row_id) for row_id in rows}
                for name, rows in self._before.items()
            }
            if any(step.values()):
                self._write_step(step)
        except BaseException:
            for name, rows in self._before.items():
                self._put(name, rows)
            for name, order in self._orders.items():
                table = self.memory[name]
                self.memory[name] = {row_id: table[row_id] for row_id in order if row_id in table}
            raise
        finally:
            self._before, self._orders, self.held = {}, {}, False

    def _write_step(self, step: Step) -> None:
        line = _line(step)
        self._refused_bytes = len(line)
        self._trying(lambda: self.append(line))

    @property
    def is_long(self) -> bool:
        """Whether the journal is to be folded."""
        return self._length > max(LEAST_FOLDED_BYTES, self._document_bytes // 2, self._fold_at_bytes)

    @property
    def has_room(self) -> bool:
        """Whether the disk has room for a second document, and for others beside it."""
        return room_in(self.path.parent) > self._document_bytes + self._length

    def snapshot(self) -> tuple[Tables, int]:
        """Return the tables as they are now, rows not copied, and the length of the journal."""
        return {name: dict(table) for name, table in self.memory.items()}, self._length

    def put_off(self) -> None:
        """Fold no more until the journal has grown again by as much as it may."""
        self._fold_at_bytes = self._length + max(LEAST_FOLDED_BYTES, self._document_bytes // 2)

    def announce(self, written: Written) -> None:
        """Have the journal follow a document too that will take the place of the other."""
        self.append(_line({"follows": written.crc}))

    def follow(self, written: Written, since: int) -> None:
        """Leave in the journal what came since, now that the document has been replaced."""
        self._follows, self._document_bytes, self._fold_at_bytes = written.crc, written.length, 0
        tail = _line({"follows": self._follows}) + self._journal.read_bytes()[since : self._length]
        with atomic_write(self._journal) as path:
            path.write_bytes(tail)
        self._length = len(tail)

    def try_disk(self) -> None:
        """Find out whether the disk takes writes again; OSError if not."""
        padding = b" " * self._refused_bytes  # room for little is there sooner than for what was refused
        self._trying(lambda: self.append(_framed(b"{}" + padding)))

    def append(self, line: bytes) -> None:
        """Add a line to the journal; when the disk refuses, the journal is as it was."""
        if not self._length:  # what lies there has been written whole, or was cut
            line = _line({"follows": self._follows}) + line
        new = not self._journal.exists()
        handle = os.open(self._journal, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.ftruncate(handle, self._length)
            _write_all(handle, line, self._length)
            os.fsync(handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, self._length)
            raise
        finally:
            os.close(handle)
        if new:
            flush(self._journal.parent)
        self._length += len(line)

    def _replace(self, content: bytes) -> None:
        with atomic_write(self.path) as path:
            path.write_bytes(content)
        self._journal.unlink(missing_ok=True)

    def _trying(self, write: Callable[[], None]) -> None:
        if self._read_only:
            raise RuntimeError("a registry that was opened to be read is not written")
        try:
            try:
                write()
            except OSError as error:
                if not (is_disk_full(error) and self.room_given()):
                    raise
                time.sleep(RETRY_PAUSE_S)  # others took the room first; what they cannot end they remove
                write()
        except OSError as error:
            self.fault = error.strerror or type(error).__name__
            raise
        self.fault = ""


def _write_all(handle: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(handle, content, offset)
        content, offset = content[written:], offset + written


class _Changing(MutableMapping[str, Row]):
    """A table with changes beside it; rows that are read through it are copied, for they may be changed."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows
        self.changed: dict[str, Row | None] = {}

    def __getitem__(self, row_id: str) -> Row:
        if row_id not in self.changed:
            self.changed[row_id] = dict(self._rows[row_id])
        if (row := self.changed[row_id]) is None:
            raise KeyError(row_id)
        return row

    def __setitem__(self, row_id: str, row: Row) -> None:
        self.changed[row_id] = row

    def __delitem__(self, row_id: str) -> None:
        if row_id not in self:
            raise KeyError(row_id)
        self.changed[row_id] = None

    def __contains__(self, row_id: object) -> bool:
        if row_id in self.changed:
            return self.changed[str(row_id)] is not None
        return row_id in self._rows

    def __iter__(self) -> Iterator[str]:
        yield from (row_id for row_id in self._rows if row_id in self)
        yield from (row_id for row_id in self.changed if row_id not in self._rows and row_id in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class TableByName(Table):
    """A table whose document ids are the rows' own text ids, and that changes no others than it must."""

    document_id_class = str  # type: ignore[assignment]  # TinyDB's documented way to other ids
    default_query_cache_capacity = 0

    def _update_table(self, updater: Callable[[dict[Any, Any]], None]) -> None:
        self._storage.change(self.name, updater)  # type: ignore[attr-defined]  # ours alone
