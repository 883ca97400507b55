"""The finished voice as a folder that is either whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write into, and put it in its place if the block ends well.

    Args:
        folder: Where the bundle shall be. What is there stays until the new one is whole; its parent
            is made.

    Yields:
        The folder to write into, beside its place. If the block ends with an error, or its generator
        is closed, that folder is deleted and nothing else has changed.

    Raises:
        OSError: The disk refuses.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for path in [*partial.iterdir(), partial]:
            _flush(path)
        _put(partial, folder)
        _flush(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, folder: Path) -> None:
    """Rename to its place; a folder that is full cannot be replaced, so the old one steps aside first."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
