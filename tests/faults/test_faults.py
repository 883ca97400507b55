"""Whoever is killed, and whenever: nothing is lost, nothing is left lying about, the voice is the same.

Six deaths here; `FAULTS=60 python -m pytest tests/faults` draws sixty.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.scenario import Death, die, left_over, live_to_the_end, trained

DEATHS = int(os.environ.get("FAULTS", "6"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The voice of a life without deaths."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert {row["status"] for row in live_to_the_end(folder)} == {"completed"}
    assert left_over(folder / "data") == []
    return trained(folder)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "seed", range(DEATHS), ids=lambda seed: f"{seed}-{Death.drawn(seed).victim}-{Death.drawn(seed).moment}"
)
def test_after_a_kill_everything_is_completed_and_nothing_is_left_behind(
    seed: int, undisturbed: bytes, tmp_path: Path
) -> None:
    die(tmp_path, Death.drawn(seed))
    rows = live_to_the_end(tmp_path)
    assert {row["type"]: row["status"] for row in rows} == {
        "preprocessing": "completed", "training": "completed", "conversion": "completed",
    }  # fmt: skip
    assert left_over(tmp_path / "data") == []
    assert trained(tmp_path) == undisturbed
