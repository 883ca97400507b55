"""The header of a voice's safetensors file, a stranger's: how long it may be, and whether it fits its file.

Whoever reads such a file asks for a short header first (`require_short_header`), because every reader parses
as much as the file claims. What comes in is judged in a child process
(`python -m rvc.engine.weights_file`), so that not even that much is parsed where others wait.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

from rvc.errors import CheckpointError
from rvc.sandbox import ChildDiedError, Order, TooSlowError, run_sandboxed, serve

MAX_HEADER_BYTES = 1_000_000  # ten times what the largest voices have
LIMITS = {"memory_bytes": 300_000_000, "cpu_s": 20, "file_bytes": 1_000_000}
WALL_S = 60.0
_LENGTH_BYTES = 8


def require_short_header(path: Path) -> int:
    """Return the length of a header; ValueError if it is longer than any voice's or than its file."""
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    held = path.stat().st_size - _LENGTH_BYTES
    if len(start) < _LENGTH_BYTES or length > min(MAX_HEADER_BYTES, held):
        raise ValueError(f"{path.name} has a header of {length} bytes.")
    return length


def check_weights(path: Path) -> None:
    """Refuse what is no whole safetensors file: header within it, tensors filling it exactly."""
    try:
        whole = _tensors_fill(path, require_short_header(path))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError, struct.error):
        whole = False  # whatever a wrong header trips over
    if not whole:
        raise _damaged(path)


def check_weights_apart(path: Path) -> None:
    """Refuse what `check_weights` refuses, in a child process."""
    try:
        run_sandboxed("rvc.engine.weights_file", {"path": str(path.resolve()), **LIMITS}, WALL_S)
    except (TooSlowError, ChildDiedError) as error:
        raise _damaged(path) from error


def _tensors_fill(path: Path, header_bytes: int) -> bool:
    """Whether the header's tensors lie side by side and end where the file ends."""
    with path.open("rb") as file:
        file.seek(_LENGTH_BYTES)
        header = json.loads(file.read(header_bytes))
    end = 0
    for start, stop in sorted(t["data_offsets"] for name, t in header.items() if name != "__metadata__"):
        if start != end or stop < start:
            return False
        end = stop
    return bool(end == path.stat().st_size - _LENGTH_BYTES - header_bytes)


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"The voice's {path.name} is damaged or of another kind; export it again.")


def _check(order: Order) -> None:
    check_weights(Path(order["path"]))


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], _check))
