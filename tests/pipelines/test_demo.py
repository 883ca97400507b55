"""The demonstration, with toy work in the place of the models: the same jobs, the same files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.demo import OWNER, VOICE_NAME, run_demo
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.records import Caller
from rvc.errors import NotAllowedError, RvcError
from tests.toy_worker import TOY_WORKER
from ui.server.identity import WebCaller


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir)


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    settings.data_dir.mkdir()
    jobs = Jobs(settings, worker_command=TOY_WORKER, retry_pauses_s=())
    jobs.start()
    yield jobs
    jobs.close()


def test_everybody_gets_the_demo_voice_nobody_can_change_it_and_it_is_trained_once(
    jobs: Jobs, settings: Settings
) -> None:
    said: list[str] = []
    made = run_demo(jobs, settings, say=said.append)
    assert made.converted.read_bytes()[:4] == b"RIFF"
    assert made.picture.read_bytes()[1:4] == b"PNG"
    assert {path.parent for path in (made.source, made.converted, made.picture)} == {
        settings.data_dir / "demo"
    }
    assert any("training" in line and " s" in line for line in said)
    visitor = WebCaller("anybody")
    names = [row["model_name"] for row in jobs.library.list(visitor)]
    assert names[0] == VOICE_NAME
    assert names.count(VOICE_NAME) == 1
    assert jobs.list(visitor) == []
    with pytest.raises(NotAllowedError):
        jobs.library.delete(visitor, made.model_id)
    with pytest.raises(NotAllowedError):
        jobs.library.rename(visitor, made.model_id, "Mine")
    again = run_demo(jobs, settings, say=said.append)
    assert again.model_id == made.model_id
    assert "training" not in again.seconds


def test_a_demonstration_that_fails_says_why(
    jobs: Jobs, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.demo.EXAMPLES", tmp_path)
    (tmp_path / "voice").mkdir()
    with pytest.raises(RvcError):
        run_demo(jobs, settings, say=lambda _: None)
    assert jobs.list(Caller(OWNER.user_id)) == []


def test_on_a_slow_machine_the_training_is_cut_short_and_loses_nothing(
    jobs: Jobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "150")
    monkeypatch.setenv("TOY_STEP_S", "0.02")
    monkeypatch.setattr("pipelines.demo.CALIBRATION_S", 0.3)
    monkeypatch.setattr("pipelines.demo.TRAINING_S", 0.6)
    said: list[str] = []
    made = run_demo(jobs, settings, say=said.append)
    assert any("cut to" in line for line in said)
    (training,) = (row for row in jobs.list(OWNER, type="training") if row["status"] != "uploaded")
    assert training["id"] == made.model_id
    assert training["settings"]["total_steps"] >= 60
    events = jobs.events(OWNER, training["id"])
    steps = [event["data"]["step"] for event in events if "step" in event["data"]]
    assert steps.count(0) == 1, "it went on where it was"
