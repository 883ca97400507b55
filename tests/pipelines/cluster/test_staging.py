"""A job's files on their way to another machine and back, through a folder that both see."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pipelines.cluster.staging import NodeFiles, ServerFiles
from pipelines.cluster.store import FRESH_S, KEPT_S, SharedStore
from pipelines.job_spec import JobSpec
from rvc.errors import ConfigError

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
    server.put_in(JOB)
    node.take_in(JOB)
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
    server.put_in(JOB)
    node.take_in(JOB)
    server.fetch(JOB)
    assert (job / "work" / "checkpoints" / "step-1.ckpt").read_bytes() == b"one", "nothing was given out yet"
    checkpoints = node.root / "jobs" / JOB / "work" / "checkpoints"
    (checkpoints / "step-2.ckpt").write_bytes(b"two")
    (checkpoints / ".step-3.ckpt.part").write_bytes(b"half")
    (checkpoints / "step-1.ckpt").unlink()
    an_hour_ago = time.time() - 3600
    os.utime(checkpoints / "step-2.ckpt", (an_hour_ago, an_hour_ago))
    (checkpoints / "fresh").write_bytes(b"is being writ")
    node.give_out(settled_s=1.0)
    server.fetch(JOB)
    kept = {path.name: path.read_bytes() for path in (job / "work" / "checkpoints").iterdir()}
    assert kept == {"step-2.ckpt": b"two"}


def test_what_the_server_knows_is_not_sent_twice(
    job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path
) -> None:
    server, _ = ends
    server.put_in(JOB)
    before = {path: path.stat().st_mtime_ns for path in (shared / "objects").rglob("*") if path.is_file()}
    server.put_in(JOB)
    after = {path: path.stat().st_mtime_ns for path in (shared / "objects").rglob("*") if path.is_file()}
    assert before == after
    assert len(before) == 4  # the order, the checkpoint, the recording, the voice
    server.forget(JOB)
    assert list((shared / "lists").iterdir()) == []


def test_a_file_that_was_damaged_on_its_way_is_refused_and_leaves_nothing(
    job: Path, ends: tuple[ServerFiles, NodeFiles], shared: Path
) -> None:
    server, node = ends
    server.put_in(JOB)
    for path in (shared / "objects").rglob("*"):
        if path.is_file() and path.read_bytes() == b"weights":
            path.write_bytes(b"weighty")
    with pytest.raises(OSError, match=r"model\.safetensors came damaged"):
        node.take_in(JOB)
    assert not (node.root / "models" / VOICE / "model.safetensors").exists()


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


def test_what_nothing_has_used_for_long_is_removed(tmp_path: Path, shared: Path) -> None:
    store = SharedStore(str(shared))
    paths = []
    for name, age_s in {"old": KEPT_S + 60, "again": KEPT_S + 60, "new": 0.0}.items():
        (tmp_path / name).write_text(name)
        digest = store.put(tmp_path / name)["sha256"]
        paths.append(shared / "objects" / digest[:2] / digest)
        os.utime(paths[-1], (time.time() - age_s, time.time() - age_s))
    store.put(tmp_path / "again")  # used once more, after more than FRESH_S
    assert KEPT_S > FRESH_S
    assert store.clean_up() == 1
    assert [path.exists() for path in paths] == [False, True, True]


def test_an_address_that_nothing_can_read_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"SHARED_DIR: 'nothing://here' cannot be used \(.*correct it"):
        SharedStore("nothing://here")


def test_a_listing_is_plain_json(shared: Path, tmp_path: Path) -> None:
    store = SharedStore(str(shared))
    (tmp_path / "a").write_bytes(b"a")
    store.write_listing("x", {"jobs/1/a": store.put(tmp_path / "a")})
    (entry,) = json.loads((shared / "lists" / "x.json").read_text()).values()
    assert entry["bytes"] == 1
    assert store.read_listing("x") == {"jobs/1/a": entry}
    assert store.read_listing("y") is None
