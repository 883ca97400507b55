"""The safe reader of a stranger's zip, for recordings and for voices: a child process with limits.

    python -m pipelines.zips    list a zip's files, or write them into a folder, under their numbers

First the directory is read (`files_in`): who asks judges names, sizes and counts, and asks for room, before a
byte is written. An `own` zip, which whoever runs Timbre gave, is read in this process and may be of any size.
What is no zip, is damaged, or holds more than it says is refused, in the words of who asks
(`Refusals`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

from rvc.errors import RvcError
from rvc.sandbox import ChildDiedError, Order, TooSlowError, run_sandboxed, serve

START_OF_ZIP = b"PK\x03\x04"
MAX_FILES = 20_000  # as many as anybody may send at a time
# A thousand times what a voice has, and two hundred bytes for each of twenty thousand recordings.
MAX_DIRECTORY_BYTES = 4_000_000
# Of the child: a packer may ask for a dictionary of many MB; and packed ones unpack at 20 MB/s or more.
MEMORY_BYTES, CPU_S, WALL_S = 600_000_000, 900, 1_800.0
_LOG_BYTES = 1_000_000
_ENCRYPTED = 0x1
_CHUNK_BYTES = 1 << 20
# What a wrong directory, name, offset, method or stream trips over, whichever part of it is read by whom.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, LZMAError, struct.error, EOFError, RuntimeError, ValueError, LookupError,
    ArithmeticError, TypeError, AttributeError, MemoryError,
)  # fmt: skip
_END, _END_BYTES = b"PK\x05\x06", 22
_END64, _END64_POINTER, _END64_BYTES = b"PK\x06\x06", b"PK\x06\x07", 56
_POINTER_BYTES, _ELSEWHERE = 20, b"\xff" * 4
_LONGEST_COMMENT = 65_535


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """How a zip is refused: with which error, and the sentence for each thing that may be wrong with it."""

    error: type[RvcError]
    too_many: str
    damaged: str
    encrypted: str
    lying: str  # a file is not as long as the zip says

    def of(self, fault: str) -> RvcError:
        return self.error(getattr(self, fault))


@dataclass(frozen=True)
class Packed:
    """A file in a zip, as its directory states it."""

    number: int  # among those of the zip, from 0; an extracted one has it for a name
    name: str  # perhaps a path
    size_bytes: int  # unpacked
    is_plain: bool  # neither link nor device, and the path stays where it is
    is_encrypted: bool
    crc32: int


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (START_OF_ZIP, _END)


def files_in(archive: Path, refusals: Refusals, *, own: bool = False) -> list[Packed]:
    """List what is in a zip, without folders and what systems add by themselves."""
    return [Packed(*facts) for facts in _ask({"path": str(archive.resolve()), "own": own}, refusals)]


def is_whole(archive: Path) -> bool:
    """Whether every file of an own zip is what its checksum says; reads all of it."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            return zipped.testzip() is None
    except (*_DAMAGED, OSError):
        return False


def extract(
    archive: Path, wanted: Sequence[Packed], folder: Path, refusals: Refusals, *, own: bool = False
) -> dict[int, str]:
    """Write files into an existing folder, each under its number; their sizes are promises that are held to.

    Returns by number what is wrong with those that are not there ("damaged" or "lying", as in `Refusals`).
    OSError if the disk is full.
    """
    if any(packed.is_encrypted for packed in wanted):
        raise refusals.of("encrypted")
    order = {
        "path": str(archive.resolve()),
        "own": own,
        "folder": str(folder.resolve()),
        "wanted": [packed.number for packed in wanted],
        "total_bytes": sum(packed.size_bytes for packed in wanted),
        "file_bytes": max((packed.size_bytes for packed in wanted), default=0) + _LOG_BYTES,
    }
    return {int(number): fault for number, fault in _ask(order, refusals).items()}


def _ask(order: Order, refusals: Refusals) -> Any:  # noqa: ANN401 -- JSON
    """Have the child do what is ordered, but for an own zip, and return the answer."""
    limits = {"memory_bytes": MEMORY_BYTES, "cpu_s": CPU_S, "file_bytes": _LOG_BYTES}
    if order["own"]:
        said = read(order)
    else:
        try:
            said = json.loads(run_sandboxed("pipelines.zips", {**limits, **order}, WALL_S))
        except (TooSlowError, ChildDiedError) as error:
            raise refusals.of("damaged") from error
    if said.get("errno"):
        raise OSError(said["errno"], os.strerror(said["errno"]))
    if said.get("fault"):
        raise refusals.of(said["fault"])
    return said["answer"]


def read(order: Order) -> dict[str, Any]:
    """Give the answer, what is wrong with the zip, or the number of the disk's error; mostly in the child."""
    path, limited = Path(order["path"]), not order.get("own")
    try:
        if limited and not _is_short(path):
            return {"fault": "too_many"}
        with zipfile.ZipFile(path) as zipped:
            infos = [i for i in zipped.infolist() if not i.is_dir() and not _is_clutter(i.filename)]
            if limited and len(infos) > MAX_FILES:
                return {"fault": "too_many"}
            if "folder" not in order:
                return {"answer": [astuple(_packed(number, info)) for number, info in enumerate(infos)]}
            wanted = {number: infos[number] for number in order["wanted"]}
            if sum(info.file_size for info in wanted.values()) > order["total_bytes"]:
                return {"fault": "lying"}
            return {"answer": _extract(zipped, wanted, Path(order["folder"]))}
    except _DAMAGED:
        return {"fault": "damaged"}
    except OSError as error:
        return {"fault": "damaged"} if _is_of_the_zip(error) else {"errno": error.errno}


def _extract(zipped: zipfile.ZipFile, wanted: dict[int, zipfile.ZipInfo], folder: Path) -> dict[int, str]:
    """Write files; return what is wrong with those that cannot be unpacked, and leave nothing of them."""
    faults = {}
    for number, info in wanted.items():
        target = folder / str(number)
        try:
            with zipped.open(info) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, _CHUNK_BYTES)
            if target.stat().st_size != info.file_size:
                faults[number] = "lying"
        except _DAMAGED:
            faults[number] = "damaged"
        except OSError as error:
            if not _is_of_the_zip(error):
                raise
            faults[number] = "damaged"
        if number in faults:
            target.unlink(missing_ok=True)
    return faults


def _is_of_the_zip(error: OSError) -> bool:
    """Whether it is a stream that bzip2 does not know, or a seek to nowhere; any other is the disk's."""
    return error.errno in (None, errno.EINVAL)


def _packed(number: int, info: zipfile.ZipInfo) -> Packed:
    mode, name = info.external_attr >> 16, info.filename
    tricks = "\\" in name or ":" in name or name.startswith("/") or ".." in PurePosixPath(name).parts
    plain = not tricks and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))
    return Packed(number, name, info.file_size, plain, bool(info.flag_bits & _ENCRYPTED), info.CRC)


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
        # Of the 64-bit form, readers take the end record where the pointer says, or before the pointer; and
        # the old one has no length.
        ends = [tail[at - _END64_BYTES : at] for at in pointers if at >= _END64_BYTES]
        for at in pointers:
            file.seek(min(int.from_bytes(tail[at + 8 : at + 16], "little"), path.stat().st_size))
            ends.append(file.read(_END64_BYTES))
    lengths = [end[40:48] for end in ends if end.startswith(_END64)]
    for end in re.finditer(_END, tail):
        length = tail[end.start() + 12 : end.start() + 16]
        if length != _ELSEWHERE or end.start() - _POINTER_BYTES not in pointers:
            lengths.append(length)
    return all(int.from_bytes(length, "little") <= MAX_DIRECTORY_BYTES for length in lengths)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], lambda order: json.dumps(read(order)).encode()))
