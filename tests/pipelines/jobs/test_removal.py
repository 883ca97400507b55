"""Deleting jobs for good, or into the trash for a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.jobs.cleanup import find, remove
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.backup import back_up, restore
from pipelines.store.records import as_text
from pipelines.store.registry import Registry
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
    assert jobs.remove(ME, first, purge=True)["id"] == first
    assert folders(data_dir) == {source, second, other}
    with pytest.raises(NotAllowedError, match="1 of your jobs work on this upload"):
        jobs.remove(ME, source)
    jobs.remove(ME, second, purge=True)
    assert folders(data_dir) == {other}
    assert jobs.list(ME) == []
    jobs.remove(ADMIN, other, purge=True)
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
    jobs.remove(ME, check, purge=True)
    assert folders(data_dir) == {source, training}


def test_other_people_s_jobs_are_like_none(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs()
    mine = upload(jobs, tmp_path)
    for job in (mine, "0" * 32, "../x"):
        with pytest.raises(UnknownNameError, match="There is no job"):
            jobs.remove(OTHER, job)
        with pytest.raises(UnknownNameError, match="There is no job"):
            jobs.restore(OTHER, job)
    assert jobs.get(ME, mine)["id"] == mine


def ended(jobs: Jobs, tmp_path: Path) -> tuple[str, str]:
    """An upload of mine, and a job on it that has ended."""
    source = upload(jobs, tmp_path)
    job = submit(jobs, "preprocessing", source)
    jobs.cancel(ME, job)
    return source, job


def ago(hours: float) -> str:
    return as_text(datetime.now(UTC) - timedelta(hours=hours))


def test_a_job_of_the_trash_is_hidden_and_comes_back_whole_with_its_upload(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    source, job = ended(jobs, tmp_path)
    used = jobs.quota.used("me").jobs
    gone = jobs.remove(ME, job)
    assert gone["purge_at"] > gone["deleted_at"]
    assert jobs.list(ME) == []
    assert {row["id"] for row in jobs.list(ME, deleted=True)} == {source, job}
    assert jobs.list(OTHER, deleted=True) == []
    assert folders(data_dir) == {source, job}
    assert jobs.quota.used("me").jobs == used
    for act in (jobs.get, jobs.remove, jobs.retry, jobs.files.log):
        with pytest.raises(UnknownNameError, match="was deleted; restore it"):
            act(ME, job)
    with pytest.raises(UnknownNameError, match="was deleted"):
        submit(jobs, "preprocessing", source)
    back = jobs.restore(ME, job)
    assert (back["id"], back["deleted_at"], back["purge_at"]) == (job, None, None)
    assert {row["id"] for row in jobs.list(ME)} == {source, job}
    with pytest.raises(NotAllowedError, match="nothing to restore"):
        jobs.restore(ME, job)
    assert jobs.retry(ME, job)["status"] == "pending"


def test_the_upload_stays_in_the_trash_while_a_job_of_the_trash_needs_it(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    source, first = ended(jobs, tmp_path)
    second = submit(jobs, "preprocessing", source)
    jobs.cancel(ME, second)
    jobs.remove(ME, first)
    assert {row["id"] for row in jobs.list(ME)} == {source, second}
    jobs.remove(ME, second, purge=True)
    assert folders(data_dir) == {source, first}
    assert jobs.restore(ME, first)["id"] == first
    jobs.remove(ME, first)
    jobs.remove(ME, source, purge=True)
    assert folders(data_dir) == set(), "an upload that goes for good takes along what worked on it"


def test_the_clean_up_takes_a_job_after_its_day_and_not_before(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs, settings = open_jobs(), Settings(data_dir=data_dir)
    old, new = ended(jobs, tmp_path), ended(jobs, tmp_path)
    for (source, job), hours in ((old, 24.1), (new, 23.9)):
        jobs.remove(ME, job)
        # Long past its time otherwise: the trash keeps it for its day all the same.
        jobs.registry.update_many("jobs", [source, job], deleted_at=ago(hours), updated_at=ago(9_000))
        jobs.registry.update_many("jobs", [source, job], created_at=ago(9_000))
    named = find(jobs.registry, settings)
    assert {row["id"] for row in named.deleted} == set(old)
    assert named.sentence(done=False).startswith("A clean-up would remove 2 deleted jobs or uploads: ")
    assert remove(jobs.registry, settings) == named
    assert folders(data_dir) == set(new)
    assert jobs.restore(ME, new[1])["id"] == new[1]


def test_a_deletion_that_lies_ahead_counts_from_now(open_jobs: Open, tmp_path: Path, data_dir: Path) -> None:
    jobs = open_jobs()
    _, job = ended(jobs, tmp_path)
    jobs.remove(ME, job)
    jobs.registry.update("jobs", job, deleted_at=ago(-400 * 24))
    remove(jobs.registry, Settings(data_dir=data_dir))
    assert all(ago(0.1) < row["deleted_at"] <= ago(0) for row in jobs.list(ME, deleted=True))


def test_a_backup_that_is_put_back_gives_the_trash_its_day_again(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    _, job = ended(jobs, tmp_path)
    jobs.remove(ME, job)
    jobs.registry.update("jobs", job, deleted_at=ago(23))
    jobs.close()
    back_up(data_dir, tmp_path / "copy.json")
    restore(data_dir, tmp_path / "copy.json")
    registry = Registry(data_dir)
    assert registry.list("jobs", id=job)[0]["deleted_at"] > ago(1)
    registry.close()
