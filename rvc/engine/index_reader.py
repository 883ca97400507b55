"""The child that reads a stranger's index: `python -m rvc.engine.index_reader`, started by index_file.py.

faiss parses such a file with little care for what it claims. So that happens here, in a process that may use
little memory, time and disk, and that has nothing to lose. What leaves it is rows of numbers or a sentence.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rvc.engine.retrieval import RetrievalIndex
from rvc.errors import CheckpointError
from rvc.sandbox import Order, obey


def read_index(order: Order) -> None:
    """Read an index and write its rows.

    Args:
        order: path, content_dim, most_rows, and rows_path (where to write).

    Raises:
        CheckpointError: The file is refused.
    """
    path = Path(order["path"])
    rows = RetrievalIndex.load(path, order["content_dim"], searched=False).vectors(order["most_rows"])
    if not np.isfinite(rows).all():
        raise CheckpointError(
            f"{path.name} holds numbers that are not finite; make the index again or leave it out."
        )
    np.save(order["rows_path"], rows, allow_pickle=False)


if __name__ == "__main__":
    sys.exit(obey(sys.argv[1:], read_index))
