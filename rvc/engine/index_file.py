"""Retrieval indexes from strangers: the rows of a faiss file, read in a child process with limits.

faiss trusts what a file claims, so a wrong one may ask for all memory, never end, or worse. The child
(`python -m rvc.engine.index_file`, which alone loads faiss) is held to memory, time and disk; only plain
numbers are taken from it, and an index of our own is built from them (`rvc.engine.retrieval`).
Accepted: Flat and IVF,Flat with Euclidean distances, as every RVC program writes them (the "added" index, not
the "trained" one, which holds no vectors).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvc.errors import CheckpointError
from rvc.sandbox import ChildDiedError, Order, TooSlowError, run_sandboxed, serve

MOST_ROWS = 20_000  # of more, this many are taken: as many as an index of our own keeps
FILE_BYTES = 1_500_000_000  # RVC keeps at most 200,000 rows of 768: 620 MB
MEMORY_BYTES = 4_000_000_000  # at most: address space of the child beyond what its libraries take
SPARE_MEMORY_BYTES, COPIES = (
    500_000_000,
    4,
)  # of it, by the size of the file: what a file claims, it must hold
CPU_S = 60
LOG_BYTES = 1_000_000  # all that it writes
WALL_S = 180.0


def read_rows(path: Path, content_dim: int) -> NDArray[np.float32]:
    """Read at most 20,000 vectors of a foreign index, evenly taken, (N, content_dim), N >= 1, all finite."""
    # What the child says is taken as if it were a stranger's too.
    try:
        rows: NDArray[np.float32] = np.load(io.BytesIO(_read(path, content_dim)), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path.name) from error
    right = rows.dtype == np.float32 and rows.ndim == 2 and rows.shape[1] == content_dim and len(rows) > 0
    if not right or not np.isfinite(rows).all():
        raise _damaged(path.name)
    return rows


def check_index(path: Path, content_dim: int) -> None:
    """Refuse an index that `read_rows` would refuse; nothing of it comes into this process."""
    _read(path, content_dim, told=False)


def _read(path: Path, content_dim: int, *, told: bool = True) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{path.name} is not there; choose the index again.")
    size = path.stat().st_size
    if size > FILE_BYTES:
        raise CheckpointError(
            f"{path.name} has {size / 1e6:.0f} MB, more than an index of a voice needs "
            f"({FILE_BYTES / 1e6:.0f} MB); make a smaller one or leave it out."
        )
    order = {
        "path": str(path.resolve()),
        "content_dim": content_dim,
        "told": told,
        "memory_bytes": min(MEMORY_BYTES, SPARE_MEMORY_BYTES + COPIES * size),
        "cpu_s": CPU_S,
        "file_bytes": LOG_BYTES,
    }
    try:
        return run_sandboxed("rvc.engine.index_file", order, WALL_S)
    except TooSlowError as error:
        raise CheckpointError(
            f"{path.name} takes more than {WALL_S:.0f} s to read; make the index again or leave it out."
        ) from error
    except ChildDiedError as error:
        raise _damaged(path.name) from error


def _damaged(name: str) -> CheckpointError:
    return CheckpointError(
        f"{name} cannot be read within its limits of memory and time, so it is damaged or too large; "
        "make the index again or leave it out."
    )


def _rows(order: Order) -> bytes | None:
    """In the child: read the index and return its rows, if they are wanted, as np.save writes them."""
    from rvc.engine.retrieval import RetrievalIndex

    path = Path(order["path"])
    rows = RetrievalIndex.load(path, order["content_dim"], searched=False).vectors(MOST_ROWS)
    if not np.isfinite(rows).all():
        raise CheckpointError(
            f"{path.name} holds numbers that are not finite; make the index again or leave it out."
        )
    if not order["told"]:
        return None
    said = io.BytesIO()
    np.save(said, rows, allow_pickle=False)
    return said.getvalue()


if __name__ == "__main__":
    import rvc.engine.retrieval  # noqa: F401 -- before the limits, which do not count what libraries take

    sys.exit(serve(sys.argv[1:], _rows))
