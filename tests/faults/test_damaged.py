"""Files of the data folder that are damaged, of another kind, or out of reach: one sentence each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.backup import back_up_daily, restore
from pipelines.store.records import Caller, new_job
from pipelines.store.registry import Registry
from pipelines.users.tokens import Tokens
from rvc.errors import ConfigError, RvcError
from rvc.files import ROOT
from tests.toy_worker import TOY_WORKER, write_voice

ME = Caller("me")
Row = dict[str, Any]
Tables = dict[str, dict[str, Row]]
JOB, VOICE = "a" * 32, "b" * 32
NOBODY = 65_534


@pytest.fixture
def filled(data_dir: Path) -> Path:
    """A data folder with a job, a voice, its use, a token, and a backup of them."""
    jobs = Jobs(Settings(data_dir=data_dir), worker_command=TOY_WORKER)
    jobs.registry.insert("jobs", new_job("me", "training", status="completed", seq=1) | {"id": JOB})
    training = new_job("me", "training", status="completed", seq=2, model_name="Wren", upload_id="u")
    jobs.library.adopt(training | {"id": VOICE}, write_voice(data_dir / "bundle"))
    jobs.library.record_use(VOICE, [1.0])
    Tokens(jobs.registry).create("me", "personal", "laptop")
    jobs.close()
    for name in ("archive", "backups", "cache", "exports"):
        (data_dir / name).mkdir()
    back_up_daily(data_dir)
    return data_dir


def snapshot(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> str:
    """Start a server and clean up by hand; both are refused in the same sentence, which is returned."""
    before = snapshot(data_dir)
    with pytest.raises(RvcError) as refusal:
        Jobs(Settings(data_dir=data_dir), worker_command=TOY_WORKER)
    monkeypatch.setattr(app, "start_logging", lambda *_: None)
    for command in ([], ["--clean-up"]):
        caplog.clear()
        assert app.main([*command, "--data-dir", str(data_dir)]) == 1
        assert [record.getMessage() for record in caplog.records] == [str(refusal.value)]
        assert not any(record.exc_info for record in caplog.records)
    assert snapshot(data_dir) == before
    assert str(refusal.value).endswith(".")
    return str(refusal.value)


def lacking(table: str, name: str) -> Callable[[Tables], None]:
    def damage(tables: Tables) -> None:
        for row in tables[table].values():
            del row[name]

    return damage


def having(table: str, name: str, value: object) -> Callable[[Tables], None]:
    def damage(tables: Tables) -> None:
        for row in tables[table].values():
            row[name] = value

    return damage


WRONG_ROWS = [
    *(lacking("jobs", name) for name in ("id", "user_id", "type", "status", "seq", "files", "not_before")),
    *(lacking("models", name) for name in ("id", "user_id", "builtin", "model_name", "engine")),
    *(lacking("usage", name) for name in ("uses", "seconds_converted")),
    *(lacking("tokens", name) for name in ("digest", "kind", "last_used_at")),
    having("jobs", "status", "no such status"),
    having("jobs", "status", ["failed"]),
    having("jobs", "type", {}),
    having("jobs", "seq", "1"),
    having("jobs", "seq", 1.5),
    having("jobs", "seq", True),
    having("jobs", "not_before", None),
    having("jobs", "files", {}),
    having("jobs", "files", ["x"]),
    having("jobs", "upload_ids", [1]),
    having("jobs", "settings", None),
    having("jobs", "updated_at", 5),
    having("jobs", "updated_at", "yesterday"),
    having("jobs", "updated_at", "2020-01-01"),
    having("jobs", "id", "../../elsewhere"),
    having("models", "deleted_at", "yesterday"),
    having("models", "builtin", "no"),
    having("models", "size_bytes", "large"),
    having("usage", "uses", "often"),
    having("tokens", "digest", None),
]


@pytest.mark.parametrize("damage", WRONG_ROWS)
@pytest.mark.parametrize("with_schema", [True, False], ids=["schema", "no-schema"])
def test_a_row_that_lacks_something_or_has_it_of_another_kind(
    filled: Path,
    damage: Callable[[Tables], None],
    with_schema: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tables = json.loads((filled / "registry.json").read_bytes())
    damage(tables)
    if not with_schema:
        del tables["schema"]
    (filled / "registry.json").write_text(json.dumps(tables))
    told = refused(filled, monkeypatch, caplog)
    assert "is damaged (the row" in told
    assert "--restore" in told


@pytest.mark.parametrize("damage", WRONG_ROWS)
def test_such_a_backup_is_not_put_back(
    filled: Path, tmp_path: Path, damage: Callable[[Tables], None]
) -> None:
    tables = json.loads((filled / "registry.json").read_bytes())
    damage(tables)
    backup = tmp_path / "backup.json"
    backup.write_text(json.dumps(tables))
    before = snapshot(filled)
    with pytest.raises(ConfigError, match=r"is damaged \(the row .*restore it from a backup or move it away"):
        restore(filled, backup)
    assert snapshot(filled) == before


def test_a_path_for_an_id_is_refused(filled: Path, tmp_path: Path) -> None:
    """An id becomes the name of a folder, which is removed with its row."""
    tables = json.loads((filled / "registry.json").read_bytes())
    outside = "../../outside"
    tables["jobs"] = {outside: tables["jobs"][JOB] | {"id": outside}}
    backup = tmp_path / "backup.json"
    backup.write_text(json.dumps(tables))
    with pytest.raises(ConfigError, match="no usable id"):
        restore(filled, backup)


SCHEMAS: list[Any] = [-1, -7, 1.5, "1", None, True, [], {}]
CONTENTS = [
    b"", b"   \n", b"{half", b"null", b"[]", b"7", b'"text"', bytes(4096),
    b'{"jobs": 3}', b'{"jobs": {"a": null}}', b'{"schema": {"schema": 1}, "jobs": {}}',
    *(json.dumps({"schema": {"schema": {"version": one}}, "jobs": {}}).encode() for one in SCHEMAS),
]  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content[:40].decode(errors="replace"))
def test_a_file_that_holds_no_registry(
    filled: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (filled / "registry.json").write_bytes(content)
    told = refused(filled, monkeypatch, caplog)
    (backup,) = (filled / "backups").iterdir()
    command = f"--data-dir {filled} --restore {backup}"
    assert told.endswith(f"take the newest backup with: python app.py {command}.")
    assert app.main(command.split()) == 0
    registry = Registry(filled)
    assert registry.get("jobs", JOB) is not None
    registry.close()


def test_of_several_backups_the_newest_that_is_whole_is_named(
    filled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (backup,) = (filled / "backups").iterdir()
    cut = backup.with_name("registry-000099-2026-01-01.json")
    cut.write_bytes(backup.read_bytes()[:60])
    (filled / "registry.json").write_bytes(backup.read_bytes()[:-40])
    assert str(backup) in refused(filled, monkeypatch, caplog)
    backup.unlink()
    assert "move it away" in refused(filled, monkeypatch, caplog)


NAMES = ["jobs", "models", "archive", "backups", "cache", "exports", "weights"]
FILES = [
    "registry.json",
    ".registry.json.part",
    "registry.json.tmp",
    "server.lock",
    "gpu.lock",
    "reserve",
    "clock.json",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "dangling link", "pipe"])
def test_something_else_where_a_folder_belongs(
    filled: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = filled / name
    if path.exists():
        path.rename(filled / "elsewhere")
    if kind == "file":
        path.write_text("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(filled / "nothing")
    told = refused(filled, monkeypatch, caplog)
    assert told == f"{path} is not the folder that Timbre keeps there; move it away."


@pytest.mark.parametrize("name", FILES)
def test_a_folder_where_a_file_belongs(
    filled: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = filled / name
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "mine").touch()
    told = refused(filled, monkeypatch, caplog)
    assert told == f"{path} is not the file that Timbre keeps there; move it away."
    (backup,) = (filled / "backups").iterdir()
    before = snapshot(filled)
    with pytest.raises(ConfigError, match="move it away"):
        restore(filled, backup)
    assert snapshot(filled) == before


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that another user reaches."""
    folder = Path(tempfile.mkdtemp(prefix="timbre-test-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", [0o000, 0o555], ids=["unreadable", "read-only"])
@pytest.mark.parametrize("name", [".", "jobs", "models", "archive", "backups", "exports", "registry.json"])
def test_what_may_not_be_used(filled: Path, open_to_all: Path, name: str, mode: int) -> None:
    """As a user who is not root, for whom everything may be: in a process that gave that up."""
    data = open_to_all / "data"
    shutil.copytree(filled, data)
    if name == "registry.json" and mode == 0o555:
        pytest.skip("a file is replaced, for which it need not be writable")
    program = (
        "import os, sys; from pathlib import Path\n"
        "from pipelines.jobs.service import Jobs; from pipelines.settings import Settings\n"
        "from pipelines.store.backup import restore; from rvc.errors import ConfigError\n"
        "data = Path(sys.argv[1])\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))\n"
        "for act in (lambda: Jobs(Settings(data_dir=data)), lambda: restore(data, Path(sys.argv[3]))):\n"
        "    try: act()\n"
        "    except ConfigError as error: print(error)\n"
    )
    (backup,) = (filled / "backups").iterdir()
    copy = open_to_all / "backup.json"
    shutil.copyfile(backup, copy)
    for path in (data, *data.rglob("*")):
        if os.getuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    (data / name).chmod(mode)
    before = snapshot(data) if os.getuid() == 0 else None
    done = subprocess.run(
        [sys.executable, "-c", program, str(data), str(NOBODY), str(copy)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(str(data) in line and line.endswith(".") for line in lines)
    assert before in (None, snapshot(data))


def test_damage_to_one_job_s_own_files_stops_no_server(filled: Path) -> None:
    registry = Registry(filled)
    damaged = {"events": b'{"fraction": "x"}\n{"half\n', "not JSON": b"\xff\xfe\n" * 3, "a folder": None}
    ids = []
    for content in damaged.values():
        row = registry.insert("jobs", new_job("me", "training", status="training", seq=3))
        ids.append(row["id"])
        folder = filled / "jobs" / row["id"]
        folder.mkdir(parents=True)
        if content is None:
            (folder / "events.jsonl").mkdir()
        else:
            (folder / "events.jsonl").write_bytes(content)
    registry.close()
    jobs = Jobs(Settings(data_dir=filled), worker_command=TOY_WORKER)
    jobs.start()
    assert {jobs.get(ME, job_id)["status"] for job_id in ids} == {"interrupted"}
    assert jobs.events(ME, ids[1]) == []
    jobs.close()


def test_a_damaged_report_is_a_sentence(filled: Path) -> None:
    jobs = Jobs(Settings(data_dir=filled), worker_command=TOY_WORKER)
    report = filled / "jobs" / JOB / "prepared" / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text("{half")
    with pytest.raises(ConfigError, match="report on these recordings is damaged"):
        jobs.files.report(ME, JOB)
    jobs.close()
