"""Retrieval indexes from strangers: the rows of a faiss file, read in a child process with limits.

Shapes:  N = rows, C = content channels.
Why:     faiss trusts what a file claims, so a wrong one may ask for all memory, never end, or worse. The
         child (index_reader.py) is held to memory, time and disk; here only plain numbers are taken from
         it, and an index of our own is built from them (`rvc.engine.retrieval`).
Accepted: Flat and IVF,Flat with Euclidean distances, as every RVC program writes them (the "added" index, not
         the "trained" one, which holds no vectors).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvc.errors import CheckpointError
from rvc.sandbox import ChildDiedError, TooSlowError, run_child

MOST_ROWS = 20_000
"""Of more rows, this many are taken: as many as an index of our own keeps."""

_HEADER_BYTES = 4_096


@dataclass(frozen=True, kw_only=True)
class IndexLimits:
    """What reading one index may cost.

    Attributes:
        file_bytes: Largest file that is read at all. RVC keeps at most 200,000 rows of 768: 620 MB.
        memory_bytes: Address space of the child beyond what its libraries take.
        cpu_s: Seconds that it may compute.
        wall_s: Seconds that it may take.
    """

    file_bytes: int = 1_500_000_000
    memory_bytes: int = 4_000_000_000
    cpu_s: int = 60
    wall_s: float = 180.0


def read_rows(path: Path, content_dim: int, limits: IndexLimits | None = None) -> NDArray[np.float32]:
    """Read the vectors of a foreign index.

    Args:
        path: The file; its name is what messages call it.
        content_dim: Numbers per content vector of the voice.
        limits: What it may cost.

    Returns:
        At most 20,000 rows, evenly taken, shape (N, C), N >= 1, all finite.

    Raises:
        CheckpointError: It is no index that this voice can use, damaged, or costs too much to read.
    """
    limits = limits or IndexLimits()
    if not path.is_file():
        raise CheckpointError(f"{path.name} is not there; choose the index again.")
    if path.stat().st_size > limits.file_bytes:
        raise CheckpointError(
            f"{path.name} has {path.stat().st_size / 1e6:.0f} MB, more than an index of a voice needs "
            f"({limits.file_bytes / 1e6:.0f} MB); make a smaller one or leave it out."
        )
    with tempfile.TemporaryDirectory(prefix="timbre-index-") as folder:
        rows_path = Path(folder) / "rows.npy"
        order = {
            "path": str(path.resolve()),
            "content_dim": content_dim,
            "most_rows": MOST_ROWS,
            "rows_path": str(rows_path),
            "memory_bytes": limits.memory_bytes,
            "cpu_s": limits.cpu_s,
            "file_bytes": MOST_ROWS * content_dim * 4 + _HEADER_BYTES,
        }
        try:
            run_child("rvc.engine.index_reader", order, limits.wall_s)
        except TooSlowError as error:
            raise CheckpointError(
                f"{path.name} takes more than {limits.wall_s:.0f} s to read; "
                "make the index again or leave it out."
            ) from error
        except ChildDiedError as error:
            raise _damaged(path.name) from error
        rows = _checked_rows(rows_path, content_dim)
    if rows is None:
        raise _damaged(path.name)
    return rows


def _checked_rows(path: Path, content_dim: int) -> NDArray[np.float32] | None:
    """Take what the child wrote, as if it were a stranger's too; None if it is anything else than rows."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    right = rows.dtype == np.float32 and rows.ndim == 2 and rows.shape[1] == content_dim and len(rows) > 0
    return rows if right and bool(np.isfinite(rows).all()) else None


def _damaged(name: str) -> CheckpointError:
    return CheckpointError(
        f"{name} cannot be read within its limits of memory and time, so it is damaged or too large; "
        "make the index again or leave it out."
    )
