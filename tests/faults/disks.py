"""Disks of a few megabytes that can really be full, where this user may mount one."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.store.storage import JournaledStorage
from rvc.files import bytes_in

Fill = Callable[[], None]


@contextmanager
def small_disk(folder: Path, megabytes: int = 16) -> Iterator[Path]:
    """A file system of its own at `folder`; the test is skipped where it cannot be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no file system may be mounted here; the injected errors remain")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            while _written(file.fileno(), size):
                pass
    assert os.statvfs(folder).f_bavail == 0


def _written(handle: int, size: int) -> bool:
    try:
        return os.write(handle, bytes(size)) > 0
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return False


class TightDisk:
    """A disk on which no registry can be written unless a megabyte was given up: no mount is needed."""

    def __init__(self, data_dir: Path, patch: pytest.MonkeyPatch) -> None:
        self._data_dir = data_dir
        self._full_at: int | None = None  # bytes
        append = JournaledStorage.append

        def tight(storage: JournaledStorage, line: bytes) -> None:
            if self._full_at is not None and self._used() > self._full_at - 1_000_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            append(storage, line)

        patch.setattr(JournaledStorage, "append", tight)

    def fill(self) -> None:
        self._full_at = self._used()

    def _used(self) -> int:
        """What lies in the data folder itself, where nothing of a job or a voice is."""
        return sum(bytes_in(path) for path in self._data_dir.iterdir() if path.is_file())
