"""The command that trains a voice in several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile as sf

from rvc.engine.card import read_card
from rvc.files import ROOT
from tests.pipelines.toy_rvc import SETTINGS, weights_folder

SPEECH = ROOT / "assets" / "examples" / "voice" / "wren-1.ogg"
PROGRAM = (
    "import sys, tests.pipelines.toy_rvc_worker, pipelines.training.distributed as it; "
    "sys.exit(it.main(sys.argv[1:]))"
)


def run(folder: Path, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
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
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


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
        assert sorted(archive.namelist()) == ["card.json", "index.faiss", "model.safetensors"]
    card = read_card(folder / "work" / "voice")
    assert (card.engine, card.name, card.document["training"]["batch_size"]) == ("rvc", "Me", 2)
    assert sorted(path.name[:2] for path in (folder / "work" / "training").glob("*.pth")) == ["D_", "G_"]


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
