"""Deleting a voice that jobs use: it is said first, and when it is done all the same, they fail plainly."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rvc.errors import NotAllowedError, RvcError, UnknownNameError
from tests.pipelines.jobs.toy_jobs import ADMIN, ME, OTHER, Open, add_voice, end_of, submit, until, upload

GONE = "The voice Toy was deleted; choose another."


def test_the_jobs_that_use_a_voice_are_counted_and_it_stays(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    target, many = upload(jobs, tmp_path, purpose="target"), upload(jobs, tmp_path, purpose="batch")
    waiting = [submit(jobs, "conversion", target) for _ in range(2)]
    submit(jobs, "batch", many)
    submit(jobs, "preprocessing", upload(jobs, tmp_path))
    jobs.cancel(ME, submit(jobs, "conversion", target))
    for purge in (False, True):
        with pytest.raises(NotAllowedError, match=r"Toy is in use by 2 conversions and 1 batch; .* force"):
            jobs.delete_voice(ME, "voice", purge=purge)
    with pytest.raises(UnknownNameError, match="There is no voice 'voice'"):
        jobs.delete_voice(OTHER, "voice", force=True)
    assert jobs.library.get(ME, "voice")["deleted_at"] is None
    assert [jobs.get(ME, job)["status"] for job in waiting] == ["pending", "pending"]
    for job in waiting:
        jobs.cancel(ME, job)
    assert jobs.use_of("voice") == "1 batch"


@pytest.mark.parametrize("purge", [False, True])
def test_by_force_what_waits_and_what_runs_fails_with_the_reason(
    open_jobs: Open, tmp_path: Path, data_dir: Path, purge: bool
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    jobs.start()
    target, many = upload(jobs, tmp_path, purpose="target"), upload(jobs, tmp_path, purpose="batch")
    sources = {"conversion": target, "batch": many}
    running = [submit(jobs, kind, sent, steps=3_000, step_s=0.02) for kind, sent in sources.items()]
    until(lambda: {jobs.get(ME, job)["status"] for job in running} == {"converting"}, "the jobs to run")
    waiting = [submit(jobs, "conversion", target), submit(jobs, "conversion", target, ADMIN)]
    jobs.delete_voice(ME, "voice", force=True, purge=purge)
    for job in (*waiting, *running):
        row = end_of(jobs, job, "failed")
        assert (row["error_message"], row["dead_letter"]) == (GONE, False)
        assert row["attempts"] == (1 if job in running else 0)
    for ask in (jobs.retry, jobs.resume):
        with pytest.raises(UnknownNameError) as refusal:
            ask(ME, running[0])
        assert str(refusal.value) == GONE
    with pytest.raises(UnknownNameError):
        submit(jobs, "conversion", target)


def test_a_voice_that_came_back_speaks_in_the_jobs_that_had_failed(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    job = submit(jobs, "conversion", upload(jobs, tmp_path, purpose="target"))
    jobs.delete_voice(ME, "voice", force=True)
    jobs.restore_voice(ME, "voice")
    jobs.retry(ME, job)
    jobs.start()
    end_of(jobs, job)


def test_a_voice_whose_files_are_gone_fails_its_job_at_once(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    job = submit(jobs, "conversion", upload(jobs, tmp_path, purpose="target"))
    (data_dir / "models" / "voice" / "model.safetensors").unlink()
    jobs.start()
    row = end_of(jobs, job, "failed")
    assert "files of the voice Toy are no longer on the server's disk" in row["error_message"]
    assert (row["dead_letter"], row["attempts"]) == (False, 1)


def test_who_deletes_and_who_converts_at_the_same_time_both_get_an_answer(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    jobs.start()
    target = upload(jobs, tmp_path, purpose="target")
    begin = threading.Barrier(3)

    def convert() -> list[str | RvcError]:
        """Ask for fifteen conversions; return the id of each, or how it was refused."""
        begin.wait()
        answers: list[str | RvcError] = []
        for _ in range(15):
            try:
                answers.append(submit(jobs, "conversion", target, steps=1))
            except RvcError as error:
                answers.append(error)
        return answers

    def delete() -> None:
        begin.wait()
        for _ in range(2):
            jobs.delete_voice(ME, "voice", force=True)
            jobs.restore_voice(ME, "voice")
        jobs.delete_voice(ME, "voice", force=True, purge=True)

    with ThreadPoolExecutor(3) as pool:
        converting, deleting = [pool.submit(convert) for _ in range(2)], pool.submit(delete)
    deleting.result()
    answers = [answer for work in converting for answer in work.result()]
    assert all("voice" in str(answer) for answer in answers if isinstance(answer, RvcError))
    for row in [list(jobs.follow(ME, answer))[-1] for answer in answers if isinstance(answer, str)]:
        assert row["status"] == "completed" or (row["status"], row["error_message"]) == ("failed", GONE)
    assert not (data_dir / "models" / "voice").exists()
