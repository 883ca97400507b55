"""A training that has ended goes on: as if all steps had been asked for at first, where that can be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rvc.training.checkpoints import CheckpointStore
from rvc.training.dataset import TrainingSet
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from rvc.training.task import Outcome
from tests.tiny_task import TinyTask, drain, tiny_training_set


class Unplanned(TinyTask):
    """Whose rate does not follow from how many steps there shall be, as in RVC."""

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        del total_steps
        return super().step(batch, step, 100, generator)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return tiny_training_set(tmp_path_factory.mktemp("tones"))


def run(task: TinyTask, data: TrainingSet, folder: Path, total: int, **more: int) -> Outcome:
    settings = {"total_steps": total, "batch_size": 3, "score_every": 10, "threads": 1, **more}
    outcome: Outcome = drain(Training(task, data, TrainSettings.from_json(settings), folder).run())[1]
    return outcome


def started(task: type[TinyTask], **how: int) -> TinyTask:
    torch.manual_seed(0)
    return task(**how)


def test_it_equals_one_that_was_asked_for_at_first_when_its_rate_follows_no_plan(
    data: TrainingSet, tmp_path: Path
) -> None:
    whole = run(started(Unplanned), data, tmp_path / "whole", 40)
    run(started(Unplanned), data, tmp_path / "parts", 20)
    parts = run(started(Unplanned), data, tmp_path / "parts", 40, patience_from=20)
    assert parts == whole
    folders = [tmp_path / name / "checkpoints" for name in ("whole", "parts")]
    states = [CheckpointStore(folder).read(40)["task"] for folder in folders]
    for one, other in zip(*(state["network"].values() for state in states), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_it_gives_the_same_each_time_when_its_rate_follows_the_new_plan(
    data: TrainingSet, tmp_path: Path
) -> None:
    outcomes = []
    for name in ("one", "other"):
        run(started(TinyTask), data, tmp_path / name, 20)
        outcomes.append(run(started(TinyTask), data, tmp_path / name, 40, patience_from=20))
    assert outcomes[0] == outcomes[1]
    assert [score["step"] for score in outcomes[0].scores] == [10, 20, 30, 40]


def test_one_that_ended_for_want_of_progress_gets_patience_anew_for_what_is_added(
    data: TrainingSet, tmp_path: Path
) -> None:
    ended = run(started(TinyTask, unlearn_from=10), data, tmp_path, 200, patience=2)
    assert (ended.reason, ended.steps) == ("patience", 30)
    same = run(started(TinyTask, unlearn_from=10), data, tmp_path, 230, patience=2)
    assert same.steps == 30
    longer = run(started(TinyTask, unlearn_from=10), data, tmp_path, 200, patience=2, patience_from=30)
    assert (longer.reason, longer.steps, longer.best_step) == ("patience", 50, ended.best_step)
