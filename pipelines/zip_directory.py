"""How long a zip's directory is, before it is read: Python makes objects of all of it.

A directory of 700 MB would become ten times that in memory. Nothing that is sent here has reason for a long
one, nor for the 64-bit form, whose length stands elsewhere.
"""

from __future__ import annotations

from pathlib import Path

MAX_DIRECTORY_BYTES = 4_000_000
"""A thousand times what a voice has, and four hundred bytes for each of ten thousand recordings."""

_END, _END_BYTES = b"PK\x05\x06", 22
_END64_POINTER = b"PK\x06\x07"
_LONGEST_COMMENT = 65_535


def is_short(path: Path) -> bool:
    """Whether every end record that the file may have states a short directory.

    Args:
        path: A file that may be a zip; one without an end record is for the reader to refuse.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_BYTES - _LONGEST_COMMENT - 100))
        tail = file.read()
    if _END64_POINTER in tail:
        return False
    at = tail.find(_END)
    while at >= 0:
        if int.from_bytes(tail[at + 12 : at + 16], "little") > MAX_DIRECTORY_BYTES:
            return False
        at = tail.find(_END, at + 1)
    return True
