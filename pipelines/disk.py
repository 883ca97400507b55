"""What files take on the disk."""

from __future__ import annotations

import os
from pathlib import Path


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
