"""The command that trains a voice in several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pytest
import soundfile as sf
import torch

from pipelines.events import Events, finish
from pipelines.recordings import prepare
from pipelines.recordings.segments import SliceRef
from pipelines.training import train
from rvc.engine.card import read_card
from rvc.files import ROOT
from rvc.training.group import Group
from tests.pipelines.toy_rvc import SETTINGS, weights_folder
from tests.process_tree import descendants, parents, wait_for

T = TypeVar("T")
SPEECH = ROOT / "assets" / "examples" / "voice" / "wren-1.ogg"
PROGRAM = (
    "import sys, tests.pipelines.toy_rvc_worker, pipelines.training.distributed as it; "
    "sys.exit(it.main(sys.argv[1:]))"
)


def started(folder: Path, *arguments: str, processes: int = 2) -> subprocess.Popen[str]:
    """Start the command with the toy engine, as torchrun starts it."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        "--no-python", sys.executable, "-c", PROGRAM,
        "--recordings", str(folder / "recordings"), "--name", "Me", "--work", str(folder / "work"),
        *arguments,
    ]  # fmt: skip
    own = {
        "WEIGHTS_DIR": str(folder / "weights"), "UNVERIFIED_WEIGHTS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **own}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(folder: Path, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Take the command to its end."""
    with started(folder, *arguments, processes=processes) as process:
        try:
            output, said = process.communicate(timeout=240)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, said)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights_folder(tmp_path / "weights")
    (tmp_path / "recordings").mkdir()
    wav, rate_hz = sf.read(SPEECH, stop=13 * 16_000)
    sf.write(tmp_path / "recordings" / "me.wav", wav, rate_hz)
    return tmp_path


@pytest.mark.timeout(900)  # several processes load torch, maybe beside other work
def test_two_processes_make_one_voice_from_a_folder_of_recordings(folder: Path) -> None:
    settings = [f"--set={name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    done = run(folder, *settings)
    assert done.returncode == 0, done.stderr
    assert "done: " in done.stderr
    with zipfile.ZipFile(folder / "work" / "voice.zip") as archive:
        assert sorted(archive.namelist()) == ["card.json", "index.faiss", "model.safetensors", "sample.mp3"]
    card = read_card(folder / "work" / "voice")
    assert (card.engine, card.name, card.document["training"]["batch_size"]) == ("rvc", "Me", 2)
    assert sorted(path.name[:2] for path in (folder / "work" / "training").glob("*.pth")) == ["D_", "G_"]


def test_one_of_a_group_s_processes_looks_for_the_slices_and_the_others_are_given_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [SliceRef(path=tmp_path / "0.flac", seconds=3.0, source_name="me.wav", start_s=0.0)]
    learned: list[list[SliceRef]] = []
    looked: list[int] = []
    said: list[object] = []
    shared: list[tuple[int, list[str]]] = []

    class Process(Group):
        def from_first(self, value: T) -> T:
            if self.is_first:
                said.append(value)
            return cast("T", said[0])

        def share_files(self, names: Iterable[str], folder: Path) -> None:
            assert folder == tmp_path
            shared.append((self.rank, list(names)))

    def begin(_: object, slices: list[SliceRef], group: Group) -> Events[None]:
        learned.append(slices)
        raise KeyboardInterrupt(group.rank)
        yield

    def load(rank: int, *_: object, **__: object) -> list[SliceRef]:
        looked.append(rank)
        return found

    for rank in (0, 1):
        monkeypatch.setattr(prepare, "load_slices", partial(load, rank))
        monkeypatch.setattr(train, "_begin", begin)
        request = train.TrainRequest(
            prepared_folder=tmp_path, work_dir=tmp_path, bundle_dir=tmp_path / "voice", name="Me"
        )
        process = Process(rank, 2, torch.device("cpu"))
        with pytest.raises(KeyboardInterrupt):
            finish(train.train(request, process)) if process.is_first else train.train_rank(request, process)
    assert (looked, learned) == ([0], [found, found])
    assert set(map(str, shared)) == {"(0, ['0.flac'])", "(1, ['0.flac'])"}


def test_what_cannot_be_divided_is_refused_in_a_sentence_by_all(folder: Path) -> None:
    done = run(folder, "--set=version=v1", "--set=batch_size=3")
    assert done.returncode != 0
    assert "A batch of 3 cannot be divided among 2 processes" in done.stderr
    assert not (folder / "work" / "voice.zip").exists()


def test_missing_pretrained_weights_are_told_before_the_recordings_are_prepared(folder: Path) -> None:
    done = run(folder, "--set=version=v1", processes=1)
    assert done.returncode != 0
    assert "pretrained/f0G40k.pth is needed" in done.stderr
    assert "set from_scratch to begin with random initial weights" in done.stderr
    assert not (folder / "work" / "recordings").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="tells processes by /proc")
@pytest.mark.timeout(900)
def test_when_torchrun_is_killed_its_processes_go_too(folder: Path) -> None:
    settings = [f"--set={name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    with started(folder, *settings, "--set=total_steps=100000") as torchrun:
        try:
            assert wait_for((folder / "work" / "training").exists, 120.0)
            children = descendants(torchrun.pid)
            assert len(children) >= 2
        finally:
            torchrun.kill()
        assert wait_for(lambda: not children & parents().keys(), 2.0)
