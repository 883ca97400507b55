"""Trainings over several processes of this machine, as jobs ask for them with the setting gpus."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.jobs.intake import Intake
from pipelines.jobs.service import Jobs
from pipelines.monitoring import Gpu
from pipelines.settings import Settings
from rvc.errors import ConfigError
from tests.pipelines.jobs.toy_jobs import ME, end_of, exists, until
from tests.pipelines.toy_rvc import (
    SETTINGS,
    WORKER,
    recording,
    require_equal_but_for_rounding,
    weights_folder,
)
from tests.process_tree import descendants, wait_for

pytestmark = pytest.mark.timeout(900)  # several processes load torch, maybe beside other work
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="tells processes by /proc")
PATIENCE_S = 240.0


@pytest.fixture
def jobs(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Jobs whose children know RVC's engine at toy size."""
    monkeypatch.setenv("WEIGHTS_DIR", str(weights_folder(tmp_path / "weights")))
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = Settings(data_dir=data_dir, cancel_grace_s=30.0, max_gpus=2)
    jobs = Jobs(settings, worker_command=WORKER, retry_pauses_s=(0.05, 0.05))
    jobs.start()
    yield jobs
    jobs.close()


def begun(jobs: Jobs, folder: Path, **settings: object) -> str:
    upload = jobs.upload(ME, [(recording(folder / "me.wav"), "me.wav")], "training")["id"]
    asked = SETTINGS | {"consent": True} | settings
    intake = Intake(settings=jobs._settings, jobs=jobs)
    return str(intake.submit(ME, "training", upload, asked, model_name="Me")["id"])


def step_of(jobs: Jobs, job_id: str) -> int:
    return max((event["data"].get("step", 0) for event in jobs.events(ME, job_id)), default=0)


def other_ranks_of(jobs: Jobs) -> set[int]:
    """What the workers have started."""
    return {child for pid in jobs.dispatcher.health()["pids"] for child in descendants(pid)}


def long_training(jobs: Jobs, folder: Path) -> tuple[str, set[int]]:
    """One that would go on for hours, once it has taken some steps; with its further processes."""
    job = begun(jobs, folder, total_steps=100_000, score_every=50_000, gpus=2)
    assert wait_for(lambda: step_of(jobs, job) >= 3, PATIENCE_S), jobs.get(ME, job)
    others = other_ranks_of(jobs)
    assert len(others) == 1
    return job, others


def test_two_processes_train_the_voice_of_one(jobs: Jobs, data_dir: Path, tmp_path: Path) -> None:
    alone, together = (begun(jobs, tmp_path, gpus=gpus) for gpus in (1, 2))
    for job in (alone, together):
        row = end_of(jobs, job)
        assert row["attempts"] == 1, jobs.files.log(ME, job)
        assert jobs.library.get(ME, row["model_id"])["engine"] == "rvc"
    one, two = (data_dir / "jobs" / job / "work" for job in (alone, together))
    require_equal_but_for_rounding(one, two, steps=2)
    losses = [
        [event["data"]["losses"] for event in jobs.events(ME, job) if event["data"].get("losses")][-1]
        for job in (alone, together)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@on_linux
def test_what_is_cancelled_leaves_no_process(jobs: Jobs, tmp_path: Path) -> None:
    job, others = long_training(jobs, tmp_path)
    asked_s = time.monotonic()
    jobs.cancel(ME, job)
    end_of(jobs, job, "cancelled")
    assert time.monotonic() - asked_s < 5.0
    assert wait_for(lambda: not any(map(exists, others)), 2.0)


@on_linux
@pytest.mark.parametrize("end", ["server", "worker"])
def test_when_the_server_or_the_worker_dies_no_process_is_left(jobs: Jobs, tmp_path: Path, end: str) -> None:
    job, others = long_training(jobs, tmp_path)
    if end == "server":
        jobs.dispatcher._running[job].worker.close()  # all that a worker sees of the server's death
    else:
        (pid,) = jobs.dispatcher.health()["pids"]
        os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not any(map(exists, others)), 10.0)
    jobs.cancel(ME, job)


@on_linux
def test_a_training_whose_rank_dies_goes_on_from_its_last_checkpoint(jobs: Jobs, tmp_path: Path) -> None:
    job = begun(jobs, tmp_path, total_steps=16, score_every=16, gpus=2)
    assert wait_for(lambda: step_of(jobs, job) >= 3, PATIENCE_S), jobs.get(ME, job)
    (other,) = other_ranks_of(jobs)
    os.kill(other, signal.SIGKILL)
    until(lambda: jobs.get(ME, job)["attempts"] == 2, "its second try")
    assert end_of(jobs, job)["attempts"] == 2
    assert "process 1 of those that train together was lost" in jobs.files.log(ME, job)
    steps = [event["data"]["step"] for event in jobs.events(ME, job) if "step" in event["data"]]
    assert steps.count(1) <= 1, "it went on from a checkpoint and did not begin anew"


def test_a_rank_that_refuses_fails_the_training_in_its_own_words(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_RVC_REFUSES", "1")
    row = end_of(jobs, begun(jobs, tmp_path, gpus=2), "failed")
    assert (row["attempts"], row["error_message"]) == (1, "Process 1 has no memory for this; give it more.")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"engine": "lite", "gpus": 2}, "'gpus' is for the engine 'rvc' alone"),
        ({"engine": "rvc", "gpus": 0}, "'gpus' is 0; give a whole number from 1 to 64"),
        ({"engine": "rvc", "gpus": 65}, "'gpus' is 65; give a whole number from 1 to 64"),
        ({"engine": "rvc", "gpus": 2, "batch_size": 5}, "batch of 5 cannot be divided among 2"),
        ({"engine": "rvc", "gpus": 4}, "A training has 2 GPUs at most here, not 4; ask for no more"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_kept(
    settings: dict[str, object], sentence: str, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = [Gpu(index=at, name="Toy", memory_bytes=None, used_bytes=None, load=None) for at in range(2)]
    monkeypatch.setattr("pipelines.jobs.intake.MACHINE.gpus", lambda: gpus)
    intake = Intake(settings=jobs._settings, jobs=jobs)
    path = recording(tmp_path / "me.wav")
    asked = {"consent": True, "from_scratch": True, **settings}
    if settings["engine"] == "lite":
        del asked["from_scratch"]
    with pytest.raises(ConfigError, match=sentence):
        intake.send_and_submit(ME, [(path, "me.wav")], "training", asked, model_name="Me")
    assert not jobs.list(ME)
    assert not list((jobs._settings.data_dir / "jobs").iterdir())


def test_without_gpus_a_training_is_not_spread_over_processes_unless_the_operator_says_so(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.jobs.intake.MACHINE.gpus", list)
    jobs = Jobs(Settings(data_dir=data_dir), worker_command=WORKER)
    intake = Intake(settings=jobs._settings, jobs=jobs)
    asked = {"engine": "rvc", "gpus": 2, "batch_size": 2, "from_scratch": True, "consent": True}
    with pytest.raises(ConfigError, match="A training has 1 GPUs at most here, not 2"):
        intake.submit(ME, "training", "none", asked, model_name="Me")
    jobs.close()
