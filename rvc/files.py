"""Files and folders that are whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the program's folder: what holds `app.py` and `assets`
SPARE_BYTES = 200_000_000  # of a disk, which whatever is written leaves free


@contextmanager
def atomic_write(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it takes its place, power cut or not.

    A file that is there stays until then. A `private` one is for this user's eyes only (0600).
    """
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        if private:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Make what was written to a file, or renamed in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def room_in(folder: Path) -> int:
    """Return how many bytes may be written to a folder, which need not be there yet; below 0 for none."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free - SPARE_BYTES


def bytes_in(path: Path) -> int:
    """Return what a file, or all files of a folder, take; those that vanish meanwhile take nothing."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except OSError:
                continue
    return total


def ends_of(path: Path, most: int = 4_000_000) -> bytes:
    """Return the first and the last bytes of a file: what it says of itself stands there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        beginning = file.read(most)
        file.seek(max(size - most, len(beginning)))
        return beginning + file.read(most)
