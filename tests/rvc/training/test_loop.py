"""The loop: what it reports, when it scores, what it keeps and when it ends."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.audio.reader import load_mono
from rvc.errors import ConfigError
from rvc.training.checkpoints import CheckpointStore
from rvc.training.dataset import TrainingSet
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from rvc.training.task import Features
from tests.tiny_task import RATE_HZ, TinyTask, drain, tiny_training_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """Four tones, one of them held out."""
    return tiny_training_set(tmp_path_factory.mktemp("tones"))


def settings(**changes: int | None) -> TrainSettings:
    """Settings for a training of about a second."""
    chosen = {"total_steps": 40, "batch_size": 3, "score_every": 10, "checkpoint_every": 7, "threads": 1}
    return TrainSettings.from_json({**chosen, **changes})


@pytest.fixture(autouse=True)
def same_first_weights() -> None:
    """Every task of a test starts from weights of the same seed."""
    torch.manual_seed(0)


def test_training_lowers_the_loss_and_the_score_of_a_slice_it_never_heard(
    data: TrainingSet, tmp_path: Path
) -> None:
    reports, outcome = drain(Training(TinyTask(), data, settings(), tmp_path, report_interval_s=0).run())
    losses = [report.losses["spectrum"] for report in reports if report.losses]
    totals = [score["total"] or 0.0 for score in outcome.scores]
    assert losses[-1] < 0.7 * losses[0]
    assert totals[-1] < totals[0]


def test_every_step_can_be_reported_and_reports_can_be_sent_as_json(
    data: TrainingSet, tmp_path: Path
) -> None:
    reports, _ = drain(Training(TinyTask(), data, settings(), tmp_path, report_interval_s=0).run())
    assert {report.step for report in reports} == set(range(41))
    assert [report.step for report in reports] == sorted(report.step for report in reports)
    json.dumps([asdict(report) for report in reports], allow_nan=False)


def test_reports_come_at_most_about_ten_times_a_second(data: TrainingSet, tmp_path: Path) -> None:
    began = time.monotonic()
    reports, _ = drain(
        Training(TinyTask(), data, settings(total_steps=200, score_every=1000), tmp_path).run()
    )
    seldom = [report for report in reports if report.score is None]
    assert len(seldom) <= 10 * (time.monotonic() - began) + 3


def test_speed_leaves_pauses_out_and_time_left_shrinks_to_nothing(data: TrainingSet, tmp_path: Path) -> None:
    training = Training(TinyTask(), data, settings(total_steps=12), tmp_path, report_interval_s=0)
    steps = training.run()
    first = next(steps)
    assert (first.steps_per_s, first.seconds_left) == (None, None)
    second = next(steps)
    assert second.steps_per_s is not None
    assert second.seconds_left == pytest.approx(11 / second.steps_per_s)
    for _ in range(3):
        time.sleep(0.3)
        paused = next(steps)
    assert paused.steps_per_s is not None
    assert paused.steps_per_s > 1 / 0.3
    assert drain(steps)[0][-1].seconds_left == 0.0


def test_it_scores_every_so_many_steps_and_at_the_end(data: TrainingSet, tmp_path: Path) -> None:
    reports, outcome = drain(Training(TinyTask(), data, settings(total_steps=25), tmp_path).run())
    assert [score["step"] for score in outcome.scores] == [10, 20, 25]
    assert [report.score for report in reports if report.score] == outcome.scores
    assert (outcome.steps, outcome.reason) == (25, "budget")


def test_each_scoring_leaves_a_sentence_to_listen_to(data: TrainingSet, tmp_path: Path) -> None:
    reports, _ = drain(Training(TinyTask(), data, settings(), tmp_path).run())
    samples = [report.sample for report in reports if report.sample]
    assert samples == [f"samples/0000{step}.wav" for step in (10, 20, 30, 40)]
    reference, _ = load_mono(tmp_path / "samples" / "reference.wav")
    for sample in samples:
        wav, rate_hz = load_mono(tmp_path / sample)
        assert rate_hz == RATE_HZ
        assert wav.size == reference.size
        assert wav.std() > 0.001


def test_without_a_number_of_steps_the_engine_decides_by_the_seconds(
    data: TrainingSet, tmp_path: Path
) -> None:
    _, outcome = drain(Training(TinyTask(), data, settings(total_steps=None), tmp_path).run())
    assert outcome.steps == TinyTask().default_steps(data.seconds)


def test_it_ends_by_itself_when_it_gets_no_better_and_hands_on_the_best_state(
    data: TrainingSet, tmp_path: Path
) -> None:
    task = TinyTask(unlearn_from=20)
    chosen = settings(total_steps=400, score_every=5, patience=3)
    reports, outcome = drain(Training(task, data, chosen, tmp_path).run())
    assert outcome.reason == "patience"
    assert outcome.steps == outcome.best_step + 15
    best = min(outcome.scores, key=lambda score: score["total"] or 0.0)
    assert best["step"] == outcome.best_step
    saved = CheckpointStore(tmp_path / "checkpoints").read(outcome.best_step)["task"]["network"]
    assert all(torch.equal(weights, saved[name]) for name, weights in task.network.state_dict().items())
    assert f"voice of step {outcome.best_step} is kept" in reports[-1].message


def test_a_loss_that_is_no_number_ends_it_with_the_best_state_before(
    data: TrainingSet, tmp_path: Path
) -> None:
    reports, outcome = drain(Training(TinyTask(explode_at=24), data, settings(), tmp_path).run())
    assert (outcome.reason, outcome.steps) == ("diverged", 24)
    assert outcome.best_step in (10, 20)
    assert "diverged" in reports[-1].message


def test_a_loss_that_is_no_number_before_the_first_scoring_is_a_failure_with_a_sentence(
    data: TrainingSet, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"diverged at step 4 .*spectrum.* another seed or batch size"):
        drain(Training(TinyTask(explode_at=4), data, settings(), tmp_path).run())


class SilentTask(TinyTask):
    """Trains, but what it speaks is never a number."""

    def render(self, item: Features) -> NDArray[np.float32]:
        return super().render(item) * np.float32("nan")


def test_a_voice_that_never_speaks_is_a_failure_with_a_sentence(data: TrainingSet, tmp_path: Path) -> None:
    steps = Training(SilentTask(), data, settings(), tmp_path).run()
    with pytest.raises(ConfigError, match="never gave audio"):
        for report in steps:
            json.dumps(asdict(report), allow_nan=False)
            assert report.sample is None


class HungryTask(TinyTask):
    """A device that fails at every step."""

    fault: Exception = torch.OutOfMemoryError()

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        raise self.fault


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError(),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
)
def test_too_large_a_batch_for_the_memory_is_a_failure_with_the_way_out(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(HungryTask, "fault", fault)
    with pytest.raises(ConfigError, match=r"does not hold a batch of 3; .*smaller batch_size"):
        drain(Training(HungryTask(), data, settings(), tmp_path).run())


def test_another_fault_of_the_gpu_stays_what_it_is(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED.")
    monkeypatch.setattr(HungryTask, "fault", fault)
    with pytest.raises(RuntimeError, match="NOT_SUPPORTED"):
        drain(Training(HungryTask(), data, settings(), tmp_path).run())


class RepeatingTask(TinyTask):
    """Speaks the recording itself; the melody it was trained with is that of an estimator of its own."""

    def render(self, item: Features) -> NDArray[np.float32]:
        return self.reference(item)

    def f0(self, item: Features) -> NDArray[np.float64]:
        return 1.5 * np.roll(super().f0(item), 7)


def test_who_repeats_the_recording_scores_perfectly_whoever_found_the_melody_for_the_training(
    data: TrainingSet, tmp_path: Path
) -> None:
    _, outcome = drain(Training(RepeatingTask(), data, settings(total_steps=10), tmp_path).run())
    (score,) = outcome.scores
    assert score == {"step": 10, "mel_db": 0.0, "f0_semitones": 0.0, "voicing_error": 0.0, "total": 0.0}


def test_a_voice_of_one_slice_trains_and_is_scored_on_it(tmp_path: Path) -> None:
    lonely = tiny_training_set(tmp_path / "tones", [1.5])
    _, outcome = drain(Training(TinyTask(), lonely, settings(total_steps=10), tmp_path / "work").run())
    assert len(outcome.scores) == 1


def test_equal_seeds_give_equal_voices_and_other_seeds_others(data: TrainingSet, tmp_path: Path) -> None:
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(0)
        task = TinyTask()
        drain(Training(task, data, settings(total_steps=10, seed=seed), tmp_path / str(number)).run())
        weights.append(torch.cat([part.flatten() for part in task.network.state_dict().values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_scoring_changes_nothing_that_is_learnt(data: TrainingSet, tmp_path: Path) -> None:
    weights = []
    for score_every in (1, 7, 1000):
        torch.manual_seed(0)
        chosen = settings(total_steps=20, score_every=score_every, patience=100)
        folder = tmp_path / str(score_every)
        drain(Training(TinyTask(), data, chosen, folder).run())
        newest = CheckpointStore(folder / "checkpoints").read(20)["task"]["network"]
        weights.append(torch.cat([part.flatten() for part in newest.values()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_the_threads_of_the_process_are_as_before_at_the_end(data: TrainingSet, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    drain(Training(TinyTask(), data, settings(total_steps=3), tmp_path).run())
    steps = Training(TinyTask(), data, settings(), tmp_path / "closed").run()
    next(steps)
    assert torch.get_num_threads() == 1
    steps.close()
    assert torch.get_num_threads() == before
