"""Deleting jobs for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvc.errors import NotAllowedError, UnknownNameError
from tests.pipelines.jobs.toy_jobs import ADMIN, ME, OTHER, Open, submit, upload


def folders(data_dir: Path) -> set[str]:
    return {path.name for path in (data_dir / "jobs").iterdir()}


def test_a_job_goes_with_its_files_and_the_upload_with_the_last_of_them(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    source, other = upload(jobs, tmp_path), upload(jobs, tmp_path, OTHER)
    first, second = (submit(jobs, "preprocessing", source) for _ in range(2))
    for job in (first, second):
        jobs.cancel(ME, job)
    assert jobs.remove(ME, first)["id"] == first
    assert folders(data_dir) == {source, second, other}
    with pytest.raises(NotAllowedError, match="1 of your jobs work on this upload"):
        jobs.remove(ME, source)
    jobs.remove(ME, second)
    assert folders(data_dir) == {other}
    assert jobs.list(ME) == []
    jobs.remove(ADMIN, other)
    assert folders(data_dir) == set()


def test_what_waits_or_is_needed_stays(open_jobs: Open, tmp_path: Path, data_dir: Path) -> None:
    jobs = open_jobs()
    source = upload(jobs, tmp_path)
    check = submit(jobs, "preprocessing", source)
    with pytest.raises(NotAllowedError, match="is pending; stop it first"):
        jobs.remove(ME, check)
    jobs.cancel(ME, check)
    training = submit(jobs, "training", check)
    with pytest.raises(NotAllowedError, match="started from this one"):
        jobs.remove(ME, check)
    jobs.cancel(ME, training)
    jobs.remove(ME, check)
    assert folders(data_dir) == {source, training}


def test_other_people_s_jobs_are_like_none(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs()
    mine = upload(jobs, tmp_path)
    for job in (mine, "0" * 32, "../x"):
        with pytest.raises(UnknownNameError, match="There is no job"):
            jobs.remove(OTHER, job)
    assert jobs.get(ME, mine)["id"] == mine
