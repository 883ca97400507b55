"""A voice without any training, and the training that goes on from it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
import torch

from rvc.errors import ConfigError
from rvc.training.checkpoints import CheckpointStore
from rvc.training.dataset import TrainingSet
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from rvc.training.task import Features, Report
from tests.tiny_task import TinyTask, drain, tiny_training_set

FITS = 6


class Fitting(TinyTask):
    """Comes nearer by some steps of its own, which leave nothing behind but its network."""

    def fit(self, items: Sequence[Features], seed: int) -> Generator[float, None, None]:
        before = self.optimizer.state_dict()
        for number in range(FITS):
            generator = torch.Generator().manual_seed(seed + number)
            self.step(self.batch([items[0]] * 3, generator), 0, 100, generator)
            yield (number + 1) / FITS
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-2)
        self.optimizer.load_state_dict(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return tiny_training_set(tmp_path_factory.mktemp("tones"))


def training(data: TrainingSet, folder: Path, total: int, **more: int) -> Training:
    torch.manual_seed(0)
    settings = {"total_steps": total, "batch_size": 3, "score_every": 10, "threads": 1, **more}
    return Training(Fitting(), data, TrainSettings.from_json(settings), folder, report_interval_s=0)


def network(folder: Path, step: int) -> list[torch.Tensor]:
    return list(CheckpointStore(folder / "checkpoints").read(step)["task"]["network"].values())


def test_without_steps_the_voice_is_fitted_scored_heard_and_kept(data: TrainingSet, tmp_path: Path) -> None:
    reports, outcome = drain(training(data, tmp_path, 0).run())
    assert (outcome.steps, outcome.best_step) == (0, 0)
    assert [score["step"] for score in outcome.scores] == [0]
    fitted = [report.share for report in reports if report.stage == "Fitting"]
    assert fitted == sorted(fitted)
    assert fitted[-1] == 1.0
    (scored,) = [report for report in reports if report.score]
    assert scored.is_best
    assert scored.sample is not None
    assert (tmp_path / scored.sample).is_file()
    assert reports[-1].message == "The voice is made, without training."
    again, outcome_again = drain(training(data, tmp_path, 0).run())
    assert outcome_again == outcome
    assert not [report for report in again if report.stage in ("Fitting", "Scoring")]


def test_a_training_goes_on_from_the_fitted_voice_and_makes_it_better(
    data: TrainingSet, tmp_path: Path
) -> None:
    _, first = drain(training(data, tmp_path, 0).run())
    fitted = network(tmp_path, 0)
    longer = training(data, tmp_path, 40, patience_from=0)
    reports, outcome = drain(longer.run())
    assert not [report for report in reports if report.stage == "Fitting"]
    assert [score["step"] for score in outcome.scores] == [0, 10, 20, 30, 40]
    assert outcome.scores[0] == first.scores[0]
    assert outcome.best_step > 0
    best = [report.score["step"] for report in reports if report.score and report.is_best]
    assert best[-1] == outcome.best_step
    assert any(not torch.equal(a, b) for a, b in zip(fitted, network(tmp_path, 40), strict=True))


def test_one_that_is_stopped_while_it_is_fitted_leaves_nothing_and_begins_anew(
    data: TrainingSet, tmp_path: Path
) -> None:
    steps = training(data, tmp_path / "stopped", 0).run()
    for report in steps:
        if report.stage == "Fitting":
            steps.close()
            break
    assert not list((tmp_path / "stopped" / "checkpoints").iterdir())
    _, stopped = drain(training(data, tmp_path / "stopped", 0).run())
    _, whole = drain(training(data, tmp_path / "whole", 0).run())
    assert stopped == whole


def test_a_training_with_steps_begins_with_the_first_weights(data: TrainingSet, tmp_path: Path) -> None:
    reports: list[Report] = drain(training(data, tmp_path, 10).run())[0]
    assert {report.stage for report in reports} == {"Training", "Scoring"}
    assert reports[0].share == 0.0
    assert reports[-1].share == 1.0


def test_an_engine_that_needs_training_refuses_to_do_without() -> None:
    assert TrainSettings.from_json({"total_steps": 0}).is_instant
    with pytest.raises(ConfigError, match="'rvc' makes no voice without training; give at least 1 step"):
        TrainSettings.from_json({"engine": "rvc", "total_steps": 0})
