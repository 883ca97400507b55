from __future__ import annotations

import json
import math
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from pipelines.job_spec import JobSpec
from pipelines.worker import STOPPED, plain
from rvc.files import ROOT
from tests.toy_worker import TOY_WORKER

PATIENCE_S = 60.0


class Child:
    """A real worker process, and what it says."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*TOY_WORKER, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def next(self) -> dict[str, Any] | None:
        return self._said.get(timeout=PATIENCE_S)

    def until(self, event: str) -> list[dict[str, Any]]:
        """Everything that it says up to and with an event of this name."""
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["event"] != event:
            said = self.next()
            assert said is not None, f"it left without {event}: {heard}"
            heard.append(said)
        return heard

    def is_silent_for(self, seconds: float) -> bool:
        try:
            self._said.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def status(self) -> int:
        return self.process.wait(timeout=PATIENCE_S)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._said.put(json.loads(line))
        self._said.put(None)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.process.kill()
        child.process.wait()
        if child.process.stdin is not None and not child.process.stdin.closed:
            child.hang_up()


def spec(tmp_path: Path, job_id: str = "a", kind: str = "training", **settings: object) -> JobSpec:
    upload = tmp_path / "upload"
    upload.mkdir(exist_ok=True)
    (upload / "000.wav").write_bytes(b"sound")
    folder = tmp_path / job_id
    folder.mkdir()
    made = JobSpec(
        id=job_id,
        type=kind,
        folder=folder,
        upload_folder=upload,
        files=[{"audio": "000.wav"}],
        settings=settings,
        device_lock=tmp_path / "gpu.lock",
        grace_s=1.0,
    )
    made.save()
    return made


Start = Callable[[JobSpec], Child]


@pytest.fixture
def work(tmp_path: Path, children: list[Child]) -> Start:
    def start(spec: JobSpec) -> Child:
        children.append(Child([str(spec.folder)], spec.folder / "worker.log"))
        return children[-1]

    return start


@pytest.fixture
def converter(tmp_path: Path, children: list[Child]) -> Child:
    log = tmp_path / "converter.log"
    children.append(Child(["--converter", "--log", str(log)], tmp_path / "start.log"))
    return children[-1]


def steps_of(heard: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["step"] for event in heard if event["event"] == "progress"]


def test_an_order_survives_its_file(tmp_path: Path) -> None:
    made = spec(tmp_path, steps=3)
    assert JobSpec.load(made.folder) == made


def test_no_step_is_taken_on_the_device_before_the_grant(tmp_path: Path, work: Start) -> None:
    child = work(spec(tmp_path, steps=3))
    assert [event["event"] for event in child.until("want_device")] == ["progress", "want_device"]
    assert child.is_silent_for(0.3)
    assert not (tmp_path / "device.log").exists()
    child.say("grant 0")
    heard = child.until("done")
    assert [event["event"] for event in heard] == ["progress", "progress", "done"]
    assert steps_of(heard) == [1, 2]
    assert heard[-1]["result"]["steps"] == 3
    assert {event["job"] for event in heard} == {"a"}
    assert child.status() == 0
    assert child.next() is None


def test_a_pause_is_obeyed_at_the_next_step_and_nothing_is_done_until_continue(
    tmp_path: Path, work: Start
) -> None:
    child = work(spec(tmp_path, steps=30, step_s=0.02))
    child.until("want_device")
    child.say("grant 0")
    child.until("progress")
    child.say("pause")
    child.until("paused")
    taken = (tmp_path / "device.log").read_text().count("\n")
    with FileLock(tmp_path / "gpu.lock", timeout=0):
        assert child.is_silent_for(0.3)
    assert (tmp_path / "device.log").read_text().count("\n") == taken
    child.say("continue 0")
    child.until("done")
    assert (tmp_path / "device.log").read_text().count("\n") == 30


def test_an_orphan_that_holds_the_lock_file_is_waited_for(tmp_path: Path, work: Start) -> None:
    child = work(spec(tmp_path, steps=2))
    with FileLock(tmp_path / "gpu.lock", timeout=0):
        child.until("want_device")
        child.say("grant 0")
        assert child.is_silent_for(0.5)
        assert not (tmp_path / "device.log").exists()
    child.until("done")
    assert "waiting for it" in (tmp_path / "a" / "worker.log").read_text()


@pytest.mark.parametrize("moment", ["working", "waiting", "paused"])
def test_sigterm_saves_and_leaves(moment: str, tmp_path: Path, work: Start) -> None:
    child = work(spec(tmp_path, steps=1000, step_s=0.02))
    child.until("want_device")
    if moment != "waiting":
        child.say("grant 0")
        child.until("progress")
    if moment == "paused":
        child.say("pause")
        child.until("paused")
    child.process.terminate()
    child.until("stopped")
    assert child.status() == STOPPED
    taken = (tmp_path / "device.log").read_text().count("\n") if moment != "waiting" else 0
    assert int((tmp_path / "a" / "work" / "step.txt").read_text()) == taken


def test_the_end_of_stdin_means_that_the_server_died_so_it_saves_and_leaves(
    tmp_path: Path, work: Start
) -> None:
    child = work(spec(tmp_path, steps=1000, step_s=0.02))
    child.until("want_device")
    child.say("grant 0")
    child.until("progress")
    child.hang_up()
    assert child.status() == STOPPED
    assert int((tmp_path / "a" / "work" / "step.txt").read_text()) > 0


def test_a_second_worker_of_a_job_waits_for_the_first_and_goes_on_from_what_it_saved(
    tmp_path: Path, work: Start
) -> None:
    made = spec(tmp_path, steps=40, step_s=0.05)
    orphan = work(made)
    orphan.until("want_device")
    orphan.say("grant 0")
    orphan.until("progress")
    second = work(made)
    assert second.is_silent_for(1.0)
    orphan.hang_up()
    second.until("want_device")
    second.say("grant 0")
    result = second.until("done")[-1]["result"]
    assert 0 < result["start"] < 40
    assert (tmp_path / "device.log").read_text().count("\n") == 40


def test_a_refused_input_and_a_fault_are_told_apart(tmp_path: Path, work: Start) -> None:
    failed = {}
    for fault in ("input", "internal", "memory"):
        child = work(spec(tmp_path, fault, fault=fault, needs_device=False))
        failed[fault] = child.until("failed")[-1]
        assert child.status() != 0
    assert failed["input"]["kind"] == "input"
    assert failed["input"]["message"] == "The recording is not good enough; record it again."
    assert failed["internal"]["kind"] == "internal"
    assert failed["internal"]["message"] == "ZeroDivisionError: a fault of the program"
    assert failed["memory"]["kind"] == "internal", "it may do at another time"
    assert failed["memory"]["message"].startswith("memory did not suffice: CUDA error: CUBLAS_STATUS_ALLOC")
    assert "Traceback" in (tmp_path / "internal" / "worker.log").read_text()
    assert "Traceback" not in (tmp_path / "input" / "worker.log").read_text()


def test_what_a_library_prints_goes_to_the_log_and_not_between_the_events(
    tmp_path: Path, work: Start
) -> None:
    child = work(spec(tmp_path, chatty=True, steps=1, needs_device=False))
    child.until("done")
    assert "chatter" in (tmp_path / "a" / "worker.log").read_text()


def test_the_converter_does_one_job_after_another_and_a_cancel_ends_only_the_job(
    tmp_path: Path, converter: Child
) -> None:
    pids = []
    for job_id in ("a", "b"):
        made = spec(tmp_path, job_id, "conversion", steps=2, chatty=True)
        converter.say(f"run {made.folder}")
        converter.until("want_device")
        converter.say("grant 0")
        heard = converter.until("done")
        assert {event["job"] for event in heard} == {job_id}
        assert (made.folder / heard[-1]["result"]["path"]).read_bytes() == b"sound"
        assert "chatter" in (made.folder / "worker.log").read_text()
        pids.append(heard[-1]["result"]["pid"])
    assert pids[0] == pids[1] == converter.process.pid
    converter.say("cancel")  # came too late: nothing runs
    long = spec(tmp_path, "c", "conversion", steps=1000, step_s=0.02)
    converter.say(f"run {long.folder}")
    converter.until("want_device")
    converter.say("grant 0")
    converter.until("progress")
    converter.say("cancel")
    converter.until("stopped")
    FileLock(tmp_path / "gpu.lock", timeout=5).acquire()
    assert converter.process.poll() is None
    converter.hang_up()
    assert converter.status() == STOPPED


def test_after_a_fault_the_converter_leaves_and_after_a_refusal_it_stays(
    tmp_path: Path, converter: Child
) -> None:
    for fault in ("input", "internal"):
        made = spec(tmp_path, fault, "conversion", fault=fault, needs_device=False)
        converter.say(f"run {made.folder}")
        assert converter.until("failed")[-1]["kind"] == fault
    assert converter.status() not in (0, STOPPED)


def test_facts_become_json_whatever_their_kind() -> None:
    facts = {
        "loss": np.float32(0.5),
        "curve": np.array([1.0, np.nan]),
        "step": np.int64(3),
        "path": Path("samples/1.wav"),
        "bad": math.inf,
        "nested": [{"ok": True, "none": None}, (1, 2)],
        5: "number as a name",
    }
    told = plain(facts)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["loss"] == 0.5
    assert told["curve"] == [1.0, None]
    assert told["bad"] is None
    assert told["path"] == "samples/1.wav"


def test_a_worker_whose_work_never_ends_leaves_hard_when_the_server_has_died(
    tmp_path: Path, work: Start
) -> None:
    child = work(spec(tmp_path, deaf=True, needs_device=False))
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "a" / "work" / "deaf").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.hang_up()
    assert child.status() == STOPPED
