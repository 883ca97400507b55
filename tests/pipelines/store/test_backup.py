"""Backups of the registry: always whole, put back as a whole, and nothing is lost by putting one back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.commands import restore_backup
from pipelines.jobs.cleanup import recover_on_start
from pipelines.settings import Settings
from pipelines.store import registry as registries
from pipelines.store.backup import KEPT, back_up, back_up_daily, restore
from pipelines.store.layout import daily_backups
from pipelines.store.records import new_id, new_job
from pipelines.store.registry import SCHEMA_VERSION, Registry
from pipelines.store.storage import Tables
from pipelines.users.tokens import Tokens
from pipelines.voices.library import Library
from rvc.errors import ConfigError

VOICE = {"user_id": "me", "model_name": "Wren", "engine": "toy", "builtin": False, "training_job_id": None}


def filled(data_dir: Path, *, jobs: int = 2) -> list[str]:
    """A registry of some jobs with their folders, closed; the jobs' ids."""
    registry = Registry(data_dir)
    ids = []
    for number in range(jobs):
        row = new_job("me", "training", status="completed", seq=number)
        registry.insert("jobs", row)
        ids.append(str(row["id"]))
        (data_dir / "jobs" / row["id"]).mkdir(parents=True)
    registry.close()
    return ids


def known(data_dir: Path) -> set[str]:
    registry = Registry(data_dir)
    try:
        return {row["id"] for row in registry.list("jobs")}
    finally:
        registry.close()


def test_a_backup_holds_what_the_registry_held_and_brings_it_back(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copies" / "copy.json"
    ids = filled(data_dir)
    assert back_up(data_dir, copy) == 2
    assert copy.stat().st_mode & 0o077 == 0
    (data_dir / "registry.json").unlink()
    done = restore(data_dir, copy)
    assert (done.rows, done.aside, done.lost) == (2, None, 0)
    assert known(data_dir) == set(ids)


def test_a_backup_is_made_while_a_server_runs_but_none_is_put_back(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy.json"
    ids = filled(data_dir)
    registry = Registry(data_dir)
    assert back_up(data_dir, copy) == 2
    before = (data_dir / "registry.json").read_bytes()
    with pytest.raises(ConfigError, match="stop it before you restore"):
        restore(data_dir, copy)
    assert (data_dir / "registry.json").read_bytes() == before
    registry.close()
    assert known(data_dir) == set(ids)


def test_what_was_there_is_kept_beside_and_newer_folders_are_not_swept_away(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy.json"
    old = filled(data_dir, jobs=1)
    back_up(data_dir, copy)
    (new,) = filled(data_dir, jobs=1)
    voice = new_id()
    (data_dir / "models" / voice).mkdir(parents=True)
    done = restore(data_dir, copy)
    assert known(data_dir) == set(old)
    assert done.aside is not None
    assert new in json.loads((done.aside / "registry.json").read_text())["jobs"]
    assert (done.aside / "jobs" / new).is_dir()
    assert (done.aside / "models" / voice).is_dir()
    registry = Registry(data_dir)
    recover_on_start(registry, data_dir / "jobs", Library(data_dir, registry))
    registry.close()
    assert {path.name for path in (data_dir / "jobs").iterdir()} == set(old)


def test_whoever_restores_is_told_that_revoked_tokens_are_valid_again(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy.json"
    filled(data_dir)
    registry = Registry(data_dir)
    tokens = Tokens(registry)
    token, row = tokens.create("ada", "personal", "laptop")
    tokens.create("ada", "login", "login")
    back_up(data_dir, copy)
    tokens.revoke("ada", row["id"])
    registry.close()
    (said,) = [line for line in restore_backup(Settings(data_dir=data_dir), copy) if "token" in line]
    assert said.startswith("1 personal token")
    registry = Registry(data_dir)
    assert Tokens(registry).find(token, "personal") is not None
    registry.close()


def test_voices_without_files_are_counted(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy.json"
    registry = Registry(data_dir)
    registry.insert("models", VOICE | {"id": "gone"})
    registry.close()
    back_up(data_dir, copy)
    assert restore(data_dir, copy).lost == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{half", "not readable JSON"),
        ("[]", "holds no tables"),
        ('{"jobs": []}', "holds no tables"),
        ('{"jobs": {"a": 3}}', "holds no tables"),
        ('{"name": {}}', "no backup of a registry"),
        ('{"schema": {"schema": {"version": 999}}, "jobs": {}}', "newer Timbre"),
    ],
)
def test_what_is_no_backup_is_refused_and_nothing_changes(tmp_path: Path, content: str, reason: str) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy.json"
    ids = filled(data_dir)
    copy.write_text(content)
    before = set(data_dir.rglob("*"))
    with pytest.raises(ConfigError, match=reason):
        restore(data_dir, copy)
    assert set(data_dir.rglob("*")) == before
    assert known(data_dir) == set(ids)


def test_what_is_missing_or_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no registry"):
        back_up(tmp_path / "nothing", tmp_path / "copy.json")
    with pytest.raises(ConfigError, match="no file"):
        restore(tmp_path / "data", tmp_path / "nothing.json")
    filled(tmp_path / "data")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        back_up(tmp_path / "data", tmp_path / "file" / "copy.json")


def test_the_newest_daily_backups_are_kept(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    filled(data_dir)
    folder = data_dir / "backups"
    folder.mkdir()
    today = datetime.now(UTC).date()
    for days in range(1, 10):
        (folder / f"registry-{today - timedelta(days=days)}.json").write_text("{}")
    made = back_up_daily(data_dir)
    assert made is not None
    assert back_up_daily(data_dir) is None
    kept = daily_backups(data_dir)
    assert len(kept) == KEPT
    assert kept[0] == made
    assert kept[-1].name == f"registry-{today - timedelta(days=6)}.json"


def test_a_damaged_registry_names_the_backup_and_the_command_that_works(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    ids = filled(data_dir)
    made = back_up_daily(data_dir)
    (data_dir / "registry.json").write_bytes((data_dir / "registry.json").read_bytes()[:50])
    with pytest.raises(ConfigError, match=rf"not readable JSON; .*--restore {made}\.$"):
        Registry(data_dir)
    assert made is not None
    done = restore(data_dir, made)
    assert known(data_dir) == set(ids)
    assert done.aside is not None
    assert (done.aside / "registry.json").stat().st_size == 50


def _rename(old: str, new: str) -> Callable[[Tables], None]:
    def step(tables: Tables) -> None:
        for row in tables["jobs"].values():
            row[new] = row.pop(old)

    return step


def test_a_backup_of_an_older_form_is_brought_up_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy.json"
    (job_id,) = filled(data_dir, jobs=1)
    back_up(data_dir, copy)
    steps = {SCHEMA_VERSION: _rename("eta_s", "left_s"), SCHEMA_VERSION + 1: _rename("left_s", "remaining_s")}
    monkeypatch.setattr(registries, "MIGRATIONS", {**registries.MIGRATIONS, **steps})
    monkeypatch.setattr(registries, "SCHEMA_VERSION", SCHEMA_VERSION + 2)
    restore(data_dir, copy)
    row = json.loads((data_dir / "registry.json").read_text())["jobs"][job_id]
    assert "remaining_s" in row
    assert "left_s" not in row
    written = json.loads((data_dir / "registry.json").read_text())
    assert written["schema"]["schema"]["version"] == SCHEMA_VERSION + 2
    kept = json.loads((data_dir / f"registry.v{SCHEMA_VERSION}.json").read_text())
    assert "eta_s" in kept["jobs"][job_id]


def test_a_migration_that_fails_leaves_the_registry_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "data"
    filled(data_dir)
    before = (data_dir / "registry.json").read_bytes()
    monkeypatch.setattr(registries, "MIGRATIONS", {SCHEMA_VERSION: _rename("no such field", "x")})
    monkeypatch.setattr(registries, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(KeyError):
        Registry(data_dir)
    assert (data_dir / "registry.json").read_bytes() == before
    assert daily_backups(data_dir) == []
