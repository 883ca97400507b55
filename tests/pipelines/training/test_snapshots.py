"""The states of a training that can be heard and published: which are kept; each is a whole voice."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.events import finish
from pipelines.training.train import STARTS, TrainRequest, train
from pipelines.voices.snapshots import FEWEST, Snapshots, superfluous
from rvc.engine.card import read_card
from rvc.errors import UnknownNameError
from rvc.training.settings import TrainSettings
from tests.pipelines.training.test_train import prepare_speech
from tests.tiny_task import start_tiny

SETTINGS = {"engine": "tiny", "total_steps": 18, "batch_size": 3, "score_every": 3, "threads": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    """A training of 18 steps that was scored six times."""
    STARTS["tiny"] = start_tiny
    folder = tmp_path_factory.mktemp("snapshots")
    request = TrainRequest(
        prepared_folder=prepare_speech(16.0, folder),
        work_dir=folder / "work",
        bundle_dir=folder / "bundle",
        name="Wren",
        settings=TrainSettings.from_json(SETTINGS),
        consent={"by": "me"},
    )
    finish(train(request))
    return request


def test_each_scoring_leaves_a_whole_voice_and_the_best_is_the_one_that_was_made(
    trained: TrainRequest, tmp_path: Path
) -> None:
    snapshots = Snapshots(trained.work_dir)
    assert snapshots.heard() == [3, 6, 9, 12, 15, 18]
    made = read_card(trained.bundle_dir).document
    for step in snapshots.heard():
        folder = tmp_path / str(step)
        folder.mkdir()
        snapshots.bundle(step, folder)
        card = read_card(folder).document
        assert card["training"]["best_step"] == step
        assert [score["step"] for score in card["training"]["scores"]] == list(range(3, step + 1, 3))
        assert {**card, "training": 0} == {**made, "training": 0}
        assert (folder / "index.faiss").read_bytes() == (trained.bundle_dir / "index.faiss").read_bytes()
        same = (folder / "model.safetensors").read_bytes() == (
            trained.bundle_dir / "model.safetensors"
        ).read_bytes()
        assert same == (step == made["training"]["best_step"])
        assert snapshots.sample(step).is_file()
    assert snapshots.sample(0).name == "reference.wav"


def test_the_distances_are_those_of_the_scorings(trained: TrainRequest) -> None:
    scores = json.loads((trained.bundle_dir / "card.json").read_text())["training"]["scores"]
    assert Snapshots(trained.work_dir).distances() == {score["step"]: score["total"] for score in scores}


def test_what_was_not_kept_is_refused_by_its_step(trained: TrainRequest, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="step 4 was not kept"):
        Snapshots(trained.work_dir).bundle(4, tmp_path)
    with pytest.raises(UnknownNameError, match="no sample of step 4"):
        Snapshots(trained.work_dir).sample(4)


def test_the_first_the_best_and_the_newest_stay_and_the_others_are_evenly_spaced() -> None:
    kept: list[int] = []
    for step in range(100, 10_001, 100):
        kept.append(step)
        gone = superfluous(kept, best_step=300, most=12)
        kept = [one for one in kept if one not in gone]
        assert len(kept) <= 12
        assert {100, step} <= set(kept)
    assert 300 in kept
    gaps = [later - earlier for earlier, later in pairwise(kept)]
    assert max(gaps) <= 3_000
    assert superfluous([1, 2, 3], best_step=2, most=1) == []
    assert FEWEST == 3


def test_large_voices_are_kept_in_smaller_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.voices.snapshots.MOST_BYTES", 4_000)
    snapshots = Snapshots(tmp_path)
    for step in range(1, 9):
        snapshots.folder(step).mkdir(parents=True)
        (snapshots.folder(step) / "card.json").write_text("{}")
        (snapshots.folder(step) / "model.safetensors").write_bytes(bytes(1_000))
        snapshots.thin(best_step=2)
    assert len(snapshots.steps()) == FEWEST
    assert {1, 2, 8} == set(snapshots.steps())
