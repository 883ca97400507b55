"""A batch that fits: found by trying, and without a trace of the trials."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rvc.errors import ConfigError
from rvc.training.dataset import TrainingSet
from rvc.training.loop import AUTOMATIC, Training, fitting_batch_size, on_cpu
from rvc.training.settings import TrainSettings
from tests.rvc.training.test_resume import assert_equal, stop_after
from tests.tiny_task import TinyTask, drain, tiny_training_set

FULL = (
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
)


class SmallTask(TinyTask):
    """A task on a device whose memory holds three slices, and is full in the middle of a step."""

    full: Exception = FULL[0]

    def step(
        self, batch: dict[str, torch.Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        losses = super().step(batch, step, total_steps, generator)
        if len(batch["f0"]) > 3:
            raise self.full
        return losses


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return tiny_training_set(tmp_path_factory.mktemp("tones"))


def training(data: TrainingSet, folder: Path, batch_size: int | None, *, tries: bool) -> Training:
    torch.manual_seed(0)
    settings = TrainSettings(
        total_steps=6, batch_size=batch_size, score_every=3, checkpoint_every=2, threads=1
    )
    return Training(SmallTask(), data, settings, folder, report_interval_s=0, tries_batch=tries)


@pytest.mark.parametrize("full", FULL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("holds", [1, 2, 3, 5, 8, 100])
def test_the_first_half_that_fits_is_taken(holds: int, full: Exception) -> None:
    tried: list[int] = []

    def attempt(items: int) -> None:
        tried.append(items)
        if items > holds:
            raise full

    found = fitting_batch_size(attempt)
    assert found <= holds
    assert found == AUTOMATIC or 2 * found > holds
    assert tried == sorted(tried, reverse=True)
    assert tried[-1] == found


def test_a_memory_that_holds_nothing_is_a_sentence_and_other_faults_stay_what_they_are() -> None:
    def full(_: int) -> None:
        raise torch.OutOfMemoryError("full")

    def broken(_: int) -> None:
        raise RuntimeError("broken")

    with pytest.raises(ConfigError, match="does not hold a single slice"):
        fitting_batch_size(full)
    with pytest.raises(RuntimeError, match="broken"):
        fitting_batch_size(broken)


@pytest.mark.parametrize("full", FULL, ids=lambda error: type(error).__name__)
def test_a_found_batch_size_trains_as_if_it_had_been_set(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Exception
) -> None:
    monkeypatch.setattr(SmallTask, "full", full)
    found = training(data, tmp_path / "found", None, tries=True)
    reports, _ = drain(found.run())
    assert found.batch_size == 2
    assert "A batch has 2 slices." in reports[0].message
    chosen = training(data, tmp_path / "set", 2, tries=True)
    drain(chosen.run())
    assert_equal(found.task.state_dict(), chosen.task.state_dict())


def test_a_resumed_training_keeps_the_batch_size_that_was_found(data: TrainingSet, tmp_path: Path) -> None:
    assert stop_after(training(data, tmp_path, None, tries=True).run(), 4) is None
    again = training(data, tmp_path, None, tries=True)
    drain(again.run())
    assert again.batch_size == 2


def test_a_batch_size_that_was_set_is_kept_or_refused(data: TrainingSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not hold a batch of 4"):
        drain(training(data, tmp_path, 4, tries=True).run())
    assert training(data, tmp_path, None, tries=False).batch_size == AUTOMATIC


def test_a_kept_state_does_not_change_with_the_networks() -> None:
    tensor = torch.ones(2)
    kept = on_cpu({"a": [tensor, 3], "b": {"c": (tensor,)}, "d": None})
    tensor.zero_()
    assert kept["a"][0].tolist() == kept["b"]["c"][0].tolist() == [1.0, 1.0]
    assert (kept["a"][1], kept["d"]) == (3, None)
