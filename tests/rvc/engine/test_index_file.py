"""Foreign indexes: what RVC programs write is read; all else is refused by a process that can be spared."""

from __future__ import annotations

import struct
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.engine.index_file import read_rows
from rvc.engine.retrieval import RetrievalIndex
from rvc.errors import CheckpointError
from tests.test_layers import loaded_by

DIM = 16
ROWS = np.random.default_rng(0).normal(size=(600, DIM)).astype(np.float32)


def trained(cells: int = 12) -> faiss.IndexIVFFlat:
    """An inverted file that looks into one cell, as RVC programs write it, still without vectors."""
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(DIM), DIM, cells)
    index.cp.min_points_per_centroid = 1
    index.train(ROWS)
    return index


def written(index: faiss.Index, folder: Path, name: str = "added_voice.index") -> Path:
    path = folder / name
    faiss.write_index(index, str(path))
    return path


def in_any_order(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows[np.lexsort(rows.T)]


def test_both_kinds_of_index_give_their_rows(tmp_path: Path) -> None:
    inverted = trained()
    inverted.add(ROWS)
    exact = faiss.IndexFlatL2(DIM)
    exact.add(ROWS)
    for index in (inverted, exact):
        rows = read_rows(written(index, tmp_path), DIM)
        np.testing.assert_array_equal(in_any_order(rows), in_any_order(ROWS))


@pytest.mark.parametrize("most", [1, 7, 599, 600, 601])
def test_rows_of_cells_are_evenly_taken_of_too_many(most: int) -> None:
    inverted = trained()
    inverted.add(ROWS)
    index = RetrievalIndex(inverted)
    whole = index.vectors(len(ROWS))
    np.testing.assert_array_equal(in_any_order(whole), in_any_order(ROWS))
    expected = whole[np.linspace(0, 599, most).astype(int)] if most < 600 else whole
    np.testing.assert_array_equal(index.vectors(most), expected)


def test_cells_without_rows_are_passed_over() -> None:
    inverted = trained()
    inverted.add(ROWS[:3])
    np.testing.assert_array_equal(in_any_order(RetrievalIndex(inverted).vectors()), in_any_order(ROWS[:3]))


def test_rows_are_evenly_taken_of_too_many() -> None:
    exact = faiss.IndexFlatL2(DIM)
    exact.add(ROWS)
    np.testing.assert_array_equal(RetrievalIndex(exact).vectors(3), ROWS[[0, 299, 599]])


def test_an_index_without_vectors_is_refused(tmp_path: Path) -> None:
    path = written(trained(), tmp_path, "trained_IVF12.index")
    with pytest.raises(
        CheckpointError,
        match=r"^trained_IVF12\.index holds no vectors; use the 'added' index, not the 'trained' one\.$",
    ):
        read_rows(path, DIM)


def test_an_index_of_another_dimension_is_refused(tmp_path: Path) -> None:
    exact = faiss.IndexFlatL2(DIM)
    exact.add(ROWS)
    with pytest.raises(
        CheckpointError, match="16 numbers and the voice needs 768; use the index that was made"
    ):
        read_rows(written(exact, tmp_path), 768)


def test_bad_numbers_are_refused(tmp_path: Path) -> None:
    exact = faiss.IndexFlatL2(DIM)
    exact.add(np.where(np.arange(600)[:, None] == 2, np.nan, ROWS).astype(np.float32))  # not among the sample
    with pytest.raises(CheckpointError, match=r"^added_voice\.index holds numbers that are not finite; make"):
        read_rows(written(exact, tmp_path), DIM)


def test_a_file_that_claims_more_than_memory_is_refused(tmp_path: Path) -> None:
    exact = faiss.IndexFlatL2(DIM)
    exact.add(ROWS)
    path = written(exact, tmp_path)
    whole = path.read_bytes()
    claimed = len(ROWS) * DIM  # faiss writes the vectors' length before them
    place = whole.index(struct.pack("<Q", claimed), 4)
    path.write_bytes(whole[:place] + struct.pack("<Q", 2**36) + whole[place + 8 :])
    with pytest.raises(CheckpointError, match=r"^added_voice\.index (is not a readable|cannot be read)"):
        read_rows(path, DIM)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "voice.index"
    path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(CheckpointError, match=r"^voice\.index is not a readable faiss index"):
        read_rows(path, DIM)


def test_limits_of_size_memory_and_time_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = faiss.IndexFlatL2(DIM)
    exact.add(ROWS)
    path = written(exact, tmp_path)
    with monkeypatch.context() as limits:
        limits.setattr("rvc.engine.index_file.FILE_BYTES", 1000)
        with pytest.raises(CheckpointError, match="more than an index of a voice needs"):
            read_rows(path, DIM)
    with monkeypatch.context() as limits:
        limits.setattr("rvc.engine.index_file.WALL_S", 0.01)
        with pytest.raises(CheckpointError, match=r"takes more than 0 s to read; make the index again"):
            read_rows(path, DIM)
    # Larger than what any allocator may have spare from before the limit.
    exact.add(np.zeros((2_000_000, DIM), np.float32))
    with monkeypatch.context() as limits:
        limits.setattr("rvc.engine.index_file.MEMORY_BYTES", 1_000_000)
        with pytest.raises(CheckpointError, match=r"cannot be read|not a readable"):
            read_rows(written(exact, tmp_path), DIM)
    with pytest.raises(CheckpointError, match=r"absent is not there; choose the index again"):
        read_rows(tmp_path / "absent", DIM)


def test_the_reading_side_loads_no_faiss() -> None:
    assert loaded_by(["rvc.engine.index_file"]) == set()
