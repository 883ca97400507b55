"""Retrieval: what is drawn towards the stored vectors, how far, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.engine.retrieval import MAX_EXACT_ROWS, MAX_ROWS, MIN_RECALL, NEIGHBOURS, RetrievalIndex
from rvc.errors import CheckpointError
from tests.tiny import toy_index

DIM = 16
Rows = NDArray[np.float32]


def wandering(rows: int, seed: int = 0) -> Rows:
    """Vectors that change slowly, as content does, around a few sounds."""
    rng = np.random.default_rng(seed)
    sounds = np.random.default_rng(99).normal(size=(40, DIM))
    order = np.repeat(rng.integers(0, 40, rows // 8 + 1), 8)[:rows]
    return (sounds[order] + 0.3 * rng.normal(size=(rows, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def small() -> RetrievalIndex:
    return toy_index(wandering(500))


@pytest.fixture(scope="module")
def large() -> RetrievalIndex:
    return toy_index(wandering(4 * MAX_EXACT_ROWS))


def nearest(rows: Rows, query: Rows) -> Rows:
    """RVC's average of the nearest rows, computed the slow way."""
    distance = ((rows[None].astype(np.float64) - query[:, None]) ** 2).sum(axis=2)
    order = np.argsort(distance, axis=1)[:, :NEIGHBOURS]
    weight = 1 / np.take_along_axis(distance, order, axis=1) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("tk,tkc->tc", weight, rows[order]).astype(np.float32)


def test_a_share_of_one_gives_the_average_of_the_neighbours(small: RetrievalIndex) -> None:
    query = wandering(30, seed=1)
    np.testing.assert_allclose(small.blend(query, 1.0), nearest(wandering(500), query), atol=1e-4)


def test_shares_mix_the_frame_with_what_was_found(small: RetrievalIndex) -> None:
    query = wandering(30, seed=1)
    found = small.blend(query, 1.0)
    np.testing.assert_allclose(small.blend(query, 0.25), 0.75 * query + 0.25 * found, atol=1e-5)
    shares = np.linspace(0, 1, 30)
    expected = (1 - shares)[:, None] * query + shares[:, None] * found
    np.testing.assert_allclose(small.blend(query, shares), expected, atol=1e-5)


def test_a_share_of_zero_changes_nothing_and_the_input_is_never_written_to(small: RetrievalIndex) -> None:
    query = wandering(30, seed=1)
    kept = query.copy()
    np.testing.assert_array_equal(small.blend(query, 0.0), kept)
    small.blend(query, 1.0)
    np.testing.assert_array_equal(query, kept)
    assert small.blend(query[:0], 1.0).shape == (0, DIM)


@pytest.mark.parametrize("rows", [1, 3, 500, 4 * MAX_EXACT_ROWS])
def test_an_exact_hit_gives_its_vector_and_nothing_is_ever_nan(rows: int) -> None:
    vectors = wandering(rows)
    vectors[: rows // 2] = vectors[rows // 2 : rows // 2 * 2]  # every vector twice
    found = toy_index(vectors).blend(vectors, 1.0)
    np.testing.assert_allclose(found, vectors, atol=1e-5)


def test_the_large_index_is_no_exact_search_and_finds_nearly_the_same(large: RetrievalIndex) -> None:
    rows, query = wandering(4 * MAX_EXACT_ROWS), wandering(400, seed=1)
    assert large.rows == len(rows)
    assert large.probed_cells > 1
    exact = faiss.IndexFlatL2(DIM)
    exact.add(rows)
    true = RetrievalIndex(exact).blend(query, 1.0)
    same = np.abs(large.blend(query, 1.0) - true).max(axis=1) < 1e-4
    assert same.mean() > MIN_RECALL - 0.15  # all eight right, of which each is right with 0.95


def test_building_is_deterministic_and_keeps_a_limited_number_of_rows(tmp_path: Path) -> None:
    vectors = wandering(MAX_ROWS + 999)
    for name in "ab":
        toy_index(vectors).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert RetrievalIndex.load(tmp_path / "a", DIM).rows == MAX_ROWS


@pytest.mark.parametrize("kind", ["small", "large"])
def test_saved_and_loaded_it_finds_the_same(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    index: RetrievalIndex = request.getfixturevalue(kind)
    index.save(tmp_path / "index.faiss")
    loaded = RetrievalIndex.load(tmp_path / "index.faiss", DIM)
    query = wandering(50, seed=2)
    np.testing.assert_array_equal(loaded.blend(query, 0.7), index.blend(query, 0.7))
    assert loaded.probed_cells == index.probed_cells
    assert [path.name for path in tmp_path.iterdir()] == ["index.faiss"]


def test_a_failed_save_leaves_the_old_index(small: RetrievalIndex, tmp_path: Path) -> None:
    (tmp_path / "index.faiss").mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError):
        small.save(tmp_path / "index.faiss")
    assert [path.name for path in tmp_path.iterdir()] == ["index.faiss"]


def test_an_index_that_nobody_tuned_is_tuned_when_it_is_loaded(large: RetrievalIndex, tmp_path: Path) -> None:
    large.save(tmp_path / "index.faiss")
    raw = faiss.read_index(str(tmp_path / "index.faiss"))
    assert isinstance(raw, faiss.IndexIVF)
    raw.nprobe = 1  # as RVC writes it
    faiss.write_index(raw, str(tmp_path / "index.faiss"))
    assert RetrievalIndex.load(tmp_path / "index.faiss", DIM).probed_cells > 1


@pytest.mark.parametrize(
    "vectors", [np.empty((0, DIM)), np.full((3, DIM), np.nan), np.full((3, DIM), np.inf)]
)
def test_what_cannot_be_indexed_is_refused(vectors: Rows) -> None:
    with pytest.raises(ValueError, match="cannot be indexed"):
        toy_index(vectors.astype(np.float32))


def written(index: faiss.Index, folder: Path) -> Path:
    path = folder / "index.faiss"
    faiss.write_index(index, str(path))
    return path


def test_files_that_are_no_index_of_this_voice_are_refused_by_name(
    small: RetrievalIndex, tmp_path: Path
) -> None:
    path = tmp_path / "index.faiss"
    path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(CheckpointError, match=r"index\.faiss is not a readable faiss index"):
        RetrievalIndex.load(path, DIM)
    small.save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a readable"):
        RetrievalIndex.load(path, DIM)
    small.save(path)
    with pytest.raises(CheckpointError, match="16 numbers and the voice needs 768"):
        RetrievalIndex.load(path, 768)
    with pytest.raises(CheckpointError, match="not a readable"):
        RetrievalIndex.load(tmp_path / "absent", DIM)


def test_indexes_of_other_kinds_are_refused(tmp_path: Path) -> None:
    rows = wandering(500)
    product = faiss.IndexFlatIP(DIM)
    product.add(rows)
    compressed = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_8bit)
    compressed.train(rows)
    compressed.add(rows)
    for index in (product, compressed):
        with pytest.raises(CheckpointError, match="of another kind"):
            RetrievalIndex.load(written(index, tmp_path), DIM)
    with pytest.raises(CheckpointError, match="holds no vectors"):
        RetrievalIndex.load(written(faiss.IndexFlatL2(DIM), tmp_path), DIM)


def test_an_index_that_does_not_find_its_own_vectors_is_refused(tmp_path: Path) -> None:
    rows = wandering(500)
    rows[::3] = np.nan
    broken = faiss.IndexFlatL2(DIM)
    broken.add(rows)
    with pytest.raises(CheckpointError, match="does not find its own vectors"):
        RetrievalIndex.load(written(broken, tmp_path), DIM)
