"""What tests ask of a dispatcher whose work is the toy worker's."""

from __future__ import annotations

import inspect
import os
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs.cluster import RemoteWorker
from pipelines.jobs.service import Jobs
from pipelines.store.records import CONVERTING, Caller, new_job
from tests.sounds import tone, write
from tests.toy_worker import write_voice

ME, OTHER, ADMIN = Caller("me"), Caller("other"), Caller("root", admin=True)
PATIENCE_S = 60.0

Open = Callable[..., Jobs]
Row = dict[str, Any]


def add_voice(jobs: Jobs, data_dir: Path) -> None:
    """A voice of the caller's to convert into, as a training of an earlier day left it."""
    job = new_job("me", "training", status="completed", seq=0, model_name="Toy", upload_id="u")
    jobs.library.adopt(job | {"id": "voice"}, write_voice(data_dir / "bundle"))


def upload(jobs: Jobs, tmp_path: Path, caller: Caller = ME, purpose: str = "training") -> str:
    path = write(tmp_path / "a.wav", "wav16", tone(12.0, 8_000), 8_000)
    return str(jobs.upload(caller, [(path, "My voice.wav")], purpose)["id"])


def submit(jobs: Jobs, kind: str, upload_id: str, caller: Caller = ME, **settings: object) -> str:
    speaking = {"model_id": "voice"}
    voice = {"training": {"model_name": "Mine"}} | dict.fromkeys(CONVERTING, speaking)
    return str(jobs.submit(caller, kind, upload_id, settings=settings, **voice.get(kind, {}))["id"])


def until(condition: Callable[[], object], what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited for {what or inspect.getsource(condition)}"
        time.sleep(0.02)


def end_of(jobs: Jobs, job_id: str, status: str = "completed") -> Row:
    """The job's row when it has ended, which must be in this state."""
    row: Row = list(jobs.follow(ADMIN, job_id))[-1]
    assert row["status"] == status, row
    return row


def computed(data_dir: Path) -> list[tuple[float, float, str]]:
    """Who computed on the device, as (begin, end, job), in order."""
    lines = (data_dir / "device.log").read_text().splitlines() if (data_dir / "device.log").exists() else []
    return sorted((float(begin), float(end), job) for begin, end, job in (line.split() for line in lines))


def note_devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return a dict that comes to hold on which device of a cluster each job is worked on."""
    devices, begins = {}, RemoteWorker.begins

    def noted(worker: RemoteWorker, folder: Path) -> None:
        devices[folder.name] = worker.device
        begins(worker, folder)

    monkeypatch.setattr(RemoteWorker, "begins", noted)
    return devices


def require_one_at_a_time(data_dir: Path, devices: dict[str, str]) -> set[str]:
    """Assert that no two jobs ever computed on the same device, and return the devices on which they did."""
    stretches = defaultdict(list)
    for begin, end, job in computed(data_dir):
        stretches[devices[job]].append((begin, end, job))
    for of_device in stretches.values():
        for (_, end, one), (begin, _, other) in pairwise(of_device):
            assert begin >= end or one == other
    return set(stretches)


def turns(data_dir: Path) -> list[str]:
    """Ids of the jobs that computed, one for each stretch."""
    order: list[str] = []
    for _, _, job in computed(data_dir):
        if not order or order[-1] != job:
            order.append(job)
    return order


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
