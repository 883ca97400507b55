"""Resuming: a training that was interrupted anywhere equals one that was not, bit for bit."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rvc.errors import CheckpointError, ConfigError
from rvc.files import ROOT
from rvc.training.checkpoints import CheckpointStore
from rvc.training.dataset import TrainingSet
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from rvc.training.task import Outcome, Report
from tests.tiny_task import TinyTask, drain, tiny_training_set

SETTINGS: dict[str, Any] = {
    "total_steps": 36,
    "batch_size": 3,
    "score_every": 8,
    "checkpoint_every": 5,
    "patience": 50,
    "threads": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """Five tones; one of them is held out."""
    return tiny_training_set(tmp_path_factory.mktemp("tones"), [1.0, 1.2, 2.3, 1.4, 1.1])


@pytest.fixture(scope="module")
def whole(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    drain(training(data, folder, new_voice=True).run())
    return folder


def training(data: TrainingSet, folder: Path, *, new_voice: bool = False, **changes: int | str) -> Training:
    """A training with a report after every step.

    A resumed one starts from other weights, as it would in a new process, so that whatever is not
    restored shows.
    """
    torch.manual_seed(0 if new_voice else int.from_bytes(np.random.bytes(4), "big"))
    settings = TrainSettings.from_json({**SETTINGS, **changes})
    return Training(TinyTask(), data, settings, folder, report_interval_s=0)


def last_state(folder: Path) -> dict[str, Any]:
    """The state at the last step: weights, optimizer, smoothed losses, scores, counters."""
    return CheckpointStore(folder / "checkpoints").read(36)


def assert_equal(one: object, other: object, at: str = "state") -> None:
    """Check nested states for equality to the last bit."""
    if isinstance(one, Mapping):
        assert isinstance(other, Mapping), at
        assert list(one) == list(other), at
        for name in one:
            assert_equal(one[name], other[name], f"{at}.{name}")
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple), at
        assert len(one) == len(other), at
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_equal(left, right, f"{at}[{number}]")
    elif isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor), at
        assert one.dtype == other.dtype, at
        assert torch.equal(one, other), at
    else:
        assert one == other, at


def stop_after(steps: Generator[Report, None, Outcome], reports: int) -> Outcome | None:
    """Take so many reports and close; return the outcome if it ended before."""
    with closing(steps):
        for _ in range(reports):
            try:
                next(steps)
            except StopIteration as stop:
                outcome: Outcome = stop.value
                return outcome
    return None


@pytest.mark.parametrize("seed", range(6))
def test_stopping_at_random_points_changes_no_bit(
    data: TrainingSet, whole: Path, tmp_path: Path, seed: int
) -> None:
    random = np.random.default_rng(seed)
    stops, outcome = (
        0,
        stop_after(training(data, tmp_path, new_voice=True).run(), int(random.integers(1, 12))),
    )
    # A resumed training that has heard nothing yet reports once: two at least, so that it moves.
    while outcome is None:
        stops += 1
        # Only the first process draws the voice's first weights; until there is a checkpoint it must again.
        fresh = CheckpointStore(tmp_path / "checkpoints").newest() is None
        steps = training(data, tmp_path, new_voice=fresh).run()
        outcome = stop_after(steps, int(random.integers(2, 12)))
        assert stops < 50
    assert stops >= 3
    assert_equal(last_state(tmp_path), last_state(whole))


def test_stopping_after_every_other_step_changes_no_bit(
    data: TrainingSet, whole: Path, tmp_path: Path
) -> None:
    outcome, stops = stop_after(training(data, tmp_path, new_voice=True).run(), 2), 1
    while outcome is None:
        outcome, stops = stop_after(training(data, tmp_path).run(), 3), stops + 1
        assert stops < 100
    assert stops > 15
    assert_equal(last_state(tmp_path), last_state(whole))


def test_closing_saves_the_very_step_that_was_reported(data: TrainingSet, tmp_path: Path) -> None:
    for reports in (2, 5, 4):
        with closing(training(data, tmp_path).run()) as steps:
            reported = [next(steps).step for _ in range(reports)]
        found = CheckpointStore(tmp_path / "checkpoints").newest()
        assert found is not None
        assert found.step == reported[-1]
        assert f"Resumed from step {found.step}" in next(training(data, tmp_path).run()).message


def test_closing_before_the_first_step_leaves_no_checkpoint(data: TrainingSet, tmp_path: Path) -> None:
    with closing(training(data, tmp_path).run()) as steps:
        next(steps)
    assert CheckpointStore(tmp_path / "checkpoints").newest() is None


def test_a_power_cut_at_any_point_loses_steps_but_changes_no_bit(
    data: TrainingSet, whole: Path, tmp_path: Path
) -> None:
    cuts = set(np.random.default_rng(0).integers(8, 36, 5).tolist())
    steps = training(data, tmp_path / "running", new_voice=True).run()
    for report in steps:
        if report.step in cuts:
            # What lies on the disk at this moment is all that is left after a cut.
            cuts.remove(report.step)
            shutil.copytree(tmp_path / "running", tmp_path / f"cut-{report.step}")
    folders = list(tmp_path.glob("cut-*"))
    assert len(folders) >= 4
    for folder in folders:
        drain(training(data, folder).run())
        assert_equal(last_state(folder), last_state(whole))


def test_a_damaged_checkpoint_falls_back_to_the_one_before_says_so_and_changes_no_bit(
    data: TrainingSet, whole: Path, tmp_path: Path
) -> None:
    stop_after(training(data, tmp_path, new_voice=True).run(), 24)
    older, newest = sorted((tmp_path / "checkpoints").glob("*.ckpt"))[-2:]
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 1
    newest.write_bytes(raw)
    reports, _ = drain(training(data, tmp_path).run())
    assert newest.name in reports[0].message
    assert reports[0].step == int(older.stem[-8:])
    assert_equal(last_state(tmp_path), last_state(whole))


def test_when_every_checkpoint_is_damaged_training_does_not_start_over(
    data: TrainingSet, tmp_path: Path
) -> None:
    stop_after(training(data, tmp_path, new_voice=True).run(), 24)
    for path in (tmp_path / "checkpoints").glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="All checkpoints"):
        next(training(data, tmp_path).run())


def test_a_finished_training_ends_at_once_with_the_same_outcome(
    data: TrainingSet, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "again")
    _, first = drain(training(data, tmp_path / "again").run())
    again = training(data, tmp_path / "again")
    reports, second = drain(again.run())
    assert first == second
    assert len(reports) == 2
    assert_equal(last_state(tmp_path / "again"), last_state(whole))


def test_a_finished_training_can_be_given_more_steps(data: TrainingSet, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "more")
    _, outcome = drain(training(data, tmp_path / "more", total_steps=44).run())
    assert [score["step"] for score in outcome.scores] == [8, 16, 24, 32, 36, 40, 44]


def unlearning(data: TrainingSet, folder: Path) -> Training:
    """A training that gets worse from step 16 on, so that its patience ends it."""
    chosen = training(data, folder, new_voice=True, total_steps=400, score_every=4, patience=4)
    chosen.task = TinyTask(unlearn_from=16)
    return chosen


def test_patience_counts_on_over_an_interruption(data: TrainingSet, tmp_path: Path) -> None:
    _, whole = drain(unlearning(data, tmp_path / "whole").run())
    outcome, parts = None, 0
    while outcome is None:
        outcome, parts = stop_after(unlearning(data, tmp_path / "parts").run(), 9), parts + 1
        assert parts < 50
    assert outcome == whole
    assert outcome.reason == "patience"


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 1}, "seed"), ({"batch_size": 4}, "batch size"), ({"engine": "rvc"}, "engine")],
)
def test_a_training_cannot_go_on_with_what_would_make_it_another(
    data: TrainingSet, whole: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"another {named} .*start a new training"):
        next(training(data, whole, **changes).run())


def test_a_training_cannot_go_on_with_other_recordings(whole: Path, tmp_path: Path) -> None:
    other = tiny_training_set(tmp_path / "tones", [1.0, 1.1, 1.3])
    with pytest.raises(ConfigError, match="another set of recordings"):
        next(training(other, whole).run())


def test_when_the_best_state_is_damaged_the_newest_good_one_is_used_and_that_is_said(
    data: TrainingSet, tmp_path: Path
) -> None:
    _, before = drain(unlearning(data, tmp_path).run())
    best = tmp_path / "checkpoints" / f"step-{before.best_step:08d}.ckpt"
    best.write_bytes(best.read_bytes()[:-100])
    reports, after = drain(unlearning(data, tmp_path).run())
    assert after.best_step == before.steps
    assert f"step {before.best_step}, is damaged" in reports[-1].message


CHILD = """
import sys, torch
from pathlib import Path
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from tests.tiny_task import TinyTask, tiny_training_set
data = tiny_training_set(Path(sys.argv[1]) / "tones", [1.0, 1.2, 1.1])
torch.manual_seed(0)
settings = TrainSettings(total_steps=36, batch_size=3, score_every=8, checkpoint_every=1, threads=1)
for report in Training(TinyTask(), data, settings, Path(sys.argv[1]) / "work", report_interval_s=0).run():
    print(report.step, flush=True)
"""


@pytest.mark.slow
def test_killing_the_process_at_random_moments_changes_no_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def run(folder: Path, kill_after_reports: int | None) -> int:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", CHILD, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
            assert child.stdout is not None
            for number, _ in enumerate(child.stdout):
                if number == kill_after_reports:
                    # It writes a checkpoint after every step, so most moments are within a write.
                    time.sleep(float(random.uniform(0.0, 0.02)))
                    child.kill()
        return child.returncode

    assert run(tmp_path / "whole", None) == 0
    kills = 0
    while run(tmp_path / "killed", int(random.integers(2, 14))) != 0:
        kills += 1
        assert kills < 30
    assert kills >= 2
    assert_equal(last_state(tmp_path / "killed" / "work"), last_state(tmp_path / "whole" / "work"))
