"""What a clean-up takes, what it leaves, and that looking changes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import orjson
import pytest

from pipelines import commands as maintenance
from pipelines.jobs.cleanup import find, keep_house, recover_on_start, remove
from pipelines.settings import Settings
from pipelines.store.clock import Clock
from pipelines.store.layout import ARRIVING, CLOCK_NAME
from pipelines.store.records import Caller, new_id, new_job
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from pipelines.voices.presets import Presets
from rvc.errors import ConfigError, NotAllowedError
from tests.pipelines.jobs.toy_jobs import ADMIN, ME, OTHER, Open, add_voice, end_of, submit, upload

LONG_AGO = "2020-01-01T00:00:00.000+00:00"


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir)


def keep(registry: Registry, data_dir: Path, **fields: object) -> str:
    """Add a job with a folder of 1000 bytes; return its id."""
    status = str(fields.pop("status", "completed"))
    row = new_job("me", "training", status=status, seq=1, **fields)
    registry.insert("jobs", row)
    folder = data_dir / "jobs" / row["id"]
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(bytes(1000))
    return str(row["id"])


def aged(path: Path, *, folder: bool = True) -> Path:
    """Something on the disk that nobody has touched for a week."""
    if folder:
        path.mkdir(parents=True)
        (path / "left.bin").write_bytes(bytes(500))
    else:
        path.write_bytes(bytes(500))
    week_ago = time.time() - 7 * 86_400
    for one in (path, *(path.iterdir() if folder else ())):
        os.utime(one, (week_ago, week_ago))
    return path


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_dry_run_names_everything_and_changes_nothing(settings: Settings, data_dir: Path) -> None:
    registry = Registry(data_dir)
    old = keep(registry, data_dir, updated_at=LONG_AGO)
    stale = keep(registry, data_dir, status="uploaded", created_at=LONG_AGO)
    keep(registry, data_dir)
    orphan = aged(data_dir / "jobs" / new_id())
    voice = aged(data_dir / "models" / new_id())
    half = aged(data_dir / "models" / ".incoming-x")
    replaced = registry.insert("models", {"id": new_id(), "user_id": "me"})["id"]
    aged(data_dir / "models" / f".deleted-{replaced}")  # all there is, until the server is started
    before = snapshot(data_dir)
    found = find(registry, settings)
    assert snapshot(data_dir) == before
    assert [row["id"] for row in found.jobs] == [old]
    assert [row["id"] for row in found.uploads] == [stale]
    assert all("model_name" in row for row in (*found.jobs, *found.uploads)), "as it is shown to a person"
    assert set(found.orphans) == {orphan, voice, half}
    assert found.size_bytes == 2 * 1000 + 3 * 500
    assert found.sentence(done=False).startswith(
        "A clean-up would remove 1 old job, 1 unused upload, 3 files"
    )
    registry.close()


def test_a_clean_up_removes_exactly_what_the_dry_run_named(settings: Settings, data_dir: Path) -> None:
    registry = Registry(data_dir)
    old = keep(registry, data_dir, updated_at=LONG_AGO)
    used = keep(registry, data_dir, status="uploaded", created_at=LONG_AGO)
    new = keep(registry, data_dir, upload_id=used)
    orphan = aged(data_dir / "jobs" / new_id())
    named = find(registry, settings)
    assert remove(registry, settings) == named
    assert {row["id"] for row in registry.list("jobs")} == {used, new}
    assert {path.name for path in (data_dir / "jobs").iterdir()} == {used, new}
    assert not orphan.exists()
    (archive,) = (data_dir / "archive").iterdir()
    assert [orjson.loads(line)["id"] for line in archive.read_bytes().splitlines()] == [old]
    assert find(registry, settings).empty
    assert find(registry, settings).sentence(done=True) == "There is nothing to clean up."
    registry.close()


def test_presets_go_with_the_visitor_who_comes_no_more(settings: Settings, data_dir: Path) -> None:
    registry = Registry(data_dir)
    presets = Presets(registry, Library(data_dir, registry))

    def left() -> set[str]:
        return {str(row["user_id"]) for row in registry.list("presets")}

    users = ("visitor-gone", "client-gone", "visitor-comes", "visitor-works", "anna")
    for user in users:
        presets.save(Caller(user), "Bright", {"protect": 0.4})
    assert find(registry, settings).empty
    rows = registry.list("presets")
    registry.update_many("presets", [row["id"] for row in rows], created_at=LONG_AGO, seen_at=LONG_AGO)
    presets.list(Caller("visitor-comes"))
    registry.insert("jobs", new_job("visitor-works", "conversion", status="completed", seq=1))
    note = {"seen_s": 0, "run_s": 0, "uncounted_s": 0, "days_s": []}
    (data_dir / CLOCK_NAME).write_bytes(orjson.dumps(note))  # a clock that has jumped makes nobody gone
    assert find(registry, settings, clock=Clock(data_dir)).presets == []
    assert {row["user_id"] for row in remove(registry, settings).presets} == set(users[:2])
    assert left() == set(users[2:])
    registry.close()


def test_what_may_just_be_written_is_no_orphan_of_a_running_server(
    settings: Settings, data_dir: Path
) -> None:
    registry = Registry(data_dir)
    keep(registry, data_dir)
    arriving = data_dir / "jobs" / new_id()
    arriving.mkdir()
    (arriving / "half.wav").write_bytes(bytes(10))
    aged(data_dir / "jobs" / "not-an-id")
    assert find(registry, settings).empty
    assert find(registry, settings, untouched_s=0).orphans == [arriving]
    registry.close()


def test_an_empty_registry_makes_no_orphans(settings: Settings, data_dir: Path) -> None:
    """It was lost, perhaps, and is about to be restored."""
    left = aged(data_dir / "jobs" / new_id())
    voice = aged(data_dir / "models" / new_id())
    half = aged(data_dir / "jobs" / new_id())
    (half / ARRIVING).touch()
    registry = Registry(data_dir)
    assert find(registry, settings, untouched_s=0).empty
    recover_on_start(registry, data_dir / "jobs", Library(data_dir, registry))
    assert left.exists()
    assert voice.exists()
    assert not half.exists(), "the server died while it received this; no registry ever knew it"
    registry.close()


def test_once_a_day_the_registry_is_backed_up_and_orphans_go(settings: Settings, data_dir: Path) -> None:
    registry = Registry(data_dir)
    kept = keep(registry, data_dir)
    first = aged(data_dir / "jobs" / new_id())
    keep_house(registry, settings)
    (backup,) = (data_dir / "backups").iterdir()
    assert kept in orjson.loads(backup.read_bytes())["jobs"]
    assert not first.exists()
    second = aged(data_dir / "jobs" / new_id())
    keep_house(registry, settings)
    assert second.exists()
    backup.rename(backup.with_name("registry-2020-01-01.json"))
    keep_house(registry, settings)
    assert not second.exists()
    registry.close()


def test_on_the_command_line_it_is_the_same_and_waits_for_no_server(
    settings: Settings, data_dir: Path
) -> None:
    registry = Registry(data_dir)
    old = keep(registry, data_dir, updated_at=LONG_AGO)
    with pytest.raises(ConfigError, match="Another Timbre server"):
        maintenance.clean_up(settings, dry_run=True)
    registry.close()
    listed = maintenance.clean_up(settings, dry_run=True)
    assert any(old in line for line in listed)
    assert (data_dir / "jobs" / old).exists()
    assert maintenance.clean_up(settings, dry_run=False)[-1].startswith("Removed 1 old job")
    assert not (data_dir / "jobs" / old).exists()


def test_only_an_admin_sees_everything_and_cleans_up(open_jobs: Open, tmp_path: Path, data_dir: Path) -> None:
    jobs = open_jobs()
    jobs.start()
    add_voice(jobs, data_dir)
    recording = upload(jobs, tmp_path)
    failed = submit(jobs, "preprocessing", recording, steps=1, fault="internal")
    refused = submit(jobs, "preprocessing", recording, steps=1, fault="input")
    upload(jobs, tmp_path, OTHER)
    for job_id in (failed, refused):
        end_of(jobs, job_id, "failed")
    for ask in (jobs.shares, jobs.dead_letters):
        with pytest.raises(NotAllowedError, match="who runs the server"):
            ask(ME)
    with pytest.raises(NotAllowedError):
        jobs.clean_up(ME, dry_run=True)
    shares = {share.user_id: share for share in jobs.shares(ADMIN)}
    assert (shares["me"].jobs, shares["me"].voices, shares["other"].jobs) == (3, 1, 1)
    assert shares["me"].size_bytes > shares["other"].size_bytes > 0
    (letter,) = jobs.dead_letters(ADMIN)
    assert letter["id"] == failed
    assert "ZeroDivisionError" in jobs.files.log(ADMIN, failed)
    jobs.retry(ADMIN, failed)
    assert jobs.dead_letters(ADMIN) == []
    end_of(jobs, failed, "failed")
    assert jobs.clean_up(ADMIN, dry_run=True).empty
