from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs.outcome import make_job_spec
from pipelines.jobs.service import Jobs
from pipelines.store.storage import JournaledStorage
from rvc.errors import ConfigError, NotAllowedError
from rvc.files import ROOT
from tests.pipelines.jobs.toy_jobs import (
    ME,
    Open,
    add_voice,
    computed,
    end_of,
    exists,
    submit,
    turns,
    until,
    upload,
)


def test_each_class_goes_in_order_conversions_first_and_never_two_compute_at_once(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    source = upload(jobs, tmp_path)
    trainings = [submit(jobs, "training", source, steps=6, step_s=0.03) for _ in range(3)]
    conversions = [submit(jobs, "conversion", source, steps=3, step_s=0.03) for _ in range(3)]
    assert [jobs.get(ME, job)["position"] for job in trainings] == [1, 2, 3]
    assert [jobs.get(ME, job)["position"] for job in conversions] == [1, 2, 3]
    jobs.start()
    ended = {job: end_of(jobs, job) for job in [*trainings, *conversions]}
    for (_, end, one), (begin, _, next_one) in pairwise(computed(data_dir)):
        assert begin >= end or one == next_one
    order = turns(data_dir)
    assert [job for job in dict.fromkeys(order) if job in trainings] == trainings
    # The conversions, which come first, follow each other without a step of a training between them.
    start = order.index(conversions[0])
    assert order[start : start + 3] == conversions
    assert start <= 1
    for one, next_one in pairwise(trainings):
        assert ended[one]["completed_at"] <= ended[next_one]["completed_at"]


def test_a_fault_at_the_start_of_one_job_fails_that_job_and_the_others_go_on(
    open_jobs: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs()
    source = upload(jobs, tmp_path)
    damaged, whole = (submit(jobs, "preprocessing", source) for _ in range(2))

    def spec(row: dict[str, Any], *args: Any, **named: Any) -> Any:  # noqa: ANN401 -- passed on
        if row["id"] == damaged:
            raise KeyError("a part of a damaged row")
        return make_job_spec(row, *args, **named)

    monkeypatch.setattr("pipelines.jobs.dispatcher.make_job_spec", spec)
    jobs.start()
    assert end_of(jobs, whole)["status"] == "completed"
    last = end_of(jobs, damaged, "failed")
    assert "damaged" in last["error_message"]
    assert last["dead_letter"]


def test_a_conversion_pauses_a_training_which_then_goes_on_where_it_was(
    jobs: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    add_voice(jobs, data_dir)
    source = upload(jobs, tmp_path)
    training = submit(jobs, "training", source, steps=60, step_s=0.05)
    until(lambda: jobs.get(ME, training)["progress"] > 0)
    conversion = submit(jobs, "conversion", source, steps=10, step_s=0.05)
    until(lambda: "Paused" in jobs.get(ME, training)["message"])
    assert jobs.get(ME, training)["status"] == "training"
    assert jobs.dispatcher.health()["computing"] == [conversion]
    end_of(jobs, conversion)
    assert jobs.get(ME, training)["status"] == "training"
    row = end_of(jobs, training)
    assert turns(data_dir) == [training, conversion, training]
    assert (row["result"]["start"], row["attempts"]) == (0, 1)
    assert len(computed(data_dir)) == 70


def test_no_conversion_pauses_a_training_for_longer_than_the_limit(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs(max_pause_s=0.4)
    jobs.start()
    add_voice(jobs, data_dir)
    source = upload(jobs, tmp_path)
    training = submit(jobs, "training", source, steps=60, step_s=0.03)
    until(lambda: jobs.get(ME, training)["progress"] > 0)
    conversion = submit(jobs, "conversion", source, steps=60, step_s=0.03)
    end_of(jobs, conversion)
    end_of(jobs, training)
    assert turns(data_dir)[:4] == [training, conversion, training, conversion]


def test_preparing_needs_no_device_and_waits_for_no_training(jobs: Jobs, tmp_path: Path) -> None:
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=1000, step_s=0.02)
    until(lambda: jobs.dispatcher.health()["computing"] == [training])
    same = jobs.get(ME, training)["input_job_id"]
    end_of(jobs, submit(jobs, "preprocessing", upload(jobs, tmp_path), steps=2))
    assert jobs.get(ME, training)["status"] == "training"
    # On the same recordings it would change the slices that the training reads.
    blocked = submit(jobs, "preprocessing", same, steps=2)
    time.sleep(0.5)
    assert jobs.get(ME, blocked)["status"] == "pending"
    jobs.cancel(ME, training)
    end_of(jobs, blocked)


def test_a_cancelled_job_stops_and_a_resumed_one_goes_on_from_its_checkpoint(
    jobs: Jobs, tmp_path: Path
) -> None:
    source = upload(jobs, tmp_path)
    running = submit(jobs, "training", source, steps=1000, step_s=0.02)
    waiting = submit(jobs, "training", source, steps=1)
    until(lambda: jobs.get(ME, running)["progress"] > 0)
    assert jobs.cancel(ME, waiting)["status"] == "cancelled"
    assert jobs.cancel(ME, running)["message"] == "Stopping"
    row = end_of(jobs, running, "cancelled")
    assert 0 < row["progress"] < 1
    assert row["error_message"] is None
    assert jobs.get(ME, waiting)["attempts"] == 0
    for ended in (running, waiting):
        with pytest.raises(NotAllowedError, match="cancelled"):
            jobs.cancel(ME, ended)
    saved = int((tmp_path / "data" / "jobs" / running / "work" / "step.txt").read_text())
    jobs.registry.update("jobs", running, settings={"steps": saved + 5})
    assert jobs.resume(ME, running)["status"] == "pending"
    done = end_of(jobs, running)
    assert done["result"]["start"] == saved > 0
    with pytest.raises(NotAllowedError, match="completed"):
        jobs.resume(ME, running)
    # A retry begins from the start.
    jobs.retry(ME, waiting)
    assert end_of(jobs, waiting)["result"]["start"] == 0


def test_who_does_not_obey_is_killed_after_the_grace_time(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs(cancel_grace_s=0.5)
    jobs.start()
    job = submit(jobs, "training", upload(jobs, tmp_path), deaf=True)
    until(lambda: (tmp_path / "data" / "jobs" / job / "work" / "deaf").exists())
    (pid,) = jobs.dispatcher.health()["pids"]
    jobs.cancel(ME, job)
    end_of(jobs, job, "cancelled")
    assert not exists(pid)
    assert jobs.dispatcher.health()["computing"] == []


def test_a_fault_is_tried_again_and_in_the_end_parked_with_its_log(jobs: Jobs, tmp_path: Path) -> None:
    source = upload(jobs, tmp_path)
    killed = submit(jobs, "training", source, fault="die", once=True, steps=3)
    broken = submit(jobs, "training", source, fault="internal")
    assert end_of(jobs, killed)["attempts"] == 2
    row = end_of(jobs, broken, "failed")
    assert (row["attempts"], row["dead_letter"]) == (3, True)
    assert "ZeroDivisionError" in row["error_message"]
    assert jobs.files.log(ME, broken).count("ZeroDivisionError: a fault of the program") == 3
    again = jobs.retry(ME, broken)
    assert (again["status"], again["attempts"], again["dead_letter"]) == ("pending", 0, False)
    assert again["error_message"] is None
    jobs.cancel(ME, broken)


def test_a_job_that_its_input_made_fail_is_not_tried_again(jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, "training", upload(jobs, tmp_path), fault="input")
    row = end_of(jobs, job, "failed")
    assert (row["attempts"], row["dead_letter"]) == (1, False)
    assert row["error_message"] == "The recording is not good enough; record it again."


def test_the_time_limit_counts_and_ends_the_work(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs(job_timeout=4.0, training_timeout=1000.0)
    jobs.start()
    source = upload(jobs, tmp_path)
    job = submit(jobs, "preprocessing", source, steps=10_000, step_s=0.02)
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=10_000, step_s=0.02)
    row = end_of(jobs, job, "failed")
    assert "longest" in row["error_message"] or "the most that is allowed" in row["error_message"]
    assert row["attempts"] == 1
    assert int((tmp_path / "data" / "jobs" / job / "work" / "step.txt").read_text()) > 0
    assert jobs.get(ME, training)["status"] == "training"


def test_a_training_out_of_time_is_interrupted_and_goes_on_when_it_is_resumed(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs(training_timeout=4.0)
    jobs.start()
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=10_000, step_s=0.02)
    row = end_of(jobs, training, "interrupted")
    assert "the most that is allowed here at a stretch" in row["message"]
    assert row["error_message"] is None
    assert not row["dead_letter"]
    saved = int((data_dir / "jobs" / training / "work" / "step.txt").read_text())
    assert saved > 0
    jobs.registry.update("jobs", training, settings={"steps": saved + 1})
    jobs.resume(ME, training)
    assert end_of(jobs, training)["result"]["start"] == saved


def test_waiting_for_the_device_does_not_count_as_work(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    limit_s = 6.0
    jobs = open_jobs(training_timeout=limit_s)
    jobs.start()
    add_voice(jobs, data_dir)
    source = upload(jobs, tmp_path, purpose="target")
    conversion = submit(jobs, "conversion", source, steps=10_000, step_s=0.02)
    until(lambda: jobs.get(ME, conversion)["progress"] > 0)
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=3)
    until(lambda: jobs.get(ME, training)["stage"] == "Counting")
    time.sleep(limit_s + 1)
    assert jobs.get(ME, training)["status"] == "training"
    jobs.cancel(ME, conversion)
    end_of(jobs, training)


def test_the_converter_stays_warm_and_leaves_when_idle(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs(converter_idle_s=1.0)
    jobs.start()
    add_voice(jobs, data_dir)
    source = upload(jobs, tmp_path, purpose="target")
    first, second = (end_of(jobs, submit(jobs, "conversion", source, steps=1)) for _ in range(2))
    pid = first["result"]["pid"]
    assert pid == second["result"]["pid"]
    assert jobs.dispatcher.health()["converter"]
    until(lambda: not jobs.dispatcher.health()["pids"])
    assert not exists(pid)
    third = end_of(jobs, submit(jobs, "conversion", source, steps=1))
    assert third["result"]["pid"] != pid
    assert jobs.files.result_path(ME, third["id"]).read_bytes()[:4] == b"RIFF"
    assert jobs.library.stats(ME, "voice")["uses"] == 3
    assert jobs.library.stats(ME, "voice")["seconds_converted"] == 36.0


def test_a_conversion_writes_the_registry_four_times(
    open_jobs: Open, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    jobs.start()
    append, writes = JournaledStorage.append, []

    def counted(storage: JournaledStorage, line: bytes) -> None:
        writes.append(line)
        append(storage, line)

    monkeypatch.setattr(JournaledStorage, "append", counted)
    for _ in range(2):  # of the second one, the voice's statistics are there already
        end_of(jobs, submit(jobs, "conversion", upload(jobs, tmp_path, purpose="target"), steps=1))
        assert len(writes) == 4  # the upload, the job, its start, its end with the statistics
        writes.clear()


def test_a_cancelled_conversion_leaves_the_converter_and_a_dead_one_is_replaced(
    jobs: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    add_voice(jobs, data_dir)
    source = upload(jobs, tmp_path)
    long = submit(jobs, "conversion", source, steps=1000, step_s=0.02)
    until(lambda: jobs.get(ME, long)["progress"] > 0)
    (pid,) = jobs.dispatcher.health()["pids"]
    jobs.cancel(ME, long)
    end_of(jobs, long, "cancelled")
    assert end_of(jobs, submit(jobs, "conversion", source, steps=1))["result"]["pid"] == pid
    row = end_of(jobs, submit(jobs, "conversion", source, fault="die", once=True, steps=1))
    assert row["attempts"] == 2
    assert row["result"]["pid"] != pid


SERVER = """
import sys, time
from pathlib import Path
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from tests.pipelines.jobs.toy_jobs import submit, upload
from tests.toy_worker import TOY_WORKER
jobs = Jobs(Settings(data_dir=sys.argv[1]), worker_command=TOY_WORKER)
jobs.start()
source = upload(jobs, Path(sys.argv[2]))
running = submit(jobs, "training", source, steps=1000, step_s=0.02)
print(running, submit(jobs, "training", source, steps=2), flush=True)
time.sleep(1000)
"""


def test_when_the_server_dies_its_worker_saves_and_the_next_server_goes_on(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data_dir), str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        running, pending = server.stdout.readline().split()
        until(lambda: len(computed(data_dir)) > 5)
        with pytest.raises(ConfigError, match="Another Timbre server already uses the data folder"):
            open_jobs()
        server.kill()
    jobs = open_jobs()
    jobs.start()
    assert jobs.get(ME, running)["status"] == "interrupted"
    assert jobs.get(ME, running)["progress"] > 0
    assert end_of(jobs, pending)["status"] == "completed"
    until(lambda: (data_dir / "jobs" / running / "work" / "step.txt").exists())
    saved = int((data_dir / "jobs" / running / "work" / "step.txt").read_text())
    assert saved > 0
    jobs.registry.update("jobs", running, settings={"steps": saved + 3})
    jobs.resume(ME, running)
    row = end_of(jobs, running)
    assert row["result"]["start"] == saved
    for (_, end, one), (begin, _, next_one) in pairwise(computed(data_dir)):
        assert begin >= end or one == next_one


def test_a_closed_server_interrupts_what_runs_and_leaves_no_child(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    jobs.start()
    add_voice(jobs, data_dir)
    source = upload(jobs, tmp_path)
    end_of(jobs, submit(jobs, "conversion", source, steps=1))
    training = submit(jobs, "training", source, steps=1000, step_s=0.02)
    until(lambda: jobs.get(ME, training)["progress"] > 0)
    pids = jobs.dispatcher.health()["pids"]
    assert len(pids) == 2
    followed = jobs.follow(ME, training)
    next(followed)
    jobs.close()
    assert not any(exists(pid) for pid in pids)
    rows = json.loads((tmp_path / "data" / "registry.json").read_text())["jobs"]
    assert rows[training]["status"] == "interrupted"
    assert int((tmp_path / "data" / "jobs" / training / "work" / "step.txt").read_text()) > 0
    again = open_jobs()
    assert again.get(ME, training)["status"] == "interrupted"
