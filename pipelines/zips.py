"""The safe reader of a stranger's zip, for recordings and for voices, judged from its directory first.

What is no zip, is damaged or encrypted, or holds more than it says is refused, in the words of who asks
(`Refusals`). Which names, sizes and counts are allowed is for the caller to judge before a byte is written.
"""

from __future__ import annotations

import errno
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from rvc.errors import RvcError

START_OF_ZIP = b"PK\x03\x04"
_ENCRYPTED = 0x1
_CHUNK_BYTES = 1 << 20
# What a wrong directory, name, offset or method trips over.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, LZMAError, struct.error, EOFError, RuntimeError, ValueError, OverflowError
)  # fmt: skip
# A thousand times what a voice has, and four hundred bytes for each of ten thousand recordings.
MAX_DIRECTORY_BYTES = 4_000_000
_END, _END_BYTES = b"PK\x05\x06", 22
_END64_POINTER, _END64_BYTES = b"PK\x06\x07", 56
_POINTER_BYTES, _ELSEWHERE = 20, b"\xff" * 4
_LONGEST_COMMENT = 65_535


class _LyingError(zipfile.BadZipFile):
    """A file is not as long as the zip says."""


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """How a zip is refused: with which error, and the sentence for each thing that may be wrong with it."""

    error: type[RvcError]
    too_many: str
    damaged: str
    encrypted: str
    lying: str  # a file is not as long as the zip says


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (START_OF_ZIP, _END)


@contextmanager
def opened(archive: Path, refusals: Refusals) -> Iterator[zipfile.ZipFile]:
    """Open a zip as `open_checked` does; refuse it also if it proves damaged while it is read."""
    with refusing(refusals), open_checked(archive, refusals) as zipped:
        yield zipped


def open_checked(archive: Path, refusals: Refusals) -> zipfile.ZipFile:
    """Open a zip; refuse one whose directory is too long or damaged."""
    if not _is_short(archive):
        raise refusals.error(refusals.too_many)
    with refusing(refusals):
        return zipfile.ZipFile(archive)


@contextmanager
def refusing(refusals: Refusals) -> Iterator[None]:
    """Refuse what a damaged zip, or a file in it, trips over while it is read."""
    try:
        yield
    except _LyingError as error:
        raise refusals.error(refusals.lying) from error
    except _DAMAGED as error:
        raise refusals.error(refusals.damaged) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a seek to nowhere gives; anything else is the disk's
            raise
        raise refusals.error(refusals.damaged) from error


def files_of(zipped: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """List what is in a zip, without folders and what systems add by themselves."""
    return [info for info in zipped.infolist() if not info.is_dir() and not _is_clutter(info.filename)]


def refuse_encrypted(infos: Iterable[zipfile.ZipInfo], refusals: Refusals) -> None:
    if any(info.flag_bits & _ENCRYPTED for info in infos):
        raise refusals.error(refusals.encrypted)


def is_plain(info: zipfile.ZipInfo) -> bool:
    mode, name = info.external_attr >> 16, info.filename
    tricks = "\\" in name or ":" in name or name.startswith("/") or ".." in PurePosixPath(name).parts
    return not tricks and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))


def extract(zipped: zipfile.ZipFile, wanted: Mapping[Path, zipfile.ZipInfo]) -> None:
    """Write files to paths that the caller has chosen; the stated sizes are promises that are held to."""
    for path, info in wanted.items():
        with zipped.open(info) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
        if path.stat().st_size != info.file_size:
            raise _LyingError


def _is_clutter(name: str) -> bool:
    path = PurePosixPath(name.casefold())
    clutter = path.name.startswith("._") or path.name in (".ds_store", "thumbs.db", "desktop.ini")
    return clutter or "__macosx" in path.parts


def _is_short(path: Path) -> bool:
    """Whether every end record that the file may have states a short directory."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_BYTES - _LONGEST_COMMENT - 2 * _END64_BYTES))
        tail = file.read()
    pointers = [found.start() for found in re.finditer(_END64_POINTER, tail)]
    # Of the 64-bit form, the end record stands before the pointer to it, and the old one has no length.
    lengths = [tail[at - _END64_BYTES :][40:48] for at in pointers if at >= _END64_BYTES]
    for end in re.finditer(_END, tail):
        length = tail[end.start() + 12 : end.start() + 16]
        if length != _ELSEWHERE or end.start() - _POINTER_BYTES not in pointers:
            lengths.append(length)
    return all(int.from_bytes(length, "little") <= MAX_DIRECTORY_BYTES for length in lengths)
