"""A worker program in an actor, and the bridge that has it, without Ray between them."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.cluster.runner import CPUS, Runner
from pipelines.cluster.staging import ServerFiles
from pipelines.cluster.store import SharedStore
from pipelines.job_spec import JobSpec
from pipelines.store.records import Row

JOB = "a" * 32
SAYS = "import json; [print(json.dumps(one), flush=True) for one in {events!r}]"
SAMPLE = {"event": "progress", "job": JOB, "data": {"sample": "a.flac"}}
DONE = {"event": "done", "job": JOB}


@pytest.fixture
def job(data_dir: Path) -> Path:
    folder = data_dir / "jobs" / JOB
    folder.mkdir(parents=True)
    JobSpec(
        id=JOB,
        type="training",
        folder=folder,
        upload_folder=folder,
        files=[],
        device_lock=data_dir / "gpu.lock",
    ).save()
    return folder


@pytest.fixture
def order(job: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Row:
    """What a runner is started with, for a program that is done at once."""
    (tmp_path / "machine").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "machine"))
    return {
        "shared_dir": str(tmp_path / "shared"),
        "data_dir": str(data_dir),
        "command": ["-c", SAYS.format(events=[SAMPLE, DONE])],
        "environment": {},
        "arguments": [str(job)],
        "log": str(job / "worker.log"),
        "device": "gpu-1",
        "is_other_rank": False,
    }


def scratch(tmp_path: Path) -> list[Path]:
    (base,) = (tmp_path / "machine").iterdir()
    return [path for path in base.iterdir() if path.name != "weights"]


@pytest.mark.parametrize(("own", "threads"), [(None, int(CPUS)), ("7", 7)])
def test_a_machine_computes_with_its_own_number_of_threads(
    own: str | None, threads: int, order: Row, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRAIN_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Ray sets it
    if own:
        monkeypatch.setenv("TRAIN_THREADS", own)
    code = "import os; print('{\"event\": \"done\", \"threads\":', os.environ['OMP_NUM_THREADS'], '}')"
    runner = Runner(order | {"shared_dir": "", "command": ["-c", code]})
    assert runner.start()
    assert list(runner.events()) == [{"event": {"event": "done", "threads": threads}}, {"exit": 0}]


def test_a_job_that_is_killed_before_its_files_are_there_leaves_nothing_on_the_machine(
    order: Row, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ServerFiles(order["shared_dir"], data_dir)
    server.upload(JOB)
    runner = Runner(order)
    get = SharedStore.get

    def get_and_kill(store: SharedStore, entry: Row, path: Path) -> None:
        get(store, entry, path)
        runner.kill()

    (data_dir / "jobs" / JOB / "another").touch()
    server.upload(JOB)
    monkeypatch.setattr(SharedStore, "get", get_and_kill)
    assert not runner.start()
    assert list(runner.events()) == []
    assert scratch(tmp_path) == []


class Actor:
    """A runner as an actor of Ray has it, in this process."""

    def __init__(self, order: Row) -> None:
        self.runner = Runner(order)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        called = SimpleNamespace(remote=getattr(self.runner, name))
        called.options = lambda **_: called
        return called


def of_ray(name: str) -> Any:  # noqa: ANN401
    """A module of the server's end, which needs Ray."""
    pytest.importorskip("ray", reason="Ray is not installed (requirements-cluster.txt)")
    return import_module(f"pipelines.cluster.{name}")


class Heard:
    """A bridge that has one program."""

    has_gpus = False

    def __init__(self, order: Row) -> None:
        self.joining = order
        self.files: ServerFiles | None = ServerFiles(order["shared_dir"], Path(order["data_dir"]))
        self.said: list[Row] = []
        self.lost: bool | None = None
        self.ended = threading.Event()

    def say(self, said: Row) -> None:
        self.said.append(said)
        if "exit" in said:
            self.ended.set()

    def left(self, number: int, *, lost: bool) -> None:
        self.lost = lost

    def end(self) -> Row:
        assert self.ended.wait(30)
        return self.said[-1]


Begin = Callable[[Row], tuple[Heard, Any]]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Makes a program of an order, not begun yet, and its bridge."""
    program = of_ray("program")
    monkeypatch.setattr(program, "actor_in", lambda group, bundle, order, options: Actor(order))
    monkeypatch.setattr(program.ray, "get", lambda reference: reference)
    monkeypatch.setattr(program.ray, "kill", lambda actor: None)

    def begin_it(order: Row) -> tuple[Heard, Any]:
        bridge = Heard(order)
        whole = order | {"worker": 1, "lane": "training"}
        return bridge, program.RemoteProgram(bridge, whole, None, 1)

    return begin_it


def test_a_sample_that_cannot_be_fetched_does_not_end_the_job(
    begin: Begin, order: Row, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fetch, fails = ServerFiles.fetch, iter([True])

    def fetch_or_fail(files: ServerFiles, job_id: str) -> None:
        if next(fails, False):
            raise ConnectionError("the bucket does not answer")
        fetch(files, job_id)

    monkeypatch.setattr(ServerFiles, "fetch", fetch_or_fail)
    bridge, program = begin(order)
    program.begin()
    assert bridge.end() == {"worker": 1, "exit": 0, "why": "", "gone": False}
    assert [said["event"] for said in bridge.said[:-1]] == [SAMPLE, DONE]
    assert "what its job made could not be fetched" in caplog.text


@pytest.mark.parametrize(
    ("data", "is_there"),
    [
        ({"file": {"number": 0, "status": "completed"}}, True),
        ({"sample": "a.flac"}, True),
        ({"score": {"step": 5}, "is_best": True}, True),
        ({"file": {"number": 0, "status": "converting"}}, False),
        ({"step": 5}, False),
    ],
)
def test_what_an_event_tells_of_is_there_when_the_event_is_heard(
    data: Row, is_there: bool, begin: Begin, order: Row, job: Path
) -> None:
    made = job / "result" / "made.flac"
    told = {"event": "progress", "job": JOB, "data": data}
    # Nothing is staged out within STAGE_OUT_S otherwise, and nothing is fetched before the last word.
    code = "import json, pathlib, sys; made = pathlib.Path(sys.argv[1], 'result', 'made.flac')\n"
    code += "made.parent.mkdir(); made.write_bytes(b'made')\n" + SAYS.format(events=[told, DONE])
    bridge, program = begin(order | {"command": ["-c", code]})
    there = []
    say = bridge.say

    def say_and_look(said: Row) -> None:
        there.append(made.exists())
        say(said)

    bridge.say = say_and_look  # type: ignore[method-assign]
    program.begin()
    bridge.end()
    assert there == [is_there, True, True]


def test_a_result_that_cannot_be_fetched_is_a_fault(
    begin: Begin, order: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("the bucket does not answer")

    monkeypatch.setattr(ServerFiles, "fetch", refuse)
    bridge, program = begin(order)
    program.begin()
    assert bridge.end()["why"] == "ConnectionError: the bucket does not answer"
    assert [said["event"] for said in bridge.said[:-1]] == [SAMPLE]


def test_a_job_that_is_cancelled_while_its_files_are_on_their_way_loses_no_machine(
    begin: Begin, order: Row, job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (job / name).touch()
    bridge, program = begin(order)
    put, names = SharedStore.put, []

    def put_and_cancel(store: SharedStore, path: Path) -> Row:
        names.append(path.name)
        program.tell({"do": "kill"})
        return put(store, path)

    monkeypatch.setattr(SharedStore, "put", put_and_cancel)
    program.begin()
    assert bridge.end() == {"worker": 1, "exit": -9, "why": "", "gone": False}
    assert bridge.lost is False
    assert len(names) == 1, "no further file is sent"


def test_the_log_of_a_converter_that_cannot_start_comes_to_the_job_that_it_was_started_for(
    begin: Begin, order: Row, job: Path, tmp_path: Path
) -> None:
    bridge, program = begin(
        order | {"command": ["-c", "raise SystemExit('no such module')"], "arguments": ["--converter"]}
    )
    program.begin()
    program.tell({"do": "send", "line": f"run {job}"})
    assert bridge.end()["exit"] == 1
    assert "no such module" in (job / "worker.log").read_text()


def test_a_look_at_the_cluster_that_fails_does_not_end_the_bridge(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bridge = of_ray("bridge")
    orders: list[Row] = []

    def look() -> None:
        raise RuntimeError("the head is busy")

    made = SimpleNamespace(look=look, do=orders.append, leave=lambda: None)
    monkeypatch.setattr(bridge, "Bridge", lambda joining, output: made)
    monkeypatch.setattr(bridge, "Output", lambda: None)
    lines = [{"do": "join"}, {"do": "want", "devices": {}}]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{json.dumps(line)}\n" for line in lines)))
    assert bridge.main() == 0
    assert orders == lines[1:]
    assert "could not be looked at" in caplog.text


def test_a_program_that_leaves_at_once_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = of_ray("bridge")
    monkeypatch.setattr(module.ray, "init", lambda **_: None)
    monkeypatch.setattr(module.Bridge, "_watch_head", lambda self: None)
    output = SimpleNamespace(say=lambda said: None)
    joining = {"shared_dir": "", "data_dir": "", "address": "", "saving_s": 30.0}
    bridge = module.Bridge(joining, output)
    bridge._devices.append(module.Device(None, name="gpu-1"))

    class Program(SimpleNamespace):
        def begin(self) -> None:
            bridge.left(1, lost=False)

    monkeypatch.setattr(module, "RemoteProgram", lambda *_: Program())
    bridge.do({"do": "start", "worker": 1, "device": "gpu-1", "lane": "training"})
    assert bridge._programs == {}
    assert bridge._devices[0].workers == {}
