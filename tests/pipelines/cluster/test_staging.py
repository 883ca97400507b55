"""A job's files on their way to another machine and back, through a folder that both see."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.staging import NodeFiles, ServerFiles
from pipelines.cluster.store import SharedStore
from pipelines.job_spec import JobSpec

JOB, UPLOAD, VOICE = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def job(data_dir: Path) -> Path:
    """The folder of a job whose earlier try left a checkpoint, with its upload and its voice."""
    folder, upload, voice = data_dir / "jobs" / JOB, data_dir / "jobs" / UPLOAD, data_dir / "models" / VOICE
    for path, content in {
        folder / "work" / "checkpoints" / "step-1.ckpt": b"one",
        folder / "events.jsonl": b"{}\n",
        upload / "0.wav": b"sound" * 1000,
        upload / ".arriving": b"",
        voice / "model.safetensors": b"weights",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    JobSpec(
        id=JOB,
        type="conversion",
        folder=folder,
        upload_folder=upload,
        files=[],
        model_folder=voice,
        device_lock=data_dir / "gpu.lock",
    ).save()
    return folder


@pytest.fixture
def ends(
    shared: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[ServerFiles, NodeFiles]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "machine"))
    return ServerFiles(str(shared), data_dir), NodeFiles(str(shared), data_dir, "gpu-1")


def test_a_job_finds_its_files_on_the_machine_and_its_results_come_back(
    job: Path, ends: tuple[ServerFiles, NodeFiles], data_dir: Path
) -> None:
    server, node = ends
    server.upload(JOB)
    node.stage_in(JOB)
    spec = JobSpec.load(Path(node.local(str(job))))
    assert spec.folder == node.root / "jobs" / JOB
    assert (spec.upload_folder / "0.wav").read_bytes() == b"sound" * 1000
    assert spec.model_folder is not None
    assert (spec.model_folder / "model.safetensors").read_bytes() == b"weights"
    assert spec.device_lock.parent == node.root.parent, "all of a machine's workers share the device's lock"
    assert not (spec.upload_folder / ".arriving").exists()
    spec.result_folder.mkdir()
    (spec.result_folder / "made.flac").write_bytes(b"made")
    (spec.upload_folder / "prepared").mkdir()
    (spec.upload_folder / "prepared" / "report.json").write_bytes(b"{}")
    node.note({"event": "done", "job": JOB})
    server.fetch(JOB)
    assert (job / "result" / "made.flac").read_bytes() == b"made"
    assert (data_dir / "jobs" / UPLOAD / "prepared" / "report.json").read_bytes() == b"{}"
    assert JobSpec.load(job).folder == job, "the server's own order is as it was"
    assert (job / "events.jsonl").read_bytes() == b"{}\n"
    node.leave()
    assert not node.root.exists()


def test_of_a_machine_that_dies_the_last_checkpoint_is_kept_and_older_ones_go_as_they_went_there(
    job: Path, ends: tuple[ServerFiles, NodeFiles]
) -> None:
    server, node = ends
    server.upload(JOB)
    node.stage_in(JOB)
    server.fetch(JOB)
    assert (job / "work" / "checkpoints" / "step-1.ckpt").read_bytes() == b"one", "nothing was staged out yet"
    checkpoints = node.root / "jobs" / JOB / "work" / "checkpoints"
    (checkpoints / "step-2.ckpt").write_bytes(b"two")
    (checkpoints / ".step-3.ckpt.part").write_bytes(b"half")
    (checkpoints / "step-1.ckpt").unlink()
    an_hour_ago = time.time() - 3600
    os.utime(checkpoints / "step-2.ckpt", (an_hour_ago, an_hour_ago))
    (checkpoints / "fresh").write_bytes(b"is being writ")
    node.stage_out(settled_s=1.0)
    server.fetch(JOB)
    kept = {path.name: path.read_bytes() for path in (job / "work" / "checkpoints").iterdir()}
    assert kept == {"step-2.ckpt": b"two"}


def test_what_a_server_that_died_had_not_fetched_is_there_for_the_next_try(
    job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path
) -> None:
    server, node = ends
    server.upload(JOB)
    node.stage_in(JOB)
    (node.root / "jobs" / JOB / "work" / "checkpoints" / "step-2.ckpt").write_bytes(b"two")
    node.stage_out()
    server.upload(JOB)
    assert (job / "work" / "checkpoints" / "step-2.ckpt").read_bytes() == b"two"
    assert "step-2.ckpt" in (shared / "lists" / f"{JOB}.in.json").read_text()
    node.stage_in(JOB)
    (node.root / "jobs" / JOB / "work" / "checkpoints" / "step-3.ckpt").write_bytes(b"three")
    node.stage_out()
    shutil.rmtree(job / "work")  # as one who has it begun anew, from the start
    (job / "events.jsonl").unlink()
    server.upload(JOB)
    assert not (job / "work").exists()
    server.fetch(JOB)
    assert not (job / "work").exists()


def test_what_was_kept_too_long_ago_stops_no_further_try(
    job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path
) -> None:
    server, node = ends
    server.upload(JOB)
    node.stage_in(JOB)
    (node.root / "jobs" / JOB / "work" / "checkpoints" / "step-2.ckpt").write_bytes(b"two")
    node.stage_out()
    shutil.rmtree(shared / "objects")
    assert server.upload(JOB)
    assert node.stage_in(JOB)


def test_a_job_that_is_ended_while_its_files_are_on_their_way_is_left_at_the_next_file(
    job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path
) -> None:
    server, node = ends
    ended = threading.Event()
    ended.set()
    assert not server.upload(JOB, ended)
    assert not (shared / "objects").exists()
    assert server.upload(JOB)
    assert not node.stage_in(JOB, ended=ended)
    assert not (node.root / "jobs").exists()


def test_a_running_job_s_files_are_asked_for_once_and_all_at_its_end(
    job: Path, ends: tuple[ServerFiles, NodeFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, node = ends
    server.upload(JOB)
    node.stage_in(JOB)
    asked: list[str] = []
    put = SharedStore.put

    def put_and_note(store: SharedStore, path: Path) -> dict[str, Any]:
        asked.append(path.name)
        return put(store, path)

    monkeypatch.setattr(SharedStore, "put", put_and_note)
    made = node.root / "jobs" / JOB / "work" / "checkpoints" / "step-2.ckpt"
    made.write_bytes(b"two")
    for _ in range(3):
        node.stage_out(settled_s=-1.0)
    assert sorted(asked) == ["step-1.ckpt", "step-2.ckpt"]
    made.write_bytes(b"two and more")
    node.stage_out(settled_s=-1.0)
    assert asked[2:] == ["step-2.ckpt"]
    monkeypatch.setattr("pipelines.cluster.staging.FRESH_S", 0.0)
    node.stage_out(settled_s=-1.0)
    assert len(asked) == 5, "what is in use is written again once a day"
    monkeypatch.undo()
    node.note({"event": "done", "job": JOB})
    server.fetch(JOB)
    assert (job / "work" / "checkpoints" / "step-2.ckpt").read_bytes() == b"two and more"
    server.forget(JOB)
    (node.root / "jobs" / JOB / "late").write_bytes(b"late")
    node.stage_out()
    assert SharedStore.read_listing(server._store, f"{JOB}.out") is None, "nothing is staged out any more"


def test_a_sample_that_cannot_be_staged_out_does_not_end_the_job_but_a_last_word_does(
    job: Path,
    ends: tuple[ServerFiles, NodeFiles],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, node = ends
    server.upload(JOB)
    node.stage_in(JOB)

    def refuse(*_: object) -> None:
        raise ConnectionError("the bucket does not answer")

    monkeypatch.setattr(SharedStore, "put", refuse)
    node.note({"event": "progress", "job": JOB, "data": {"sample": "a.flac"}})
    assert "could not be staged out" in caplog.text
    with pytest.raises(ConnectionError):
        node.note({"event": "done", "job": JOB})


def test_the_scratch_folder_of_one_that_was_killed_goes_when_the_next_comes(
    ends: tuple[ServerFiles, NodeFiles], shared: Path, data_dir: Path
) -> None:
    _, node = ends
    base = node.root.parent
    killed = base / ("0" * 16)
    (killed / "jobs").mkdir(parents=True)
    killed.with_suffix(".in-use").touch()  # which nobody holds any more
    (base / "weights" / "kept").touch()
    other = NodeFiles(str(shared), data_dir, "gpu-2")
    assert not killed.exists()
    assert node.root.exists(), "it is at work"
    assert (base / "weights" / "kept").exists()
    for one in (node, other):
        one.leave()
    assert [path.name for path in base.iterdir()] == ["weights"]


def test_what_the_server_knows_is_not_sent_twice(
    job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path
) -> None:
    server, _ = ends
    server.upload(JOB)
    before = {path: path.stat().st_mtime_ns for path in (shared / "objects").rglob("*") if path.is_file()}
    server.upload(JOB)
    after = {path: path.stat().st_mtime_ns for path in (shared / "objects").rglob("*") if path.is_file()}
    assert before == after
    assert len(before) == 4  # the order, the checkpoint, the recording, the voice
    server.forget(JOB)
    assert list((shared / "lists").iterdir()) == []


def test_a_file_that_was_damaged_on_its_way_is_refused_and_leaves_nothing(
    job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path
) -> None:
    server, node = ends
    server.upload(JOB)
    for path in (shared / "objects").rglob("*"):
        if path.is_file() and path.read_bytes() == b"weights":
            path.write_bytes(b"weighty")
    with pytest.raises(OSError, match=r"model\.safetensors came damaged"):
        node.stage_in(JOB)
    assert not (node.root / "models" / VOICE / "model.safetensors").exists()
    server.upload(JOB)  # the next try
    node.stage_in(JOB)
    assert (node.root / "models" / VOICE / "model.safetensors").read_bytes() == b"weights"


def test_a_listing_cannot_name_files_outside_of_the_jobs(
    job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path, data_dir: Path
) -> None:
    server, _ = ends
    store = SharedStore(str(shared))
    (data_dir / "evil").write_bytes(b"evil")
    for name in (
        "../evil",
        "models/x",
        "jobs/../registry.json",
        f"jobs/{UPLOAD}/0.wav",
        f"jobs/{JOB}/job.json",
    ):
        store.write_listing(f"{JOB}.out", {name: store.put(data_dir / "evil")})
        with pytest.raises(OSError, match="none of a job's files"):
            server.fetch(JOB)


@pytest.mark.parametrize("name", ["../evil", "weights/hubert.pt", "jobs/../../evil", "/tmp/evil", "evil"])
def test_a_listing_cannot_name_files_of_the_machine(
    name: str, job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path, tmp_path: Path
) -> None:
    _, node = ends
    store = SharedStore(str(shared))
    (tmp_path / "evil").write_bytes(b"evil")
    store.write_listing(f"{JOB}.in", {name: store.put(tmp_path / "evil")})
    with pytest.raises(OSError, match="no file of a job or a voice"):
        node.stage_in(JOB)
