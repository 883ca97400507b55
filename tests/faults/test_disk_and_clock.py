"""A full disk and a clock that was put back: what was there stays, and work goes on when it can."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.jobs.processes import WORKER_COMMAND
from pipelines.jobs.schedule import next_job
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.records import new_job
from pipelines.store.storage import JournaledStorage
from tests.faults.life import ME, TRAINING, recordings
from tests.faults.scenario import left_over
from tests.faults.work import FULL_DISK_VARIABLE

FAULT_WORKER = (*WORKER_COMMAND, "--tasks", "tests.faults.work")
Open = Callable[[], Jobs]


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that fills the disk while it exists: for the registry here, for checkpoints in the worker."""
    path = tmp_path / "full"
    append = JournaledStorage.append

    def refusing(storage: JournaledStorage, line: bytes) -> None:
        if path.exists() and path.read_text() == "registry":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(storage, line)

    monkeypatch.setattr(JournaledStorage, "append", refusing)
    monkeypatch.setenv(FULL_DISK_VARIABLE, str(tmp_path / "full-for-checkpoints"))
    return path


@pytest.fixture
def jobs(data_dir: Path, full_disk: Path) -> Iterator[Jobs]:
    """Jobs whose work is the real pipelines at toy size."""
    opened = Jobs(Settings(data_dir=data_dir), worker_command=FAULT_WORKER, retry_pauses_s=(0.05,))
    opened.start()
    yield opened
    opened.close()


def uploaded(jobs: Jobs, folder: Path) -> str:
    """The id of an uploaded voice."""
    voice, _ = recordings(folder)
    return str(jobs.upload(ME, [(voice, "voice.wav")], "training")["id"])


def test_what_is_asked_for_on_a_full_disk_leaves_nothing_and_succeeds_later(
    jobs: Jobs, full_disk: Path, data_dir: Path, tmp_path: Path
) -> None:
    upload = uploaded(jobs, tmp_path / "outside")
    full_disk.write_text("registry")
    with pytest.raises(OSError, match="No space left"):
        jobs.submit(ME, "preprocessing", upload)
    with pytest.raises(OSError, match="No space left"):
        uploaded(jobs, tmp_path / "outside")
    assert [row["id"] for row in jobs.list(ME)] == [upload]
    full_disk.unlink()
    job = jobs.submit(ME, "preprocessing", upload)
    assert list(jobs.follow(ME, job["id"]))[-1]["status"] == "completed"
    jobs.close()
    assert left_over(data_dir) == []


def test_a_state_that_cannot_be_written_down_is_written_when_there_is_room(
    jobs: Jobs, full_disk: Path, tmp_path: Path
) -> None:
    job = jobs.submit(ME, "preprocessing", uploaded(jobs, tmp_path / "outside"))
    seen = []
    for row in jobs.follow(ME, job["id"]):
        seen.append(row["status"])
        if row["status"] == "preprocessing" and not full_disk.exists() and seen.count("preprocessing") == 1:
            full_disk.write_text("registry")
            time.sleep(3)  # long enough that the work is over before the disk has room
            full_disk.unlink()
    assert seen[-1] == "completed"


def test_a_training_that_cannot_save_is_parked_and_resumed_with_nothing_lost(
    jobs: Jobs, data_dir: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full-for-checkpoints"
    full.touch()
    upload = uploaded(jobs, tmp_path / "outside")
    job = jobs.submit(ME, "training", upload, model_name="Mine", settings=TRAINING)
    row = list(jobs.follow(ME, job["id"]))[-1]
    assert (row["status"], row["dead_letter"], row["attempts"]) == ("failed", True, 2)
    assert "No space left" in row["error_message"]
    assert not list((data_dir / "jobs" / job["id"]).rglob("*.partial"))
    full.unlink()
    jobs.resume(ME, job["id"])
    assert list(jobs.follow(ME, job["id"]))[-1]["status"] == "completed"


def test_a_clock_that_was_put_back_makes_no_job_wait() -> None:
    """A try that failed before rests by the wall clock, which may since have been put back by days."""
    row = new_job("me", "conversion", status="pending", seq=1, upload_id="u")
    rests, later = 1_000_000.0, 86_400.0
    assert next_job("conversion", [row | {"not_before": rests}], [], rests - 10) is None
    assert next_job("conversion", [row | {"not_before": rests}], [], rests - later) is not None


def test_order_follows_from_numbers_and_not_from_the_clock() -> None:
    rows = [
        new_job("me", "conversion", status="pending", seq=seq, upload_id="u") | {"created_at": created}
        for seq, created in ((2, "2020-01-01"), (1, "2030-01-01"))
    ]
    first = next_job("conversion", rows, [], 0.0)
    assert first is not None
    assert first["seq"] == 1
