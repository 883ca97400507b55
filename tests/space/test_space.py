"""The page on a ZeroGPU Space, with a stand-in for its package (spaces.py); no real Space was at hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from rvc.files import ROOT
from tests.pipelines.toy_rvc import weights_folder
from tests.tiny_rvc_voice import rvc_bundle
from tests.ui.launched import RECORDING, VOICE_FILES, free_port, wait_for

# RVC's engine is small, in the program and so in what is forked from it.
PROGRAM = "import sys, tests.pipelines.toy_rvc_worker, app\nsys.exit(app.main())"
AS_SUNG = {"transpose_semitones": 0.0, "index_rate": 0.0}


@dataclass(frozen=True, kw_only=True)
class Space:
    url: str
    client: Client
    folder: Path
    voice: str  # id of an RVC voice

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What ZeroGPU was asked for."""
        notes = [json.loads(line) for line in (self.folder / "notes").read_text().splitlines()]
        return [note for note in notes if "seconds" in note]

    @property
    def pid(self) -> int:
        """Of the process that has a GPU, or had the last."""
        notes = [json.loads(line) for line in (self.folder / "notes").read_text().splitlines()]
        return int([note["pid"] for note in notes if "pid" in note][-1])

    def upload(self, seconds: float) -> str:
        wav, rate_hz = sf.read(RECORDING)
        path = self.folder / f"{seconds:g}.wav"
        sf.write(path, np.resize(wav, round(seconds * rate_hz)), rate_hz)
        return str(self.client.predict(handle_file(path), api_name="/upload_target_audio")["job_id"])

    def begun(self, seconds: float) -> str:
        """A conversion that computes, by its id."""
        row = self.client.predict(self.upload(seconds), self.voice, AS_SUNG, api_name="/start_conversion")
        wait_for(lambda: self.row(row["id"])["progress"] > 0, "the conversion")
        return str(row["id"])

    def row(self, job_id: str) -> dict[str, Any]:
        return dict(self.client.predict(job_id, api_name="/job_status"))

    def ended(self, job_id: str) -> dict[str, Any]:
        wait_for(lambda: self.row(job_id)["status"] not in ("pending", "converting"), "its end")
        return self.row(job_id)


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Space, subprocess.Popen[bytes]]]:
    """A page on a Space, and its process."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = os.environ | {
        "SPACES_ZERO_GPU": "true",
        "SPACES_NOTES": str(folder / "notes"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "space")]),
        "DATA_DIR": str(folder / "data"),
        "WEIGHTS_DIR": str(weights_folder(folder / "weights")),
        "UNVERIFIED_WEIGHTS": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("GRADIO_TEMP_DIR", None)
    command = [sys.executable, "-c", PROGRAM, "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def answers() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2)
        except OSError:
            return False
        return True

    try:
        wait_for(answers, "the page")
        client = Client(url, verbose=False, download_files=str(folder))
        bundle = rvc_bundle(folder / "bundle", engine="rvc")
        with zipfile.ZipFile(folder / "tiny.zip", "w") as archive:
            for path in bundle.iterdir():
                archive.write(path, path.name)
        model = client.predict([handle_file(folder / "tiny.zip")], "Tiny", api_name="/import_model")
        yield Space(url=url, client=client, folder=folder, voice=model["id"]), server
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    with opened(tmp_path_factory.mktemp("space")) as (space, server):
        yield space
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def test_what_needs_a_gpu_is_marked_when_the_page_is_launched(space: Space) -> None:
    assert json.loads((space.folder / "notes").read_text().splitlines()[0]) == {"launched": ["compute"]}


def test_an_rvc_voice_speaks_on_the_gpu_that_is_lent_to_who_asked(space: Space) -> None:
    before = len(space.calls)
    row = space.client.submit(
        handle_file(RECORDING), space.voice, AS_SUNG, api_name="/convert_voice"
    ).result()
    assert row["status"] == "completed", row
    (call,) = space.calls[before:]
    assert call["visitor"], "the quota is that of nobody"
    assert 40 <= call["seconds"] <= 60
    wav, rate_hz = sf.read(space.client.predict(row["id"], api_name="/download_audio"))
    assert rate_hz == 40_000
    assert np.abs(wav).max() > 0.01
    log = (space.folder / "data" / "jobs" / row["id"] / "worker.log").read_text()
    assert "done after" in log
    assert "in ZeroGPU" in (space.folder / "log").read_text()


def test_many_recordings_are_one_loan(space: Space) -> None:
    before = len(space.calls)
    uploads = [space.upload(2.0), space.upload(3.0)]
    row = space.client.predict(uploads, space.voice, AS_SUNG, api_name="/start_batch")
    assert space.ended(row["id"])["status"] == "completed"
    assert len(space.calls) == before + 1


def test_a_built_in_voice_speaks_on_the_processor_of_the_space(space: Space) -> None:
    before = len(space.calls)
    models = space.client.predict(api_name="/list_models")
    built_in = next(model for model in models if model["engine"] == "lite")
    for _ in range(2):  # in a converter that has worked on the GPU before, and once more
        row = space.client.predict(space.upload(2.0), built_in["id"], {}, api_name="/start_conversion")
        assert space.ended(row["id"])["status"] == "completed"
    assert len(space.calls) == before


def test_a_conversion_on_the_gpu_is_cancelled(space: Space) -> None:
    job_id = space.begun(200.0)
    space.client.predict(job_id, api_name="/cancel_job")
    assert space.ended(job_id)["status"] == "cancelled"


def test_a_gpu_that_is_taken_away_fails_the_job_with_the_way_out(space: Space) -> None:
    job_id = space.begun(200.0)
    os.kill(space.pid, signal.SIGKILL)
    row = space.ended(job_id)
    assert row["status"] == "failed"
    assert "lent no GPU for long enough (GPU task aborted); try later" in row["error_message"]
    assert not row["dead_letter"]


def test_what_computes_on_the_gpu_leaves_when_the_server_has_died(tmp_path: Path) -> None:
    with opened(tmp_path) as (space, server):
        job_id = space.begun(600.0)
        server.kill()
        server.wait()
        wait_for(lambda: not is_alive(space.pid), "the end of what the server had forked")
        log = (space.folder / "data" / "jobs" / job_id / "worker.log").read_text()
        assert "done after" not in log, "it went on to its end"


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_who_has_no_quota_left_is_told_so(space: Space) -> None:
    (space.folder / "no-quota").touch()
    row = space.client.predict(space.upload(2.0), space.voice, AS_SUNG, api_name="/start_conversion")
    row = space.ended(row["id"])
    (space.folder / "no-quota").unlink()
    assert "exceeded your GPU quota" in row["error_message"]
    assert "<a" not in row["error_message"]
    row = space.client.predict(row["id"], api_name="/retry_job")
    assert space.ended(row["id"])["status"] == "completed"


def test_rvc_voices_are_not_trained_there_and_the_page_says_so(space: Space) -> None:
    with pytest.raises(AppError, match=r"RVC voices are not trained on this Space, .*import the voice"):
        space.client.submit(
            [handle_file(VOICE_FILES[0])], "Wren", {"engine": "rvc", "consent": True}, api_name="/train_voice"
        ).result()
    with urllib.request.urlopen(f"{space.url}/config") as answer:
        config = json.load(answer)
    (engine,) = [
        one["props"] for one in config["components"] if one["props"].get("elem_id") == "clone-engine"
    ]
    assert [value for _, value in engine["choices"]] == ["lite"]
    assert "are not trained on this Space" in json.dumps(engine["info"])


def test_without_the_package_the_start_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "app.py", "--data-dir", str(tmp_path / "data")],
        cwd=ROOT,
        env=os.environ | {"SPACES_ZERO_GPU": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install spaces" in done.stderr
