"""What a person may do with the states of a training: hear them, keep one, train on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs import service
from pipelines.jobs.samples import Samples
from pipelines.jobs.service import Jobs
from pipelines.store.records import Caller
from pipelines.voices.bundle import read_card
from pipelines.voices.snapshots import Snapshots
from rvc.errors import ConfigError, LimitError, NotAllowedError, UnknownNameError
from tests.ui.launched import VOICE_FILES, wait_for
from tests.ui.visitor import services_at
from ui.tabs.jobs import offered

ME, STRANGER = Caller("me"), Caller("somebody else")


@pytest.fixture
def jobs(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    monkeypatch.setenv("TOY_STEPS", "20")
    with services_at(data_dir) as services:
        yield services.jobs


@pytest.fixture
def samples(jobs: Jobs, data_dir: Path) -> Samples:
    return Samples(jobs, data_dir / "jobs")


def trained(jobs: Jobs, status: str = "completed", **settings: object) -> str:
    """Train a voice of toy size until it is completed, or has been stopped at its first samples."""
    upload = jobs.upload(ME, [(path, path.name) for path in VOICE_FILES[:2]], "training")["id"]
    job_id: str = jobs.submit(ME, "training", upload, model_name="Wren", settings=settings)["id"]
    if status == "cancelled":
        wait_for(lambda: jobs.get(ME, job_id)["progress"] > 0.5, "samples")
        jobs.cancel(ME, job_id)
    wait_for(lambda: jobs.get(ME, job_id)["status"] == status, status)
    return job_id


def test_the_states_are_listed_with_the_best_the_newest_and_the_one_that_is_the_voice(
    jobs: Jobs, samples: Samples
) -> None:
    job_id = trained(jobs)
    rows = samples.list(ME, job_id)
    assert [row["step"] for row in rows] == [3, 7, 11, 15, 19]
    distances = [row["distance_db"] for row in rows]
    assert distances == sorted(distances, reverse=True)
    assert [row["best"] for row in rows] == [row["newest"] for row in rows] == [False] * 4 + [True]
    assert samples.path(ME, job_id, 7).name == "000007.wav"
    assert samples.path(ME, job_id, 0).name == "reference.wav"
    for asked in (lambda: samples.list(STRANGER, job_id), lambda: samples.keep(STRANGER, job_id, 7)):
        with pytest.raises(UnknownNameError, match="no job"):
            asked()
    for step in (5, 10**9):
        with pytest.raises(UnknownNameError, match="no sample of step"):
            samples.path(ME, job_id, step)
    for wrong in (-1, 1.5, float("nan"), float("inf"), 10**400, "3", True, None):
        with pytest.raises(ConfigError, match="is no whole number from"):
            samples.keep(ME, job_id, wrong)  # type: ignore[arg-type]


def test_a_kept_state_takes_the_place_of_the_voice_under_the_name_that_it_has_now(
    jobs: Jobs, samples: Samples, data_dir: Path
) -> None:
    job_id = trained(jobs)
    jobs.library.rename(ME, job_id, "Jenny")
    for step in (7, 11):
        model = samples.keep(ME, job_id, step)
        assert (model["id"], model["model_name"]) == (job_id, "Jenny")
        assert read_card(data_dir / "models" / job_id)["training"]["best_step"] == step
        assert [row["step"] for row in samples.list(ME, job_id) if row["kept"]] == [step]
    assert len([row for row in jobs.library.list(ME) if not row["builtin"]]) == 1
    with pytest.raises(UnknownNameError, match="step 8 was not kept"):
        samples.keep(ME, job_id, 8)
    assert read_card(data_dir / "models" / job_id)["training"]["best_step"] == 11
    jobs.delete_voice(ME, job_id, purge=True)
    assert samples.keep(ME, job_id, 7)["model_name"] == "Wren"


def test_a_state_that_finds_no_room_is_not_kept_and_nobody_waits_for_the_copy(
    jobs: Jobs, samples: Samples, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = trained(jobs)
    before = read_card(data_dir / "models" / job_id)
    index = data_dir / "jobs" / job_id / "work" / "snapshots" / "index.faiss"
    index.write_bytes(bytes(1_000_000))
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.users.limits.room_in", lambda _: 999_999)
        with pytest.raises(LimitError, match="no room for this voice on the server's disk"):
            samples.keep(ME, job_id, 7)
        patched.setattr(jobs.quota, "limit_bytes", jobs.quota.used("me").total + 999_999)
        with pytest.raises(LimitError, match="no room for this: of your"):
            samples.keep(ME, job_id, 7)
    assert read_card(data_dir / "models" / job_id) == before
    free: list[bool] = []

    def look() -> None:
        free.append(jobs.lock.acquire(timeout=1))
        if free[-1]:
            jobs.lock.release()

    def copied(self: Snapshots, step: int, folder: Path) -> None:
        with ThreadPoolExecutor(1) as other:
            other.submit(look)
        copy(self, step, folder)

    copy = Snapshots.bundle
    monkeypatch.setattr(Snapshots, "bundle", copied)
    assert samples.keep(ME, job_id, 7)["size_bytes"] > 1_000_000
    assert free == [True]
    assert [path.name for path in (data_dir / "models").iterdir()] == [job_id]


def test_a_voice_keeps_what_its_owner_has_set_whatever_state_it_is_in(
    jobs: Jobs, samples: Samples, data_dir: Path
) -> None:
    job_id = trained(jobs)
    preset = {"name": "Choir", "settings": {"transpose_semitones": 5}}
    jobs.library.set_presets(ME, job_id, [preset])
    jobs.library.set_pitch(ME, job_id, pitch := {"median_hz": 300.0, "low_hz": 200.0, "high_hz": 600.0})
    (data_dir / "jobs" / job_id / "work" / "snapshots" / "00000007" / "sample.mp3").write_bytes(b"heard")

    def is_as_set() -> None:
        row, card = jobs.library.get(ME, job_id), read_card(data_dir / "models" / job_id)
        assert (row["presets"], row["f0"]) == (card["presets"], card["f0"]) == ([preset], pitch)

    assert samples.keep(ME, job_id, 7)["has_sample"]
    is_as_set()
    samples.train_on(ME, job_id, 30)
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "its end")
    assert read_card(data_dir / "models" / job_id)["training"] == {"seconds_of_audio": 1.5}  # it is new
    is_as_set()


def test_a_state_of_a_training_that_was_stopped_becomes_a_voice_beside_and_the_training_goes_on(
    jobs: Jobs, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = trained(jobs, "cancelled", step_s=0.1)
    step = samples.list(ME, job_id)[0]["step"]
    names = [samples.keep(ME, job_id, step)["model_name"] for _ in range(2)]
    assert names == [f"Wren, step {step}", f"Wren, step {step} (2)"]
    jobs.resume(ME, job_id)
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "its end")
    made = [row for row in jobs.library.list(ME) if not row["builtin"]]
    assert {row["model_name"] for row in made} == {"Wren", *names}
    assert {row["training_job_id"] for row in made} == {job_id}


def test_a_completed_training_goes_on_and_makes_its_voice_better(jobs: Jobs, samples: Samples) -> None:
    job_id = trained(jobs)
    jobs.library.rename(ME, job_id, "Jenny")
    estimates = jobs.dispatcher.estimates
    with jobs.lock:  # nobody begins it meanwhile
        row = samples.train_on(ME, job_id, 30)
        assert (row["status"], row["progress"]) == ("pending", 0.4)
        stored = jobs.registry.list("jobs", id=job_id)[0]
        assert estimates._plan(stored, "lite", warm=False)["step"] == pytest.approx(30)
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "its end")
    row = jobs.get(ME, job_id)
    assert (row["result"]["start"], row["result"]["steps"]) == (20, 50)
    assert samples.list(ME, job_id)[-1]["step"] > 20
    (made,) = [row for row in jobs.library.list(ME) if not row["builtin"]]
    assert (made["id"], made["model_name"]) == (job_id, "Jenny")
    with pytest.raises(NotAllowedError, match="completed"):
        jobs.resume(ME, job_id)


@pytest.mark.parametrize("when", ["it waits", "it runs"])
def test_a_training_that_was_to_go_on_and_is_stopped_is_completed_as_before(
    jobs: Jobs, samples: Samples, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    job_id = trained(jobs)
    before = jobs.get(ME, job_id)
    monkeypatch.setenv("TOY_STEP_S", "0.1")
    with jobs.lock:  # whoever would begin it waits
        samples.train_on(ME, job_id, 30)
        if when == "it waits":
            jobs.cancel(ME, job_id)
    if when == "it runs":
        wait_for(lambda: samples.list(ME, job_id)[-1]["step"] > 20, "a further state")
        jobs.cancel(ME, job_id)
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "its end")
    after = jobs.get(ME, job_id)
    same = ("result", "model_id", "progress", "stage", "error_message")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert samples.keep(ME, job_id, samples.list(ME, job_id)[-1]["step"])["id"] == job_id
    with pytest.raises(NotAllowedError, match="This job is completed"):
        jobs.retry(ME, job_id)
    monkeypatch.setenv("TOY_STEP_S", "0")
    samples.train_on(ME, job_id, 60)
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "its end")
    assert (jobs.get(ME, job_id)["result"]["start"] > 20) == (when == "it runs")


def test_a_training_that_was_to_go_on_and_fails_keeps_what_it_has_learned(
    jobs: Jobs, samples: Samples, data_dir: Path
) -> None:
    job_id = trained(jobs)
    (data_dir / "jobs" / job_id / "work" / "step.txt").write_text("0")  # where the toy fails
    with jobs.lock:
        longer = samples.train_on(ME, job_id, 30)["settings"]
        jobs.registry.update("jobs", job_id, settings=longer | {"fault": "input"})
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "failed", "its end")
    assert offered(jobs.get(ME, job_id)) == (False, True, False)
    assert samples.keep(ME, job_id, 7)["id"] == job_id
    jobs.registry.update("jobs", job_id, settings=longer)
    jobs.retry(ME, job_id)
    wait_for(lambda: jobs.get(ME, job_id)["status"] == "completed", "its end")
    assert {3, 7, 11} < {row["step"] for row in samples.list(ME, job_id)}


def test_what_cannot_be_trained_on_is_refused(jobs: Jobs, samples: Samples) -> None:
    stopped = trained(jobs, "cancelled", step_s=0.1)
    with pytest.raises(NotAllowedError, match="one that was stopped is resumed"):
        samples.train_on(ME, stopped, 10)
    job_id = trained(jobs)
    for steps, said in ((0, "from 1 on"), (10**6, "more than 1,000,000"), ("x", "whole number")):
        with pytest.raises(ConfigError, match=said):
            samples.train_on(ME, job_id, steps)  # type: ignore[arg-type]
    upload = jobs.get(ME, job_id)["input_job_id"]
    with pytest.raises(NotAllowedError, match="no training"):
        samples.list(ME, upload)
    assert jobs.get(ME, job_id)["status"] == "completed"


def test_a_training_that_was_refused_more_steps_is_as_it_was(
    jobs: Jobs, samples: Samples, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = trained(jobs)
    before = jobs.get(ME, job_id)
    with monkeypatch.context() as patched:
        patched.setattr(service, "MAX_PENDING_PER_USER", 0)
        with pytest.raises(NotAllowedError, match="jobs waiting"):
            samples.train_on(ME, job_id, 30)
    assert jobs.get(ME, job_id) == before
    for again in (jobs.retry, jobs.resume):
        with pytest.raises(NotAllowedError, match="This job is completed"):
            again(ME, job_id)
    assert (data_dir / "jobs" / job_id / "work" / "snapshots").is_dir()
    assert samples.train_on(ME, job_id, 30)["settings"]["total_steps"] == 50
