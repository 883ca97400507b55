"""A server that is killed takes its children with it: what it was doing is not gone on with by orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rvc.files import ROOT
from rvc.torch_file import published_state
from rvc.vits.sizes import legacy_list
from tests.faults.dying_server import DOING
from tests.process_tree import descendants, parents, wait_for
from tests.tiny_rvc import tiny_synthesizer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tells processes by /proc")

PATIENCE_S, GONE_S = 60.0, 2.0
CHILDREN = {"sandboxed": 2, "loading": 1, "importing": 1, "exporting": 1}  # that make it worth killing


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes, ended with what they left."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    synthesizer = tiny_synthesizer("v1")
    weight = {name: tensor.half() for name, tensor in published_state(synthesizer).items()}
    said = {"config": legacy_list(synthesizer.config), "sr": "40k", "f0": 1, "version": "v1"}
    torch.save({"weight": weight, **said}, tmp_path / "voice.pth")
    return tmp_path


@pytest.mark.parametrize("what", DOING)
def test_two_seconds_after_the_server_was_killed_none_of_its_children_lives(
    what: str, folder: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.dying_server", what, str(folder)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
        )  # fmt: skip
    started.append(server)
    has_begun: Callable[[], object] = (folder / "ready").exists
    if what in CHILDREN and what != "exporting":
        has_begun = lambda: len(descendants(server.pid)) >= CHILDREN[what]  # noqa: E731
    assert wait_for(has_begun, PATIENCE_S), (folder / "log").read_text()
    assert wait_for(lambda: descendants(server.pid), PATIENCE_S)
    children = descendants(server.pid)
    server.send_signal(signal.SIGKILL)
    server.wait()
    try:
        assert wait_for(lambda: not children & parents().keys(), GONE_S), what
    finally:
        for child in children & parents().keys():
            os.kill(child, signal.SIGKILL)
    if what == "training":
        (saved,) = (folder / "data" / "jobs").rglob("step.txt")
        assert int(saved.read_text()) > 0
