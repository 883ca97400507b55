"""How work ends: each ending of a child leaves the job in the state, and with the words, that fit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs.outcome import JobOutcome, make_job_spec, resolve
from pipelines.jobs.service import Jobs
from pipelines.store.records import new_job
from rvc.errors import ConfigError, NotAllowedError
from tests.pipelines.jobs.toy_jobs import ME, Open, add_voice, submit, upload

PAUSES_S = (5.0,)


def ended(
    jobs: Jobs, folder: Path, kind: str = "conversion", attempts: int = 2, **facts: object
) -> dict[str, Any]:
    """The changes that an ending makes to a job which runs for this time."""
    row = new_job("me", kind, status="converting", seq=1, attempts=attempts)
    ending: dict[str, Any] = {"last": None, "returncode": 0, "reason": None, "ran_s": 90.0}
    return resolve(row, JobOutcome(**(ending | facts)), folder, jobs.library, PAUSES_S)


@pytest.mark.parametrize(
    ("returncode", "said"),
    [
        (-9, "SIGKILL, perhaps for want of memory"),
        (-11, "SIGSEGV"),
        (-77, "ended by signal 77"),
        (7, "exit status 7"),
        (None, "does not answer"),
    ],
)
def test_a_child_that_left_without_a_word_is_tried_again_and_then_given_up(
    jobs: Jobs, tmp_path: Path, returncode: int | None, said: str
) -> None:
    first = ended(jobs, tmp_path, attempts=1, returncode=returncode)
    assert (first["status"], first["message"]) == ("pending", "A fault; try 2 of 2 follows in 5 s")
    last = ended(jobs, tmp_path, attempts=2, returncode=returncode)
    assert (last["status"], last["dead_letter"]) == ("failed", True)
    assert said in last["error_message"]
    assert "its log is kept" in last["error_message"]


def test_what_was_asked_for_is_no_fault(jobs: Jobs, tmp_path: Path) -> None:
    for reason, status in (("cancel", "cancelled"), ("shutdown", "interrupted")):
        assert ended(jobs, tmp_path, reason=reason)["status"] == status
    stopped = {"event": "stopped"}
    assert ended(jobs, tmp_path, last=stopped)["message"] == "The worker was stopped from outside"


def test_out_of_time_a_job_that_saves_its_work_can_go_on_and_another_has_failed(
    jobs: Jobs, tmp_path: Path
) -> None:
    training = ended(jobs, tmp_path, "training", reason="timeout")
    assert (training["status"], training["completed_at"]) == ("interrupted", None)
    conversion = ended(jobs, tmp_path, reason="timeout")
    assert conversion["status"] == "failed"
    assert "2 minutes" in conversion["error_message"]


@pytest.mark.parametrize("path", ["", "result/none.wav", "../../secret.wav"])
def test_a_result_that_is_not_there_or_not_the_job_s_is_a_fault(
    jobs: Jobs, tmp_path: Path, path: str
) -> None:
    (tmp_path / "secret.wav").touch()
    folder = tmp_path / "jobs" / "one"
    folder.mkdir(parents=True)
    last = {"event": "done", "result": {"path": path, "seconds": 1.0}}
    assert "left no audio" in ended(jobs, folder, last=last)["error_message"]


def test_an_order_is_not_written_for_what_cannot_be_done(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs(allow_training=False)
    settings = jobs._settings
    job = submit(jobs, "training", upload(jobs, tmp_path))
    row = jobs.registry.get("jobs", job)
    assert row is not None
    house: dict[str, Any] = {"registry": jobs.registry, "library": jobs.library, "settings": settings}
    with pytest.raises(NotAllowedError, match="train elsewhere"):
        make_job_spec(row, tmp_path, **house)
    with pytest.raises(ConfigError, match="expired"):
        make_job_spec(row | {"type": "preprocessing", "upload_id": "0" * 32}, tmp_path, **house)


@pytest.mark.parametrize("purge", [False, True])
def test_a_voice_that_is_deleted_while_its_job_waits_fails_that_job(
    open_jobs: Open, tmp_path: Path, data_dir: Path, purge: bool
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    job = submit(jobs, "conversion", upload(jobs, tmp_path, purpose="target"))
    jobs.library.delete(ME, "voice", purge=purge)
    jobs.start()
    row = list(jobs.follow(ME, job))[-1]
    assert (row["status"], row["dead_letter"], row["attempts"]) == ("failed", False, 1)
    assert row["error_message"] == "The voice Toy was deleted; choose another."
