"""Room on the disk that is kept for deleting.

Whatever frees room first writes down what goes, and on a full disk there is none for that. So a file takes
some from the start on; who deletes gives it up, and has it back as soon as there is room again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.store.layout import REGISTRY_NAME, RESERVE_NAME

LEAST_BYTES = 4_000_000
SHARE = 3  # times the registry: it is written beside itself, its old rows into the archive
_SMALLEST_BYTES = 65_536


class Reserve:
    """The file of one data folder. Safe for threads."""

    def __init__(self, data_dir: Path) -> None:
        self._path, self._registry = data_dir / RESERVE_NAME, data_dir / REGISTRY_NAME
        self._lock = threading.Lock()
        self._spending = 0

    @property
    def given_up(self) -> bool:
        return self._spending > 0

    def make(self) -> None:
        """Take the room, or what there is of it; call it now and then, as the registry grows."""
        with self._lock, suppress(OSError):
            registry_bytes = self._registry.stat().st_size if self._registry.exists() else 0
            wanted = max(LEAST_BYTES, SHARE * registry_bytes)
            while not self._spending and wanted >= _SMALLEST_BYTES and self._size() < wanted:
                with suppress(OSError):
                    _allocate(self._path, wanted)
                wanted //= 2

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Give the room up while something is deleted."""
        with self._lock:
            self._spending += 1
            self._path.unlink(missing_ok=True)
        try:
            yield
        finally:
            with self._lock:
                self._spending -= 1
            self.make()

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def _allocate(path: Path, size: int) -> None:
    """Make a file of at least so many bytes that has its place on the disk; OSError if there is none."""
    with path.open("ab", buffering=0) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.write(bytes(size - file.tell()))
