"""How long a zip's directory is, before it is read: Python makes objects of all of it.

A directory of 700 MB would become ten times that in memory, and nothing that is sent here has reason for a
long one.
"""

from __future__ import annotations

import re
from pathlib import Path

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
