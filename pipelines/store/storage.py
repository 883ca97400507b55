"""The registry's file and its journal: a change costs what changed, not all that there is.

    registry.json      the document as it was last written whole
    registry.journal   what has changed since, a line a step: `CRC32 {table: {id: row or null}}`; the first
                       names the registry.json that it follows by its CRC32

A step is done when its line is whole on the disk, so that a crash at any byte loses nothing that was done. A
journal that follows another registry.json is in that one already, or belongs to one that a backup replaced.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from tinydb.storages import Storage
from tinydb.table import Table

from pipelines.store.layout import JOURNAL_NAME
from pipelines.store.records import Row
from rvc.files import atomic_write, flush, is_disk_full

logger = logging.getLogger(__name__)
Tables = dict[str, dict[str, Row]]

RETRY_PAUSE_S = 0.1
LEAST_FOLDED_BYTES = 4_000_000  # a shorter journal is not worth writing the document for
READS = 5  # of both files, while a server writes


def read_stored(path: Path) -> tuple[Any, bytes, int]:
    """Return a registry's document, what it was read from, and the length of the journal's whole steps.

    ValueError, with what is wrong, if one of the files is damaged; the rows are not looked at.
    """
    for _ in range(READS):  # a server may write the document whole between the two
        written, content = path.stat(), path.read_bytes()
        steps, length, follows = _read_journal(path.with_name(JOURNAL_NAME))
        now = path.stat()
        # No journal tells nothing of a document that has been replaced meanwhile.
        if follows in (None, zlib.crc32(content)) and now.st_mtime_ns == written.st_mtime_ns:
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
    return tables, content, length


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


def _read_journal(path: Path) -> tuple[list[Any], int, int | None]:
    """Return a journal's steps, their length in bytes, and the CRC32 of the document that they follow.

    A last line that was cut by a crash is none. ValueError if others come after one that is damaged.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [_step(line) for line in lines]
    count = next((n for n, step in enumerate(whole) if step is None), len(whole))
    if any(step is not None for step in whole[count:]):
        raise ValueError(f"has a damaged journal (line {count + 1} of {JOURNAL_NAME})")
    if not count:
        return [], 0, None
    head, *steps = whole[:count]
    return steps, sum(map(len, lines[:count])), head.get("follows", -1) if head else None


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


def _line(step: dict[str, Any]) -> bytes:
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
        content, self._length = b"", 0
        if path.exists():
            self.memory, content, self._length = read_stored(path)
        self._journal = path.with_name(JOURNAL_NAME)
        self._follows, self._document_bytes = zlib.crc32(content), len(content)
        self._refused_bytes = 0  # of the last step, should the disk refuse it
        self._changed: dict[str, set[str]] = {}  # rows of the step that is not written yet, by table

    def read(self) -> Tables:
        """Return the document itself; rows are changed through `change` alone."""
        return self.memory

    def write(self, data: Tables) -> None:
        """Replace the whole document, first on the disk, then in memory; when the disk refuses, neither."""
        content = orjson.dumps(data, option=orjson.OPT_INDENT_2)
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
        rows = _Changing(self.memory.get(name, {}))
        updater(rows)
        self._changed.setdefault(name, set()).update(rows.changed)
        self._finish({**self.memory, name: rows.rows})

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Write what the block changes as one step, at its end; when that or the block fails, nothing."""
        if self.held:  # within another such block
            yield
            return
        before, self.held = self.memory, True
        try:
            yield
            self.held = False
            if self.memory is not before:
                self._finish(self.memory)
        except BaseException:
            self.memory = before
            self._changed.clear()
            raise
        finally:
            self.held = False

    def _finish(self, tables: Tables) -> None:
        if self.held:
            self.memory = tables
            return
        changed, self._changed = self._changed, {}
        step = {name: {row_id: tables[name].get(row_id) for row_id in ids} for name, ids in changed.items()}
        if any(step.values()):
            line = _line(step)
            self._refused_bytes = len(line)
            self._trying(lambda: self.append(line))
        self.memory = tables
        if self._length > max(LEAST_FOLDED_BYTES, self._document_bytes):
            self.fold()

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
    """A copy of a table; rows that are read through it are copied too, for they may be changed."""

    def __init__(self, rows: dict[str, Row]) -> None:
        self.rows = dict(rows)
        self.changed: set[str] = set()

    def __getitem__(self, row_id: str) -> Row:
        self[row_id] = dict(self.rows[row_id])
        return self.rows[row_id]

    def __setitem__(self, row_id: str, row: Row) -> None:
        self.changed.add(row_id)
        self.rows[row_id] = row

    def __delitem__(self, row_id: str) -> None:
        self.changed.add(row_id)
        del self.rows[row_id]

    def __contains__(self, row_id: object) -> bool:
        return row_id in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class TableByName(Table):
    """A table whose document ids are the rows' own text ids, and that changes no others than it must."""

    document_id_class = str  # type: ignore[assignment]  # TinyDB's documented way to other ids
    default_query_cache_capacity = 0

    def _update_table(self, updater: Callable[[dict[Any, Any]], None]) -> None:
        self._storage.change(self.name, updater)  # type: ignore[attr-defined]  # ours alone
