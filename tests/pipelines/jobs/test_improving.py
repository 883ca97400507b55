"""A voice that was made without training: it is there at once, and gets better while it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs.samples import MORE_STEPS, Samples, further_steps
from pipelines.jobs.service import Jobs
from pipelines.store.records import Caller
from pipelines.voices.bundle import read_card
from pipelines.voices.snapshots import Snapshots
from rvc.engine.options import LITE_DEFAULTS
from tests.ui.launched import VOICE_FILES, wait_for
from tests.ui.visitor import services_at

ME = Caller("me")


@pytest.fixture
def jobs(data_dir: Path) -> Any:  # noqa: ANN401
    with services_at(data_dir) as services:
        yield services.jobs


@pytest.fixture
def samples(jobs: Jobs, data_dir: Path) -> Samples:
    return Samples(jobs, data_dir / "jobs")


def made(jobs: Jobs, **settings: object) -> str:
    """Have a voice made, without training unless steps are given; return its job, whose id the voice has."""
    upload = jobs.upload(ME, [(path, path.name) for path in VOICE_FILES[:2]], "training")["id"]
    asked = {"total_steps": 0, **settings}
    job_id: str = jobs.submit(ME, "training", upload, model_name="Wren", settings=asked)["id"]
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "the voice")
    return job_id


def state_of_voice(data_dir: Path, job_id: str) -> int | None:
    best: int | None = read_card(data_dir / "models" / job_id)["training"].get("best_step")
    return best


def trained_on(jobs: Jobs, samples: Samples, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it go on for 20 steps, slowly, until some states have been scored."""
    monkeypatch.setenv("TOY_STEP_S", "0.1")
    samples.train_on(ME, job_id, 20)
    wait_for(lambda: [row["step"] for row in samples.list(ME, job_id)][-1:] == [7], "two states")


def test_the_voice_is_that_of_each_better_state_while_its_training_runs(
    jobs: Jobs, samples: Samples, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = made(jobs)
    assert samples.list(ME, job_id) == []
    jobs.library.rename(ME, job_id, "Jenny")
    trained_on(jobs, samples, job_id, monkeypatch)
    wait_for(lambda: state_of_voice(data_dir, job_id) == 7, "the better voice")
    assert jobs.get(ME, job_id)["status"] == "training"
    (voice,) = [row for row in jobs.library.list(ME) if not row["builtin"]]
    assert (voice["id"], voice["model_name"]) == (job_id, "Jenny")
    jobs.cancel(ME, job_id)
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "its end")
    step = state_of_voice(data_dir, job_id)
    result = jobs.get(ME, job_id)["result"]
    assert result["best_step"] == result["steps"] == step
    assert [row["step"] for row in samples.list(ME, job_id) if row["kept"]] == [step]
    assert further_steps(jobs.get(ME, job_id)) == MORE_STEPS


def test_a_state_that_is_no_better_and_a_voice_that_was_deleted_stay_as_they_are(
    jobs: Jobs, samples: Samples, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_WORSE", "1")
    worse = made(jobs)
    trained_on(jobs, samples, worse, monkeypatch)
    assert state_of_voice(data_dir, worse) is None
    jobs.cancel(ME, worse)
    monkeypatch.delenv("TOY_WORSE")
    deleted = made(jobs)
    jobs.delete_voice(ME, deleted)
    trained_on(jobs, samples, deleted, monkeypatch)
    assert [row["id"] for row in jobs.library.list(ME, deleted=True)] == [deleted]


def test_a_voice_that_was_trained_before_waits_for_the_end(
    jobs: Jobs, samples: Samples, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "3")
    job_id = made(jobs, total_steps=None)
    monkeypatch.setenv("TOY_STEP_S", "0.1")
    samples.train_on(ME, job_id, 17)
    wait_for(lambda: bool(samples.list(ME, job_id)), "a state")
    assert state_of_voice(data_dir, job_id) is None
    jobs.cancel(ME, job_id)


def test_a_disk_that_is_full_leaves_the_voice_as_it_was_and_the_training_goes_on(
    jobs: Jobs, samples: Samples, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Snapshots, step: int, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    job_id = made(jobs)
    monkeypatch.setattr(Snapshots, "bundle", full)
    trained_on(jobs, samples, job_id, monkeypatch)
    assert state_of_voice(data_dir, job_id) is None
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "its end")
    assert [path.name for path in (data_dir / "models").iterdir()] == [job_id]


def test_it_is_trained_on_for_as_many_steps_as_suit_its_recordings(jobs: Jobs, samples: Samples) -> None:
    job_id = made(jobs)
    row = samples.train_on(ME, job_id)
    assert row["settings"]["total_steps"] == LITE_DEFAULTS.training_steps(0.0)
    assert row["settings"]["patience_from"] == 0
    jobs.cancel(ME, job_id)
