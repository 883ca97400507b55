"""A deleted voice comes back within a day, whatever the clock does; after it, or on request, it is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines import commands
from pipelines.jobs.cleanup import find, remove
from pipelines.settings import Settings
from pipelines.store.backup import back_up, restore
from pipelines.store.clock import Clock
from pipelines.store.records import Caller, as_text, new_job
from pipelines.store.registry import Registry
from pipelines.users.limits import Quota
from pipelines.voices.library import Library
from rvc.errors import CheckpointError, NotAllowedError, UnknownNameError
from tests.clocks import Clocks
from tests.toy_worker import write_voice

ME, OTHER, ADMIN = Caller("me"), Caller("other"), Caller("root", admin=True)
HOUR_S = 3_600.0


@pytest.fixture
def registry(data_dir: Path) -> Iterator[Registry]:
    registry = Registry(data_dir)
    yield registry
    registry.close()


@pytest.fixture
def library(registry: Registry, data_dir: Path) -> Library:
    return Library(data_dir, registry, builtin_dir=data_dir / "none")


def voice(library: Library, folder: Path, name: str = "Wren", owner: str = "me") -> str:
    job = new_job(owner, "training", status="completed", seq=1, model_name=name, upload_id="u")
    return str(library.adopt(job, write_voice(folder / f"bundle-{job['id']}"))["id"])


def ids(rows: list[dict[str, object]]) -> list[object]:
    return [row["id"] for row in rows]


def ago(hours: float) -> str:
    return as_text(datetime.now(UTC) - timedelta(hours=hours))


def test_a_deleted_voice_is_hidden_and_comes_back_whole(library: Library, tmp_path: Path) -> None:
    model_id, other = voice(library, tmp_path), voice(library, tmp_path, "Owl")
    library.record_use(model_id, [2.0])
    before, files = library.get(ME, model_id), sorted((library.folder(ME, model_id)).iterdir())
    gone = library.delete(ME, model_id)
    left = datetime.fromisoformat(gone["purge_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    assert ids(library.list(ME)) == [other]
    assert ids(library.list(ME, deleted=True)) == [model_id]
    for ask in (library.get, library.folder, library.stats, library.export_bundle, library.delete):
        with pytest.raises(UnknownNameError, match=r"The voice Wren was deleted; choose another\.$"):
            ask(ME, model_id)
    with pytest.raises(UnknownNameError, match="was deleted"):
        library.rename(ME, model_id, "Robin")
    assert library.restore(ME, model_id) == before
    assert sorted(library.folder(ME, model_id).iterdir()) == files
    assert library.list(ME, deleted=True) == []
    with pytest.raises(NotAllowedError, match="was not deleted"):
        library.restore(ME, model_id)


def test_the_trash_of_others_is_like_nothing(library: Library, tmp_path: Path) -> None:
    model_id = voice(library, tmp_path)
    library.delete(ME, model_id)
    assert library.list(OTHER, deleted=True) == []
    for asked in (model_id, "0" * 32):
        for ask in (library.get, library.restore, library.delete):
            with pytest.raises(UnknownNameError) as refusal:
                ask(OTHER, asked)
            assert str(refusal.value).replace(asked, "ID") == (
                "There is no voice 'ID'; list the voices to see their ids."
            )
        with pytest.raises(UnknownNameError, match="no voice"):
            library.delete(OTHER, asked, purge=True)
    assert ids(library.list(ADMIN, deleted=True)) == [model_id]
    assert library.restore(ADMIN, model_id)["user_id"] == "me"


def test_a_name_that_was_given_away_meanwhile_gets_a_number(library: Library, tmp_path: Path) -> None:
    first, second = voice(library, tmp_path, "x" * 80), voice(library, tmp_path, "x" * 80)
    voice(library, tmp_path, "X" * 80, owner="other")
    for model_id in (first, second):
        library.delete(ME, model_id)
    assert library.restore(ME, first)["model_name"] == "x" * 80
    numbered = library.restore(ME, second)["model_name"]
    assert numbered == "x" * 74 + " (2)"
    card = json.loads((library.folder(ME, second) / "card.json").read_text(encoding="utf-8"))
    assert card["name"] == numbered


def test_deleted_for_good_it_is_gone_at_once(library: Library, registry: Registry, tmp_path: Path) -> None:
    model_id, other = voice(library, tmp_path), voice(library, tmp_path, "Owl")
    library.delete(ME, model_id)
    for gone in (model_id, other):  # one of the trash, and one that was not there
        library.delete(ME, gone, purge=True)
        with pytest.raises(UnknownNameError, match="There is no voice"):
            library.restore(ME, gone)
    assert list((tmp_path / "data" / "models").iterdir()) == []
    assert registry.list("models") == []


def test_a_voice_whose_files_are_gone_is_not_spoken_of_with_a_traceback(
    library: Library, tmp_path: Path
) -> None:
    model_id = voice(library, tmp_path)
    (library.folder(ME, model_id) / "model.safetensors").unlink()
    f0 = {"median_hz": 120.0, "low_hz": 90.0, "high_hz": 180.0}
    for ask in (
        lambda: library.folder(ME, model_id),
        lambda: library.export_bundle(ME, model_id),
        lambda: library.rename(ME, model_id, "Robin"),
        lambda: library.set_pitch(ME, model_id, f0),
    ):
        with pytest.raises(CheckpointError, match="files of the voice Wren are no longer"):
            ask()
    library.delete(ME, model_id)
    with pytest.raises(CheckpointError, match="files of the voice Wren are no longer"):
        library.restore(ME, model_id)
    library.delete(ME, model_id, purge=True)


def test_what_is_in_the_trash_still_takes_its_room(
    library: Library, registry: Registry, tmp_path: Path
) -> None:
    """Else a quota could be passed by deleting and sending again, for a day."""
    model_id, quota = voice(library, tmp_path), Quota(registry, tmp_path / "data" / "jobs", 0)
    used = quota.used("me").voices
    library.delete(ME, model_id)
    assert quota.used("me").voices == used > 0
    library.delete(ME, model_id, purge=True)
    assert quota.used("me").voices == 0


def test_the_clean_up_takes_a_voice_after_its_day_and_says_so_before(
    library: Library, registry: Registry, data_dir: Path, tmp_path: Path
) -> None:
    settings = Settings(data_dir=data_dir)
    old, new, kept = (voice(library, tmp_path, name) for name in ("Old", "New", "Kept"))
    library.record_use(old, [1.0])
    for model_id, hours in ((old, 24.1), (new, 23.9)):
        library.delete(ME, model_id)
        registry.update("models", model_id, deleted_at=ago(hours))
    named = find(registry, settings)
    assert ids(named.voices) == [old]
    assert named.sentence(done=False).startswith("A clean-up would remove 1 deleted voice: ")
    assert named.size_bytes > 0
    assert (data_dir / "models" / old).is_dir()
    assert remove(registry, settings) == named
    assert {path.name for path in (data_dir / "models").iterdir()} == {new, kept}
    assert registry.get("usage", old) is None
    library.restore(ME, new)
    assert find(registry, settings).empty


def test_the_command_line_names_it_too(data_dir: Path, tmp_path: Path) -> None:
    registry = Registry(data_dir)
    library = Library(data_dir, registry)
    model_id = voice(library, tmp_path)
    library.delete(ME, model_id)
    registry.update("models", model_id, deleted_at=ago(30))
    registry.close()
    settings = Settings(data_dir=data_dir)
    listed = commands.clean_up(settings, dry_run=True)
    assert any(model_id in line and "Wren" in line for line in listed)
    assert (data_dir / "models" / model_id).is_dir()
    assert commands.clean_up(settings, dry_run=False)[-1].startswith("Removed 1 deleted voice")
    assert not (data_dir / "models" / model_id).exists()


@pytest.mark.parametrize("jump_s", [400 * 86_400.0, 25 * HOUR_S, -400 * 86_400.0, -25 * HOUR_S])
def test_a_clock_that_is_set_takes_no_voice_early_and_keeps_none_for_long(
    registry: Registry,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jump_s: float,
) -> None:
    clock, settings = Clocks(monkeypatch), Settings(data_dir=data_dir)
    seen = Clock(data_dir)
    library = Library(data_dir, registry)
    before, after = voice(library, tmp_path, "Before"), voice(library, tmp_path, "After")

    def left() -> set[object]:
        """As the housekeeping of a running server leaves it."""
        if seen.look():
            remove(registry, settings)
        return set(ids(library.list(ME, deleted=True)))

    library.delete(ME, before)
    clock.passed_s = HOUR_S
    clock.wrong_s = jump_s
    library.delete(ME, after)
    assert left() == {before, after}
    clock.passed_s = 23.5 * HOUR_S
    assert left() == {before, after}
    clock.passed_s = 24.5 * HOUR_S
    assert left() >= {after}
    clock.passed_s = 25.5 * HOUR_S
    assert after not in left()
    clock.passed_s = 50 * HOUR_S
    assert left() == set()


def test_a_deletion_that_lies_ahead_counts_from_now(
    library: Library, registry: Registry, data_dir: Path, tmp_path: Path
) -> None:
    """The clock was put back while no server ran."""
    model_id = voice(library, tmp_path)
    library.delete(ME, model_id)
    registry.update("models", model_id, deleted_at=ago(-400 * 24))
    remove(registry, Settings(data_dir=data_dir))
    (row,) = library.list(ME, deleted=True)
    assert ago(0.1) < row["deleted_at"] <= ago(0)


def test_a_backup_that_is_put_back_gives_the_trash_its_day_again(data_dir: Path, tmp_path: Path) -> None:
    """The voice may have been restored since the backup, and then nobody thinks of it."""
    registry = Registry(data_dir)
    library = Library(data_dir, registry)
    model_id, lost = voice(library, tmp_path), voice(library, tmp_path, "Lost")
    for deleted in (model_id, lost):
        library.delete(ME, deleted)
        registry.update("models", deleted, deleted_at=ago(23))
    registry.close()
    back_up(data_dir, tmp_path / "copy.json")
    registry = Registry(data_dir)
    library = Library(data_dir, registry)
    library.restore(ME, model_id)
    library.delete(ME, lost, purge=True)
    registry.close()
    done = restore(data_dir, tmp_path / "copy.json")
    assert (done.rows, done.lost) == (2, 0)
    registry = Registry(data_dir)
    library = Library(data_dir, registry)
    assert all(row["deleted_at"] > ago(1) for row in library.list(ME, deleted=True))
    assert library.restore(ME, model_id)["model_name"] == "Wren"
    registry.close()
