"""Retrieval indexes from strangers: the rows of a faiss file, read in a child process with limits.

faiss trusts what a file claims, so a wrong one may ask for all memory, never end, or worse. The child
(`python -m rvc.engine.index_file`, which alone loads faiss) is held to memory, time and disk; only plain
numbers are taken from it, and an index of our own is built from them (`rvc.engine.retrieval`).
Accepted: Flat and IVF,Flat with Euclidean distances, as every RVC program writes them (the "added" index, not
the "trained" one, which holds no vectors).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvc.errors import CheckpointError
from rvc.sandbox import ChildDiedError, Order, TooSlowError, run_sandboxed, serve

MOST_ROWS = 20_000  # of more, this many are taken: as many as an index of our own keeps
FILE_BYTES = 1_500_000_000  # RVC keeps at most 200,000 rows of 768: 620 MB
MEMORY_BYTES = 4_000_000_000  # address space of the child beyond what its libraries take
CPU_S = 60
WALL_S = 180.0
_HEADER_BYTES = 4_096


def read_rows(path: Path, content_dim: int) -> NDArray[np.float32]:
    """Read at most 20,000 vectors of a foreign index, evenly taken, (N, content_dim), N >= 1, all finite."""
    if not path.is_file():
        raise CheckpointError(f"{path.name} is not there; choose the index again.")
    if path.stat().st_size > FILE_BYTES:
        raise CheckpointError(
            f"{path.name} has {path.stat().st_size / 1e6:.0f} MB, more than an index of a voice needs "
            f"({FILE_BYTES / 1e6:.0f} MB); make a smaller one or leave it out."
        )
    with tempfile.TemporaryDirectory(prefix="timbre-index-") as folder:
        rows_path = Path(folder) / "rows.npy"
        order = {
            "path": str(path.resolve()),
            "content_dim": content_dim,
            "rows_path": str(rows_path),
            "memory_bytes": MEMORY_BYTES,
            "cpu_s": CPU_S,
            "file_bytes": MOST_ROWS * content_dim * 4 + _HEADER_BYTES,
        }
        try:
            run_sandboxed("rvc.engine.index_file", order, WALL_S)
        except TooSlowError as error:
            raise CheckpointError(
                f"{path.name} takes more than {WALL_S:.0f} s to read; make the index again or leave it out."
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


def _write_rows(order: Order) -> None:
    """In the child: read the index and write its rows."""
    from rvc.engine.retrieval import RetrievalIndex

    path = Path(order["path"])
    rows = RetrievalIndex.load(path, order["content_dim"], searched=False).vectors(MOST_ROWS)
    if not np.isfinite(rows).all():
        raise CheckpointError(
            f"{path.name} holds numbers that are not finite; make the index again or leave it out."
        )
    np.save(order["rows_path"], rows, allow_pickle=False)


if __name__ == "__main__":
    import rvc.engine.retrieval  # noqa: F401 -- before the limits, which do not count what libraries take

    sys.exit(serve(sys.argv[1:], _write_rows))
