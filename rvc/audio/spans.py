"""A stretch of a file, read as a file of its own, with some of its bytes replaced on the way.

So the libraries read one of several recordings in a file, and a header with its sizes put right, uncopied.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BUFFER_BYTES = 1 << 18
_FAR = 1 << 44  # bytes; no file system takes a position far beyond


@dataclass(frozen=True, kw_only=True)
class Span:
    """Bytes `start` to `end` of a file; each patch is (position in the file, what is read there instead)."""

    start: int
    end: int
    patches: tuple[tuple[int, bytes], ...] = ()

    def is_all_of(self, path: Path) -> bool:
        """Whether this is the file as it is."""
        return self.start == 0 and not self.patches and self.end == path.stat().st_size


def opened(path: Path, span: Span) -> io.BufferedReader:
    """Open a span for reading; closing it closes the file."""
    return io.BufferedReader(_SpanFile(path.open("rb", buffering=0), span), _BUFFER_BYTES)


def read_at(file: BinaryIO, at: int, count: int) -> bytes:
    """Read up to so many bytes at a position, which may be any that a header states."""
    if at >= _FAR:
        return b""
    file.seek(at)
    return file.read(max(0, count))


def is_zero(file: BinaryIO, start: int, end: int) -> bool:
    """Whether these bytes, if there are any, are all zero."""
    while block := read_at(file, start, min(_BUFFER_BYTES, end - start)):
        if block.count(0) < len(block):
            return False
        start += len(block)
    return True


class _SpanFile(io.RawIOBase):
    def __init__(self, file: io.FileIO, span: Span) -> None:
        self._file, self._span, self._at = file, span, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = self._span.end - self._span.start
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence]
        self._at = min(max(0, origin + offset), size)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        begin = self._span.start + self._at
        view = memoryview(buffer)[: self._span.end - begin]
        self._file.seek(begin)
        count = self._file.readinto(view) or 0
        for position, content in self._span.patches:
            first, last = max(position, begin), min(position + len(content), begin + count)
            if first < last:
                view[first - begin : last - begin] = content[first - position : last - position]
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
