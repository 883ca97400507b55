"""Retrieval: content vectors of the source are drawn towards those that the target voice has spoken.

Shapes:  N = stored rows, C = content channels, T = frames to be blended.
Source:  RVC: the k = 8 nearest rows, weighted by the inverse square of their (squared, Euclidean) distance,
         mixed with the frame's own vector. Unlike RVC, an exact hit gives its row instead of NaN, and the
         number of probed cells is measured instead of 1 (which finds half of the neighbours).
Trust:   a file is a stranger's: its kind and size are checked, but faiss itself parses it, so it is only ever
         read in a child process.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from rvc.errors import CheckpointError
from rvc.files import atomic_write
from rvc.steps import result_of

logger = logging.getLogger(__name__)

NEIGHBOURS = 8
MIN_RECALL = 0.95
MAX_ROWS = 20_000  # frames are nearly their neighbours; so many, evenly taken, hold a voice's variety
MAX_EXACT_ROWS = 2_000  # beyond it an inverted file (IVF) is faster (measured with rows of 96 numbers)

_QUERIES = 400
_HELD_OUT_RUN = 20
_ADD_ROWS = 8_192
_POINTS_PER_CELL = 40
_TRAIN_ROUNDS = 8
_NEAREST = 1e-9
_CELLS_OF_A_ROW = 8

Number = TypeVar("Number", bound=np.generic)
Rows = NDArray[np.float32]


class RetrievalIndex:
    """Content vectors of one voice, and the search among them by squared Euclidean distances."""

    def __init__(self, index: faiss.IndexFlat | faiss.IndexIVFFlat) -> None:
        self._index = index
        self.rows: int = index.ntotal
        self.content_dim: int = index.d

    @property
    def probed_cells(self) -> int:
        """How many cells of an inverted file a search looks into."""
        return self._index.nprobe if isinstance(self._index, faiss.IndexIVF) else 1

    @staticmethod
    def build(vectors: Rows) -> Generator[float, None, RetrievalIndex]:
        """Build an index in steps, each the share that is done; the same vectors give the same index.

        Vectors (N, C) are in the order of the recordings; of more than 20 000, that many are kept.
        """
        rows = np.ascontiguousarray(thinned(vectors), dtype=np.float32)
        if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
            raise ValueError(f"Content vectors of shape {vectors.shape} cannot be indexed.")
        exact = faiss.IndexFlatL2(rows.shape[1])
        if len(rows) <= MAX_EXACT_ROWS:
            exact.add(rows)
            return RetrievalIndex(exact)
        index = faiss.IndexIVFFlat(exact, rows.shape[1], round(2 * len(rows) ** 0.5))
        index.cp.niter = _TRAIN_ROUNDS
        index.cp.max_points_per_centroid = _POINTS_PER_CELL
        index.cp.min_points_per_centroid = 1
        yield 0.0
        index.train(rows)
        # Rows to ask for: short runs, so that a query's neighbours in time are not among the answers.
        starts = np.linspace(0, len(rows) - _HELD_OUT_RUN, _QUERIES // _HELD_OUT_RUN).astype(np.int64)
        held_out = (starts[:, None] + np.arange(_HELD_OUT_RUN)).ravel()
        asked, kept = rows[held_out], np.delete(rows, held_out, axis=0)
        for start in range(0, len(kept), _ADD_ROWS):
            yield 0.6 + 0.2 * start / len(kept)
            index.add(kept[start : start + _ADD_ROWS])
        yield from _choose_nprobe(index, asked)
        index.add(asked)
        logger.info("retrieval: %d rows of %d, %d of %d cells", *rows.shape, index.nprobe, index.nlist)
        return RetrievalIndex(index)

    def blend(self, content: Rows, share: float | NDArray[np.floating[Any]]) -> Rows:
        """Draw content (T, C) towards the stored: (1 - share) * content + share * found, if anything is.

        `share` is 0..1, one number or one per frame.
        """
        shares = np.broadcast_to(np.asarray(share, dtype=np.float32), (len(content),))
        blended = np.array(content, dtype=np.float32)
        asked = np.flatnonzero(shares > 0)
        if asked.size:
            query = np.ascontiguousarray(blended[asked])
            # Encoders of half the frame rate give each vector twice; it is looked for once.
            fresh = np.append(True, (query[1:] != query[:-1]).any(axis=1))
            again = np.cumsum(fresh) - 1
            found, known = (answer[again] for answer in self._found(query[fresh]))
            own = shares[asked, None] * known[:, None]
            blended[asked] = (1.0 - own) * query + own * found
        return blended

    def _found(self, query: Rows) -> tuple[Rows, Rows]:
        """Average the nearest rows; also 1 or 0 per query for whether there are any."""
        _, numbers, rows = self._index.search_and_reconstruct(query, min(NEIGHBOURS, self.rows))
        missing = numbers < 0
        rows[missing] = 0.0
        # Computed anew: faiss subtracts large products, so its distance of an exact hit is not 0.
        distance = np.square(rows - query[:, None, :], dtype=np.float64).sum(axis=-1)
        weight = 1.0 / np.square(np.maximum(distance, _NEAREST))
        weight[missing] = 0.0
        total = weight.sum(axis=1, keepdims=True)
        known = total > 0
        weight = np.divide(weight, total, out=np.zeros_like(weight), where=known)
        found = np.einsum("tk,tkc->tc", weight.astype(np.float32), rows)
        return found, known[:, 0].astype(np.float32)

    def vectors(self, most: int = MAX_ROWS) -> Rows:
        """Return the stored rows, cell by cell, of more than `most` that many, evenly taken."""
        # One after the other, because a stranger's index may fill most of the memory by itself.
        if isinstance(self._index, faiss.IndexIVF):
            return self._of_cells(self._index, most)
        numbers = thinned(np.arange(self.rows), most)
        rows = np.empty((len(numbers), self.content_dim), np.float32)
        for row, number in zip(rows, numbers, strict=True):
            self._index.reconstruct(int(number), row)
        return rows

    def _of_cells(self, index: faiss.IndexIVF, most: int) -> Rows:
        lists: Any = index.invlists
        sizes = [min(lists.list_size(cell), self.rows) for cell in range(index.nlist)]
        ends = np.cumsum(sizes)
        numbers = thinned(np.arange(ends[-1]), most)
        parted = np.split(numbers, np.searchsorted(numbers, ends[:-1]))
        return np.concatenate(
            [
                _cell(index, cell, self.rows)[wanted - (end - size)]
                for cell, (wanted, end, size) in enumerate(zip(parted, ends, sizes, strict=True))
            ]
        )

    def save(self, path: Path) -> None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(faiss.serialize_index(self._index).tobytes())

    @staticmethod
    def load(path: Path, content_dim: int, *, searched: bool = True) -> RetrievalIndex:
        """Read an index and check that a voice with this `content_dim` can use it.

        One that is not `searched` is not made ready for it, which takes long for a large one.
        """
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:  # all that faiss raises
            raise CheckpointError(
                f"{path.name} is not a readable faiss index; export the voice again or leave the index out."
            ) from error
        kinds = (faiss.IndexFlat, faiss.IndexIVFFlat)
        if not isinstance(index, kinds) or index.metric_type != faiss.METRIC_L2:
            raise CheckpointError(
                f"{path.name} is a faiss index of another kind ({type(index).__name__}); "
                "build it as Flat or IVF,Flat with Euclidean distances."
            )
        if index.d != content_dim:
            raise CheckpointError(
                f"{path.name} holds vectors of {index.d} numbers and the voice needs {content_dim}; "
                "use the index that was made with this voice."
            )
        if not index.is_trained or index.ntotal < 1:
            raise CheckpointError(
                f"{path.name} holds no vectors; use the 'added' index, not the 'trained' one."
            )
        if not searched and isinstance(index, faiss.IndexIVF):
            # Enough to find a row of its own, wherever rounding put it.
            index.nprobe = min(_CELLS_OF_A_ROW, index.nlist)
        loaded = RetrievalIndex(index)
        loaded.self_test(path.name)
        return loaded

    def self_test(self, name: str = "The index") -> None:
        """Check that the index finds its own vectors, and look into more cells if it must."""
        rows = self._sample()
        found = rows.size > 0 and bool(np.isfinite(rows).all())
        if found:
            # One that probes one cell only is one that nobody tuned: RVC writes such files.
            if isinstance(self._index, faiss.IndexIVF) and self._index.nlist > 1 == self._index.nprobe:
                result_of(_choose_nprobe(self._index, rows))
            again, known = self._found(rows)
            scale = float(np.sqrt(np.mean(np.square(rows)))) + 1e-9
            found = bool(known.all()) and float(np.abs(again - rows).max()) < 1e-3 * scale
        if not found:
            raise CheckpointError(
                f"{name} does not find its own vectors, so it is damaged; "
                "export the voice again or leave the index out."
            )

    def _sample(self) -> Rows:
        """Read some of the stored rows, evenly spread, whatever their numbers are."""
        if not isinstance(self._index, faiss.IndexIVF):
            return self.vectors(_QUERIES)
        cells = self._index.nlist
        most = -(-_QUERIES // cells)
        return np.concatenate([_cell(self._index, cell, most) for cell in range(cells)])[:_QUERIES]


def _cell(index: faiss.IndexIVF, cell: int, most: int) -> Rows:
    """Read the first rows of a cell; asking by number would need a map that files do not hold."""
    lists: Any = index.invlists
    size = min(lists.list_size(cell), most)
    if not size:
        return np.empty((0, index.d), np.float32)
    codes = faiss.rev_swig_ptr(lists.get_codes(cell), size * index.code_size)
    return codes.view(np.float32).reshape(size, index.d).copy()


def thinned(vectors: NDArray[Number], most: int = MAX_ROWS) -> NDArray[Number]:
    """Keep at most that many rows, evenly spaced, (N, ...) -> (n, ...)."""
    if len(vectors) <= most:
        return vectors
    return vectors[np.linspace(0, len(vectors) - 1, most).astype(np.int64)]


def _choose_nprobe(index: faiss.IndexIVF, queries: Rows) -> Generator[float, None, None]:
    """Probe the fewest cells (in steps of a third) with which enough of the true neighbours are found."""
    index.nprobe = index.nlist
    _, truth = index.search(queries, NEIGHBOURS)
    yield 0.85
    index.nprobe = 1
    while index.nprobe < index.nlist:
        _, found = index.search(queries, NEIGHBOURS)
        hits = sum(np.isin(row, true).sum() for row, true in zip(found, truth, strict=True))
        if hits >= MIN_RECALL * truth.size:
            break
        index.nprobe = min(index.nprobe + 1 + index.nprobe // 3, index.nlist)
        yield 0.9
