"""Backups with the voices' files, there and back; where none is written, and which are not put back."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import app
from pipelines import commands, zips
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store import backup as backups
from pipelines.store.records import Caller, new_job
from pipelines.voices.archive import back_up_all, restore_any
from pipelines.voices.bundle import pack
from rvc.errors import ConfigError, RvcError
from tests.faults.disks import small_disk
from tests.faults.test_damaged import snapshot
from tests.toy_worker import TOY_WORKER, write_voice

ME = Caller("me")


class Folder:
    """A data folder with a trained voice that has an index, an imported one, and one in the trash."""

    def __init__(self, data_dir: Path, outside: Path) -> None:
        self.data_dir, self.outside = data_dir, outside
        jobs = Jobs(Settings(data_dir=data_dir), worker_command=TOY_WORKER)
        trained = new_job("me", "training", status="completed", seq=1, model_name="Trained", upload_id="u")
        bundle = write_voice(data_dir / "bundle")
        (bundle / "index.faiss").write_bytes(random.Random(0).randbytes(100_000))
        jobs.library.adopt(trained, bundle)
        outside.mkdir()
        pack(write_voice(outside / "bundle"), outside / "voice.zip")
        jobs.library.import_voice(ME, [outside / "voice.zip"], "Imported")
        trashed = jobs.library.import_voice(ME, [outside / "voice.zip"], "Trashed")
        jobs.delete_voice(ME, trashed["id"])
        self.ids = {row["model_name"]: str(row["id"]) for row in jobs.registry.list("models")}
        jobs.close()

    @property
    def backup(self) -> Path:
        return self.outside / "all.zip"

    def home(self, name: str) -> Path:
        return self.data_dir / "models" / self.ids[name]


@pytest.fixture
def folder(data_dir: Path, tmp_path: Path) -> Folder:
    return Folder(data_dir, tmp_path / "outside")


def hashes(data_dir: Path) -> dict[str, str]:
    """What conversions read of the voices."""
    models = data_dir / "models"
    return {
        str(path.relative_to(models)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in models.rglob("*")
        if path.is_file()
    }


def test_all_voices_come_back_in_an_empty_folder(folder: Folder, tmp_path: Path) -> None:
    before = hashes(folder.data_dir)
    done = back_up_all(folder.data_dir, folder.backup)
    assert (done.voices, done.lost) == (3, 0)
    assert folder.backup.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(folder.backup) as zipped:
        assert {info.compress_type for info in zipped.infolist()} == {zipfile.ZIP_STORED}
    elsewhere = tmp_path / "elsewhere"
    restored = restore_any(elsewhere, folder.backup)
    assert (restored.voices, restored.lost, restored.aside) == (3, 0, None)
    assert hashes(elsewhere) == before
    jobs = Jobs(Settings(data_dir=elsewhere), worker_command=TOY_WORKER)
    jobs.start()
    mine = {row["model_name"] for row in jobs.library.list(ME) if not row["builtin"]}
    assert mine == {"Trained", "Imported"}
    assert jobs.restore_voice(ME, folder.ids["Trashed"])["model_name"] == "Trashed"
    for model_id in folder.ids.values():
        assert jobs.library.folder(ME, model_id).is_dir()
    jobs.close()
    assert not list(elsewhere.glob(".restoring-*"))


def test_a_backup_of_any_number_of_voices_comes_back(folder: Folder, tmp_path: Path) -> None:
    """More files, and a longer directory, than anybody may send in."""
    back_up_all(folder.data_dir, folder.backup)
    ids = [f"{number:064x}" for number in range(zips.MAX_FILES // 2 + 1)]
    with zipfile.ZipFile(folder.backup, "a", zipfile.ZIP_STORED) as zipped:
        for model_id in ids:
            for name in ("card.json", "model.safetensors"):
                zipped.writestr(f"models/{model_id}/{name}", b"x")
    restored = restore_any(tmp_path / "elsewhere", folder.backup)
    assert restored.voices == len(ids) + 3
    assert (tmp_path / "elsewhere" / "models" / ids[-1] / "card.json").read_bytes() == b"x"


def test_on_the_command_line(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "start_logging", lambda *_: None)
    data, backup, elsewhere = str(folder.data_dir), str(folder.backup), str(tmp_path / "elsewhere")
    assert app.main(["--data-dir", data, "--backup", backup, "--with-voices"]) == 0
    assert "the files of 3 voices" in capsys.readouterr().out
    assert app.main(["--data-dir", elsewhere, "--restore", backup]) == 0
    assert "The files of 3 voices were put back." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        app.read_arguments(["--with-voices"])


def test_a_running_server_s_voices_may_change_and_go_meanwhile(folder: Folder) -> None:
    jobs = Jobs(Settings(data_dir=folder.data_dir), worker_command=TOY_WORKER)
    stop = threading.Event()

    def change() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            jobs.library.rename(ME, folder.ids["Trained"], f"Trained {count}")
            row = jobs.library.import_voice(ME, [folder.outside / "voice.zip"], "Brief")
            jobs.delete_voice(ME, row["id"], purge=True)

    thread = threading.Thread(target=change)
    thread.start()
    for number in range(20):
        copy = folder.outside / f"{number}.zip"
        back_up_all(folder.data_dir, copy)
        restored = restore_any(folder.outside / f"data-{number}", copy)
        assert restored.voices >= 3
        assert restored.lost <= 1
    stop.set()
    thread.join()
    jobs.close()


def test_a_voice_without_files_is_told_and_left_out(folder: Folder, tmp_path: Path) -> None:
    (folder.home("Imported") / "model.safetensors").unlink()
    done = back_up_all(folder.data_dir, folder.backup)
    assert (done.voices, done.lost) == (2, 1)
    assert restore_any(tmp_path / "elsewhere", folder.backup).lost == 1


def test_what_is_newer_is_kept_beside(folder: Folder) -> None:
    back_up_all(folder.data_dir, folder.backup)
    library = Jobs(Settings(data_dir=folder.data_dir), worker_command=TOY_WORKER)
    library.library.rename(ME, folder.ids["Imported"], "Newer name")
    newer = library.library.import_voice(ME, [folder.outside / "voice.zip"], "Newer")["id"]
    library.close()
    unchanged = folder.home("Trained").stat().st_ino
    done = restore_any(folder.data_dir, folder.backup)
    assert done.aside is not None
    kept = json.loads((done.aside / "models" / folder.ids["Imported"] / "card.json").read_text())
    assert kept["name"] == "Newer name"
    assert json.loads((folder.home("Imported") / "card.json").read_text())["name"] == "Imported"
    assert (done.aside / "models" / newer / "model.safetensors").is_file()
    assert "Newer" in (done.aside / "registry.json").read_text()
    assert folder.home("Trained").stat().st_ino == unchanged, "what is the same is not moved"
    assert not (done.aside / "models" / folder.ids["Trained"]).exists()


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(source) as zipped:
        files = {name: zipped.read(name) for name in zipped.namelist()}
    change(files)
    with zipfile.ZipFile(target, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return target


def added(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.update({name: b"x"})


def without_registry(files: dict[str, bytes]) -> None:
    del files["registry.json"]


def with_a_wrong_row(files: dict[str, bytes]) -> None:
    tables = json.loads(files["registry.json"])
    next(iter(tables["models"].values())).pop("model_name")
    files["registry.json"] = json.dumps(tables).encode()


@pytest.mark.parametrize(
    "change",
    [
        without_registry,
        with_a_wrong_row,
        lambda files: files.update({"registry.json": b""}),
        *map(
            added,
            [
                "models/../../evil", "/etc/evil", "models/a/b/card.json", "models/a/evil.so", "secret",
                "models/a\\card.json", "registry.json/x", "models/..../card.json",
            ],
        ),
    ],
)  # fmt: skip
def test_a_zip_that_is_no_such_backup_changes_nothing(
    folder: Folder, change: Callable[[dict[str, bytes]], None]
) -> None:
    back_up_all(folder.data_dir, folder.backup)
    wrong = rewritten(folder.backup, folder.outside / "wrong.zip", change)
    before = snapshot(folder.outside.parent)
    with pytest.raises(RvcError):
        restore_any(folder.data_dir, wrong)
    assert snapshot(folder.outside.parent) == before


def test_a_damaged_zip_changes_nothing(folder: Folder, tmp_path: Path) -> None:
    """Whichever byte is wrong, and wherever it is cut: refused in a sentence, unless it has no meaning."""
    back_up_all(folder.data_dir, folder.backup)
    content, chance = folder.backup.read_bytes(), random.Random(1)
    before = snapshot(folder.data_dir)
    damaged = folder.outside / "damaged.zip"
    for number in range(120):
        at = chance.randrange(len(content) if number % 2 else 3_000)
        rest = bytes([content[at] ^ 0xFF]) + content[at + 1 :] if number % 3 else b""
        damaged.write_bytes(content[:at] + rest)
        target = tmp_path / f"new-{number}"
        try:
            restore_any(target, damaged)
        except ConfigError:
            assert not target.exists()
            with pytest.raises(ConfigError):
                restore_any(folder.data_dir, damaged)
            assert snapshot(folder.data_dir) == before
        else:
            assert hashes(target) == hashes(folder.data_dir)


def test_a_running_server_is_not_restored_over(folder: Folder) -> None:
    back_up_all(folder.data_dir, folder.backup)
    jobs = Jobs(Settings(data_dir=folder.data_dir), worker_command=TOY_WORKER)
    before = snapshot(folder.data_dir)
    (folder.home("Imported") / "card.json").write_text("{}")
    with pytest.raises(ConfigError, match="stop it before you restore"):
        restore_any(folder.data_dir, folder.backup)
    assert snapshot(folder.data_dir).keys() == before.keys()
    jobs.close()


def test_without_room_nothing_is_put_back(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up_all(folder.data_dir, folder.backup)
    with small_disk(tmp_path / "disk", 1) as disk:
        with pytest.raises(ConfigError, match="free some room, or name another folder with --data-dir"):
            restore_any(disk / "data", folder.backup)
        assert list(disk.iterdir()) == []
        (disk / "other").write_bytes(bytes(980_000))
        monkeypatch.setattr("rvc.files.SPARE_BYTES", -(10**9))  # somebody else takes it meanwhile
        with pytest.raises(ConfigError, match="so nothing was restored"):
            restore_any(disk / "data", folder.backup)
        left = [path.name for path in (disk / "data").iterdir()]
        assert left == ["server.lock"]


@pytest.mark.parametrize("fails_at", range(6))
def test_a_disk_that_refuses_half_way_leaves_all_as_it_was(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    back_up_all(folder.data_dir, folder.backup)
    for name in ("Imported", "Trashed"):
        (folder.home(name) / "card.json").write_text("{}")
    before, replace, count = snapshot(folder.data_dir), Path.replace, 0
    monkeypatch.setattr(backups, "_renew_trash", lambda _: None)

    def failing(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == fails_at + 1:
            raise OSError(28, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(ConfigError, match="so nothing was restored"):
        restore_any(folder.data_dir, folder.backup)
    assert snapshot(folder.data_dir) == before


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o20666, os.makedev(1, 3))  # what /dev/null is
    except OSError:
        pytest.skip("no device may be made here")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # the longest name of a socket is short
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def linked(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        make(path.with_name("true"))
        path.symlink_to(path.with_name("true"))

    return link


MAKERS: dict[str, Callable[[Path], object]] = {
    "device": make_device, "pipe": os.mkfifo, "folder": Path.mkdir, "socket": make_socket,
    "link to a device": linked(make_device), "link to a pipe": linked(os.mkfifo),
    "link to a folder": linked(Path.mkdir), "dangling link": lambda path: path.symlink_to("nothing"),
    "circular link": lambda path: path.symlink_to(path),
}  # fmt: skip


@pytest.mark.parametrize("with_voices", [False, True], ids=["registry", "voices"])
@pytest.mark.parametrize("kind", MAKERS)
def test_only_a_plain_file_is_replaced(
    folder: Folder,
    kind: str,
    with_voices: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = folder.outside / "target"
    MAKERS[kind](target)
    facts, entries = target.lstat(), sorted(folder.outside.iterdir())
    monkeypatch.setattr(app, "start_logging", lambda *_: None)
    options = ["--with-voices"] if with_voices else []
    assert app.main(["--data-dir", str(folder.data_dir), "--backup", str(target), *options]) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{target} is no plain file, so it is not replaced; choose another file."
    ]
    assert (target.lstat().st_ino, target.lstat().st_mode) == (facts.st_ino, facts.st_mode)
    assert sorted(folder.outside.iterdir()) == entries


def test_a_link_to_a_plain_file_stays_one(folder: Folder) -> None:
    true, link = folder.outside / "true.json", folder.outside / "link.json"
    true.write_text("old")
    link.symlink_to(true)
    commands.make_backup(Settings(data_dir=folder.data_dir), link, with_voices=False)
    assert link.is_symlink()
    assert json.loads(true.read_text())["models"]


@pytest.mark.parametrize("name", ["registry.json", "server.lock", "secret", "models/x/card.json", "jobs/a"])
def test_what_the_server_works_with_is_no_place_for_a_backup(folder: Folder, name: str) -> None:
    before = snapshot(folder.data_dir)
    for with_voices in (False, True):
        with pytest.raises(ConfigError, match="not a place for a backup"):
            commands.make_backup(
                Settings(data_dir=folder.data_dir), folder.data_dir / name, with_voices=with_voices
            )
    assert snapshot(folder.data_dir) == before


def test_a_backup_of_the_registry_alone_is_put_back_as_before(folder: Folder) -> None:
    backups.back_up(folder.data_dir, folder.outside / "rows.json")
    done = restore_any(folder.data_dir, folder.outside / "rows.json")
    assert (done.voices, done.lost) == (0, 0)
