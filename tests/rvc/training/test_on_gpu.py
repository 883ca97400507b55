"""RVC's training on a GPU: what a processor computes, in every precision. Needs a CUDA device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rvc.training.group import Group
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from tests.tiny_rvc_training import tiny_data, tiny_rvc_task
from tests.tiny_task import drain, sung_tone

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
TOLERANCE = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 0.1, "float16": 0.05}


@pytest.mark.parametrize("precision", TOLERANCE)
def test_rendering_is_that_of_a_processor(tmp_path: Path, precision: str) -> None:
    there = tiny_rvc_task(tmp_path, precision=precision)
    here = tiny_rvc_task(tmp_path, group=Group(0, 1, torch.device("cpu")))
    item = here.extract(sung_tone(180.0, 0.5, 48_000), 48_000, seed=1)
    assert there.device.type == "cuda"
    expected = here.render(item)
    difference = abs(there.render(item) - expected).max()
    assert difference <= TOLERANCE[precision] * abs(expected).max()


@pytest.mark.parametrize("precision", [*TOLERANCE, None])
def test_a_training_runs_and_finds_its_batch_size(tmp_path: Path, precision: str | None) -> None:
    task = tiny_rvc_task(tmp_path, precision=precision)
    settings = TrainSettings(engine="rvc", version="v1", total_steps=4, score_every=4, threads=1)
    training = Training(task, tiny_data(task, tmp_path), settings, tmp_path / "work", report_interval_s=0)
    reports, outcome = drain(training.run())
    assert training.batch_size == 8
    assert outcome.reason == "budget"
    assert reports[-1].losses["mel"] > 0
