"""The real network, HTDemucs, at toy size: read as it is published, and nothing else read in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rvc.errors import CheckpointError
from tests.tiny_separator import NEEDS_PACKAGE, RATE, weights_file

pytest.importorskip("demucs_infer", reason=NEEDS_PACKAGE)
import torch

from pipelines.conversion.cover.separator import Separator


def test_a_published_file_becomes_a_network_that_finds_vocals(tmp_path: Path) -> None:
    separator = Separator.load(weights_file(tmp_path / "published.th"))
    assert (separator.rate_hz, separator.window) == (RATE, RATE // 2)
    window = np.random.default_rng(0).normal(size=(2, separator.window)).astype(np.float32)
    found = separator.vocals(window)
    assert found.shape == window.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, separator.vocals(window))


class Stranger:
    """What no published file holds."""


@pytest.mark.parametrize(
    "change",
    [
        {"kwargs": {"sources": ["speech", "music"]}},
        {"kwargs": {"no_such": 1}},
        {"kwargs": None},
        {"state": {}},
        {"state": {"weight": torch.zeros(3)}},
        {"klass": Stranger},
    ],
    ids=["other sources", "unknown argument", "no arguments", "no weights", "other weights", "other class"],
)
def test_what_is_no_such_network_is_refused_in_a_sentence(change: dict[str, object], tmp_path: Path) -> None:
    path = weights_file(tmp_path / "published.th")
    with torch.serialization.safe_globals([Stranger]):
        package = torch.load(path, weights_only=False)
    torch.save({**package, **change}, path)
    with pytest.raises(CheckpointError, match=r"^published\.th .*\.$"):
        Separator.load(path)


def test_a_damaged_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "published.th")
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(CheckpointError, match=r"^published\.th .*\.$"):
        Separator.load(path)
