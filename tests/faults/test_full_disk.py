"""At 0 bytes free: whatever frees room works, nothing half written stays, and the end of it is noticed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import commands
from pipelines.jobs.cleanup import recover_on_start
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store import registry as registry_module
from pipelines.store.records import Caller, new_job
from pipelines.store.registry import Registry
from pipelines.store.storage import JournaledStorage
from pipelines.voices.bundle import pack
from pipelines.voices.library import Library
from rvc.errors import ConfigError, LimitError, UnknownNameError
from rvc.files import ROOT
from tests.clocks import set_time
from tests.faults.disks import TightDisk, fill, small_disk
from tests.pipelines.jobs.toy_jobs import until
from tests.toy_worker import TOY_WORKER, write_voice
from ui.server.published import publish_file
from ui.server.services import DISK_FULL

ME, ADMIN = Caller("me"), Caller("root", admin=True)
LONG_AGO = "2020-01-01T00:00:00.000+00:00"
FillUp = Callable[[], None]


@pytest.fixture(params=["mounted", "injected"])
def fill_up(
    request: pytest.FixtureRequest, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FillUp]:
    """Fills the disk of the data folder: a real one of 16 MB, or one whose errors are made up."""
    if request.param == "injected":
        data_dir.mkdir()
        yield TightDisk(data_dir, monkeypatch).fill
    else:
        with small_disk(data_dir):
            yield lambda: fill(data_dir)


@pytest.fixture
def jobs(fill_up: FillUp, data_dir: Path) -> Iterator[Jobs]:
    opened = Jobs(Settings(data_dir=data_dir), worker_command=TOY_WORKER, retry_pauses_s=())
    opened.start()
    yield opened
    opened.close()


def keep(jobs: Jobs, data_dir: Path, **fields: object) -> str:
    """A job of mine with a folder of 100 kB."""
    status = str(fields.pop("status", "completed"))
    row = new_job("me", "training", status=status, seq=1, **fields)
    jobs.registry.insert("jobs", row)
    folder = data_dir / "jobs" / row["id"]
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(bytes(100_000))
    return str(row["id"])


def voice(jobs: Jobs, data_dir: Path, name: str = "Wren") -> str:
    job = new_job("me", "training", status="completed", seq=1, model_name=name, upload_id="u")
    return str(jobs.library.adopt(job, write_voice(data_dir / f"bundle-{job['id']}"))["id"])


def test_jobs_uploads_and_voices_are_deleted(jobs: Jobs, fill_up: FillUp, data_dir: Path) -> None:
    done, upload = keep(jobs, data_dir), keep(jobs, data_dir, status="uploaded")
    trashed, gone = voice(jobs, data_dir, "Trashed"), voice(jobs, data_dir, "Gone")
    fill_up()
    with pytest.raises(OSError, match="No space left"):
        jobs.registry.insert("jobs", new_job("me", "training", status="failed", seq=9, message="x" * 9_000))
    assert jobs.delete_voice(ME, trashed)["deleted_at"]
    jobs.delete_voice(ME, trashed, purge=True)
    jobs.delete_voice(ME, gone, purge=True)
    for job_id in (done, upload):
        assert jobs.remove(ME, job_id)["deleted_at"]
        jobs.remove(ME, job_id, purge=True)
    assert jobs.list(ME) == []
    assert jobs.library.list(ME, deleted=True) == jobs.list(ME, deleted=True) == []
    assert list((data_dir / "jobs").iterdir()) == list((data_dir / "models").iterdir()) == []
    on_disk = json.loads((data_dir / "registry.json").read_bytes())
    assert not on_disk["jobs"]
    assert not on_disk["models"]


def test_into_the_trash_and_out_again_as_often_as_one_likes(
    jobs: Jobs, fill_up: FillUp, data_dir: Path
) -> None:
    """What is kept for deleting is kept again afterwards, though nothing was freed."""
    voices = [voice(jobs, data_dir, f"Voice {number}") for number in range(20)]
    fill_up()
    for model_id in voices:
        jobs.delete_voice(ME, model_id)
    for model_id in voices:
        jobs.delete_voice(ME, model_id, purge=True)
    assert list((data_dir / "models").iterdir()) == []


def test_what_waits_is_cancelled_and_then_deleted(jobs: Jobs, fill_up: FillUp, data_dir: Path) -> None:
    resting = keep(jobs, data_dir, status="pending", not_before=time.time() + 50, upload_id="none")
    fill_up()
    assert jobs.cancel(ME, resting)["status"] == "cancelled"
    jobs.remove(ME, resting)
    assert jobs.list(ME) == []


def test_what_runs_is_stopped_and_then_deleted(jobs: Jobs, fill_up: FillUp, data_dir: Path) -> None:
    upload = keep(jobs, data_dir, status="uploaded")
    settings = {"steps": 2_000, "step_s": 0.02}
    running = jobs.submit(ME, "preprocessing", upload, settings=settings)["id"]
    until(lambda: jobs.get(ME, running)["status"] == "preprocessing")
    fill_up()
    jobs.cancel(ME, running)
    until(lambda: jobs.get(ME, running)["status"] == "cancelled", "the job's end")
    jobs.remove(ME, running)
    assert jobs.list(ME) == []


@pytest.mark.parametrize("reserve", [True, False])
@pytest.mark.timeout(60)
def test_the_server_ends_though_a_job_runs(
    jobs: Jobs, fill_up: FillUp, data_dir: Path, reserve: bool
) -> None:
    upload = keep(jobs, data_dir, status="uploaded")
    settings = {"steps": 2_000, "step_s": 0.02}
    running = jobs.submit(ME, "preprocessing", upload, settings=settings)["id"]
    until(lambda: jobs.get(ME, running)["status"] == "preprocessing")
    if not reserve:
        (data_dir / "reserve").unlink()
    fill_up()
    jobs.close()
    again = Jobs(Settings(data_dir=data_dir), worker_command=TOY_WORKER)
    with contextlib.suppress(OSError):
        again.start()
        assert again.get(ME, running)["status"] == "interrupted"
    again.close()


def test_a_clean_up_frees_it(jobs: Jobs, fill_up: FillUp, data_dir: Path) -> None:
    old, stale = keep(jobs, data_dir), keep(jobs, data_dir, status="uploaded")
    for job_id in (old, stale):
        jobs.registry.update("jobs", job_id, created_at=LONG_AGO, updated_at=LONG_AGO)
    binned = voice(jobs, data_dir)
    jobs.registry.update("models", binned, deleted_at=LONG_AGO)
    fill_up()
    found = jobs.clean_up(ADMIN, dry_run=False)
    assert (len(found.jobs), len(found.uploads), len(found.voices)) == (1, 1, 1)
    assert jobs.list(ADMIN) == []
    (archive,) = (data_dir / "archive").iterdir()
    assert [json.loads(line)["id"] for line in archive.read_bytes().splitlines()] == [old]


def test_it_is_freed_on_the_command_line_and_by_a_new_server(
    jobs: Jobs, fill_up: FillUp, data_dir: Path
) -> None:
    old, left = keep(jobs, data_dir, updated_at=LONG_AGO), keep(jobs, data_dir)
    jobs.close()
    registry = Registry(data_dir)
    registry.update("jobs", left, status="training")  # a server was killed
    registry.close()
    fill_up()
    again = Jobs(Settings(data_dir=data_dir), worker_command=TOY_WORKER)
    again.start()
    assert again.get(ME, left)["status"] == "interrupted"
    again.close()
    assert "nothing to clean up" in commands.clean_up(Settings(data_dir=data_dir), dry_run=True)[-1]
    registry = Registry(data_dir)
    assert [row["id"] for row in registry.list("jobs")] == [left], f"{old} had its time"
    registry.close()


def test_health_tells_when_there_is_room_again_before_anything_is_written(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_s = [0.0]
    set_time(monkeypatch, registry_module, monotonic=lambda: time.monotonic() + passed_s[0])
    with small_disk(data_dir):
        registry = Registry(data_dir)
        registry.insert("usage", {"id": "x", "uses": 1, "seconds_converted": 1.0})
        fill(data_dir)
        with pytest.raises(OSError, match="No space"):
            registry.insert("usage", {"id": "y" * 20_000})
        assert registry.fault == "No space left on device"
        (data_dir / "filler").unlink()
        passed_s[0] += 11.0
        assert registry.fault == ""
        assert [row["id"] for row in registry.list("usage")] == ["x"]
        registry.close()


@pytest.mark.parametrize(("failing", "deleted"), [(1, True), (2, False)])
def test_room_that_another_takes_first_is_waited_for_once(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, failing: int, deleted: bool
) -> None:
    registry = Registry(data_dir)
    registry.insert("usage", {"id": "x", "uses": 1, "seconds_converted": 1.0})
    left, append = [failing], JournaledStorage.append

    def contested(storage: JournaledStorage, line: bytes) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(storage, line)

    monkeypatch.setattr(JournaledStorage, "append", contested)
    with contextlib.nullcontext() if deleted else pytest.raises(OSError, match="No space"):
        registry.delete("usage", ["x"])
    assert (registry.get("usage", "x") is None) == deleted
    registry.close()


def test_who_asks_for_health_does_not_have_the_disk_tried_each_time(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[bytes] = []

    def full(_: JournaledStorage, line: bytes) -> None:
        tries.append(line)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    registry = Registry(data_dir)
    with monkeypatch.context() as patch:
        patch.setattr(JournaledStorage, "append", full)
        with pytest.raises(OSError, match="No space"):
            registry.insert("usage", {"id": "x"})
        tries.clear()
        assert {registry.fault for _ in range(100)} == {"No space left on device"}
    assert len(tries) <= 1
    registry.insert("usage", {"id": "x"})
    assert registry.fault == "", "a write that succeeds is known at once"
    registry.close()


def test_a_new_folder_on_a_full_disk_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        fill(disk)
        before = set(disk.rglob("*"))
        done = subprocess.run(
            [sys.executable, "app.py", "--demo-only", "--data-dir", str(disk / "data")],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "free some room" in done.stderr
        assert {path for path in disk.rglob("*") if path.is_file()} <= before | {
            disk / "data" / "server.lock"
        }


def test_an_import_that_does_not_fit_leaves_nothing(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while its files are written, nor when its row is refused after them."""
    archive = tmp_path / "voice.zip"
    pack(write_voice(tmp_path / "bundle"), archive)
    with small_disk(data_dir):
        registry = Registry(data_dir)
        library = Library(data_dir, registry, builtin_dir=data_dir / "none")
        fill(data_dir)
        monkeypatch.setattr("rvc.files.SPARE_BYTES", -(10**9))  # somebody else has filled it meanwhile
        with pytest.raises(OSError, match="No space"):
            library.import_voice(ME, [archive])
        assert list((data_dir / "models").iterdir()) == []
        registry.close()


def test_a_row_that_is_refused_takes_its_imported_files_with_it(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.mkdir()
    tight, archive = TightDisk(data_dir, monkeypatch), tmp_path / "voice.zip"
    pack(write_voice(tmp_path / "bundle"), archive)
    registry = Registry(data_dir)
    library = Library(data_dir, registry, builtin_dir=data_dir / "none")
    tight.fill()
    with pytest.raises(OSError, match="No space"):
        library.import_voice(ME, [archive])
    assert list((data_dir / "models").iterdir()) == []
    registry.close()


def test_exports_and_backups_are_whole_or_not_there(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(data_dir):
        registry = Registry(data_dir)
        library = Library(data_dir, registry, builtin_dir=data_dir / "none")
        job = new_job("me", "training", status="completed", seq=1, model_name="Wren", upload_id="u")
        model_id = str(library.adopt(job, write_voice(data_dir / "bundle"))["id"])
        (data_dir / "models" / model_id / "index.faiss").write_bytes(os.urandom(2_000_000))
        for name in ("exports", "backups"):
            (data_dir / name).mkdir()
        fill(data_dir)
        with pytest.raises(LimitError, match="no room for this export on the server's disk"):
            library.export_bundle(ME, model_id)
        monkeypatch.setattr("rvc.files.SPARE_BYTES", -(10**9))  # somebody else takes it meanwhile
        with pytest.raises(OSError, match="No space"):
            library.export_bundle(ME, model_id)
        for options in ([], ["--with-voices"]):
            told = backup(data_dir, data_dir / "backups" / "mine", *options)
            assert "cannot be written (No space left on device)" in told
        assert list((data_dir / "exports").iterdir()) == list((data_dir / "backups").iterdir()) == []
        registry.close()


def backup(data_dir: Path, target: Path, *options: str) -> str:
    """Ask for a backup that is refused; return the sentence."""
    with pytest.raises(ConfigError) as refusal:
        commands.make_backup(Settings(data_dir=data_dir), target, with_voices=bool(options))
    return str(refusal.value)


def test_what_gradio_may_serve_is_whole_or_not_there(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "cache") as cache:
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(cache))
        result = tmp_path / "result.wav"
        result.write_bytes(bytes(1_000_000))
        (cache / "room").write_bytes(bytes(20_000))
        fill(cache)
        (cache / "room").unlink()
        with pytest.raises(OSError, match="No space"):
            publish_file(result, "result")
        assert [path.name for path in cache.rglob("*") if path.is_file()] == ["filler"]


def test_what_a_kill_left_half_written_goes_at_the_next_start(data_dir: Path) -> None:
    registry = Registry(data_dir)
    halves = [data_dir / "exports" / ".voice-1.zip.part", data_dir / "backups" / ".registry-1.json.part"]
    halves.append(data_dir / ".restoring-1" / "registry.json")
    for half in halves:
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(b"half")
    (data_dir / "jobs").mkdir()
    recover_on_start(registry, data_dir / "jobs", Library(data_dir, registry))
    registry.close()
    assert not any(half.exists() for half in halves)
    assert not (data_dir / ".restoring-1").exists()


def test_whoever_meets_a_full_disk_is_told_what_frees_it() -> None:
    assert "for good" in DISK_FULL


def test_a_file_of_weights_that_does_not_fit_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import download

    part = tmp_path / "weights.part"

    def cut() -> Iterator[bytes]:
        yield b"begun"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_blocks", lambda _: cut())
    with pytest.raises(download.UnreachableError, match="No space"):
        list(download._append(None, part, 0, 100))  # type: ignore[arg-type]
    assert not part.exists()


def test_one_deleted_for_good_on_a_full_disk_is_unknown_afterwards(
    jobs: Jobs, fill_up: FillUp, data_dir: Path
) -> None:
    gone = voice(jobs, data_dir)
    fill_up()
    jobs.delete_voice(ME, gone, purge=True)
    jobs.close()
    registry = Registry(data_dir)
    with pytest.raises(UnknownNameError):
        Library(data_dir, registry).get(ME, gone)
    registry.close()
