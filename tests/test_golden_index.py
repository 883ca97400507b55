"""Retrieval as upstream weighs it; where upstream gives NaN, the vector that was hit."""

from __future__ import annotations

from typing import Any, cast

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.engine.retrieval import RetrievalIndex
from tests.golden_files import golden, golden_path

DATA = "index_search.npz"
TOLERANCE = 1e-4


class Answered:
    """An index whose answers are known: the numbers that upstream found, -1 where it found too few."""

    def __init__(self, rows: NDArray[np.float32], numbers: NDArray[np.int64]) -> None:
        self.d, self.ntotal = rows.shape[1], len(rows)
        self._rows, self._numbers = rows, numbers

    def search_and_reconstruct(self, query: NDArray[np.float32], count: int) -> tuple[Any, Any, Any]:
        assert self._numbers.shape == (len(query), count)
        found = self._rows[self._numbers]
        found[self._numbers < 0] = np.nan  # faiss fills such rows with bytes of all ones
        return None, self._numbers, found


def upstream_index() -> RetrievalIndex:
    """Upstream's file as it is: it looks into one cell only."""
    index = faiss.read_index(str(golden_path("index_small.index")))
    assert isinstance(index, faiss.IndexIVFFlat)
    return RetrievalIndex(index)


@pytest.fixture(params=["ivf", "flat"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(kind: str) -> RetrievalIndex:
    """Upstream's file, which looks into one cell only, or exact search among the same vectors."""
    if kind == "ivf":
        return upstream_index()
    exact = faiss.IndexFlatL2(64)
    exact.add(golden(DATA)["big_npy"])
    return RetrievalIndex(exact)


def test_the_neighbours_are_weighted_as_upstream_weighs_them(kind: str, index: RetrievalIndex) -> None:
    data = golden(DATA)
    np.testing.assert_allclose(index.blend(data["query"], 1.0), data[f"{kind}_retrieved"], atol=TOLERANCE)
    np.testing.assert_allclose(index.blend(data["query"], 0.75), data[f"{kind}_mixed_0_75"], atol=TOLERANCE)


def test_an_exact_hit_gives_its_vector_where_upstream_gives_nan(index: RetrievalIndex, kind: str) -> None:
    data = golden(DATA)
    found = index.blend(data["exact_query"], 1.0)
    assert np.isnan(data["exact_retrieved"][1]).all()
    np.testing.assert_allclose(found[1], data["big_npy"][7], atol=1e-6)
    if kind == "ivf":
        np.testing.assert_allclose(found[[0, 2]], data["exact_retrieved"][[0, 2]], atol=TOLERANCE)


def test_neighbours_that_were_not_found_weigh_nothing() -> None:
    data = golden(DATA)
    assert (data["missing_ids"] < 0).any()
    index = RetrievalIndex(cast("faiss.IndexFlat", Answered(data["big_npy"], data["missing_ids"])))
    np.testing.assert_allclose(index.blend(data["query"], 1.0), data["missing_retrieved"], atol=TOLERANCE)


def test_a_frame_for_which_nothing_is_found_stays_as_it_is() -> None:
    data = golden(DATA)
    nothing = np.full_like(data["missing_ids"], -1)
    index = RetrievalIndex(cast("faiss.IndexFlat", Answered(data["big_npy"], nothing)))
    np.testing.assert_array_equal(index.blend(data["query"], 1.0), data["query"])


def test_upstream_s_file_holds_upstream_s_vectors() -> None:
    data = golden(DATA)
    rows = upstream_index().vectors()
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(data["big_npy"], axis=0))
