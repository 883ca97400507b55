"""Recordings that come as a zip: what is in it is judged from its directory, then written one by one.

    list_recordings   names, kinds, count and sizes are checked before a byte is written
    extract           one recording to a path that the caller has chosen; the stated size is held to

Refused as a whole: what is no zip, is damaged or encrypted, holds too many or too large files, links,
names that point elsewhere, or another zip. What is merely no recording is for the caller to judge.
"""

from __future__ import annotations

import errno
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from pipelines.settings import Settings
from rvc.errors import AudioError

_START_OF_ZIP = b"PK\x03\x04"
_ENCRYPTED = 0x1
_CHUNK_BYTES = 1 << 20
_WAY_OUT = "zip only the recordings themselves"
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    NotImplementedError,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
)
"""What a wrong directory, name, offset or method trips over."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One recording in a zip.

    Attributes:
        name: What it is called there; may hold folders, never points elsewhere.
        size_bytes: Its size by the zip's own account.
        info: The zip's entry.
    """

    name: str
    size_bytes: int
    info: zipfile.ZipInfo


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip does, whatever it is called."""
    with path.open("rb") as file:
        return file.read(4) in (_START_OF_ZIP, b"PK\x05\x06")


@contextmanager
def opened(archive: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """Open a stranger's zip.

    Args:
        archive: The file.
        name: What a message shall call it.

    Raises:
        AudioError: Its directory is too long, or it is damaged, or turns out to be while it is read.
    """
    if not is_short(archive):
        raise AudioError(f"{name} holds too many files; {_WAY_OUT}.")
    damaged = f"{name} is damaged or of a kind that cannot be read; zip the files again."
    try:
        with zipfile.ZipFile(archive) as zipped:
            yield zipped
    except _DAMAGED as error:
        raise AudioError(damaged) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a seek to nowhere gives; anything else is the disk's
            raise
        raise AudioError(damaged) from error


def list_recordings(zipped: zipfile.ZipFile, name: str, settings: Settings) -> list[Entry]:
    """Check a zip and return what may be recordings in it, without folders and what systems add.

    Args:
        zipped: The open zip.
        name: What a message shall call it.
        settings: Gives the bounds.

    Raises:
        AudioError: The zip is refused.
    """
    infos = [info for info in zipped.infolist() if not _is_clutter(info)]
    if not infos:
        raise AudioError(f"{name} holds no files; zip the recordings that shall be converted.")
    if len(infos) > settings.max_files:
        raise AudioError(f"{name} holds {len(infos)} files; send at most {settings.max_files} at a time.")
    if any(info.flag_bits & _ENCRYPTED for info in infos):
        raise AudioError(f"{name} is protected by a password; zip the recordings without one.")
    for info in infos:
        if not _is_plain(info):
            raise AudioError(f"{name} holds a link, or a file whose name points elsewhere; {_WAY_OUT}.")
        if info.file_size > settings.max_file_size_bytes:
            raise AudioError(
                f"{name} holds a file of {info.file_size / 1e6:.4g} MB; "
                f"send files of at most {settings.max_file_size_mb:g} MB."
            )
    total_bytes = sum(info.file_size for info in infos)
    if total_bytes > settings.max_batch_bytes:
        raise AudioError(
            f"{name} unpacks to {total_bytes / 1e6:.4g} MB; "
            f"send at most {settings.max_batch_mb:g} MB at a time."
        )
    for info in infos:
        with zipped.open(info) as file:
            if file.read(4) == _START_OF_ZIP:
                raise AudioError(f"{name} holds another zip; {_WAY_OUT}.")
    return [Entry(name=info.filename, size_bytes=info.file_size, info=info) for info in infos]


def extract(zipped: zipfile.ZipFile, entry: Entry, target: Path) -> None:
    """Write one recording.

    Args:
        zipped: The open zip.
        entry: From `list_recordings`.
        target: Where; its folder must exist.

    Raises:
        zipfile.BadZipFile: It is damaged, or not as long as it says; `opened` says so in words.
    """
    with zipped.open(entry.info) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK_BYTES)
    if target.stat().st_size != entry.size_bytes:
        raise zipfile.BadZipFile("a file is not as long as the zip says")


def _is_clutter(info: zipfile.ZipInfo) -> bool:
    """Whether it is a folder or what a system adds by itself."""
    last = PurePosixPath(info.filename).name
    added = info.filename.startswith("__MACOSX/") or last.startswith("._")
    return info.is_dir() or added or last in (".DS_Store", "Thumbs.db", "desktop.ini")


def _is_plain(info: zipfile.ZipInfo) -> bool:
    """Whether it is an ordinary file whose name stays within the zip."""
    mode = info.external_attr >> 16
    name = info.filename
    tricks = "\\" in name or ":" in name or name.startswith("/") or ".." in PurePosixPath(name).parts
    ordinary = not stat.S_IFMT(mode) or stat.S_ISREG(mode)
    return ordinary and not tricks and name.isprintable()


MAX_DIRECTORY_BYTES = 4_000_000
"""A thousand times what a voice has, and four hundred bytes for each of ten thousand recordings."""
_END, _END_BYTES = b"PK\x05\x06", 22
_END64_POINTER, _END64_BYTES = b"PK\x06\x07", 56
_POINTER_BYTES, _ELSEWHERE = 20, b"\xff" * 4
_LONGEST_COMMENT = 65_535


def is_short(path: Path) -> bool:
    """Whether every end record that the file may have states a short directory.

    Args:
        path: A file that may be a zip; one without an end record is for the reader to refuse.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_BYTES - _LONGEST_COMMENT - 2 * _END64_BYTES))
        tail = file.read()
    pointers = _places(tail, _END64_POINTER)
    # Of the 64-bit form, the end record stands before the pointer to it, and the old one has no length.
    lengths = [tail[at - _END64_BYTES :][40:48] for at in pointers if at >= _END64_BYTES]
    for at in _places(tail, _END):
        length = tail[at + 12 : at + 16]
        if length != _ELSEWHERE or at - _POINTER_BYTES not in pointers:
            lengths.append(length)
    return all(int.from_bytes(length, "little") <= MAX_DIRECTORY_BYTES for length in lengths)


def _places(content: bytes, mark: bytes) -> list[int]:
    return [found.start() for found in re.finditer(re.escape(mark), content)]
