"""What a crash may leave of a voice, and how it is made good."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipelines.store.layout import ARRIVING
from pipelines.store.records import Row
from pipelines.voices.library import EXPORT_LIFE_S, Library
from tests.pipelines.voices.test_library import ME, imported, leftovers


def test_what_crashes_left_and_old_exports_are_swept(library: Library, tmp_path: Path) -> None:
    row = imported(library, tmp_path)
    for name in (".incoming-x", ".outgoing-y", ".deleted-z"):
        (tmp_path / "data" / "models" / name).mkdir()
    old, fresh = library.export_bundle(ME, row["id"]), library.export_bundle(ME, "builtin-alto")
    os.utime(old, (time.time() - EXPORT_LIFE_S - 1,) * 2)
    half_written = old.with_name(f".{fresh.name}.part")
    half_written.touch()
    os.utime(half_written, (time.time() - EXPORT_LIFE_S - 1,) * 2)
    library.recover()
    library.expire_exports(time.time() - EXPORT_LIFE_S)
    assert leftovers(tmp_path) == [row["id"]]
    assert (old.exists(), half_written.exists(), fresh.exists()) == (False, False, True)


def test_a_voice_that_a_crash_left_without_a_row_is_swept(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> Row:
        monkeypatch.setattr("pipelines.voices.library.shutil.rmtree", lambda *_, **__: None)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(library._registry, "insert", dies)
        imported(library, tmp_path)
    monkeypatch.undo()
    assert len([name for name in leftovers(tmp_path) if not name.startswith(".")]) == 1
    library.recover()
    assert leftovers(tmp_path) == []
    row = imported(library, tmp_path)
    mark = library.folder(ME, row["id"]) / ARRIVING
    mark.touch()  # the crash came once the row was written
    library.recover()
    assert library.folder(ME, row["id"]).is_dir()
    assert not mark.exists()


def test_a_voice_stays_whose_mark_cannot_be_taken_away(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("the disk refuses")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="refuses"):
        patched.setattr(Path, "unlink", refused)
        imported(library, tmp_path)
    (voice,) = [row for row in library.list(ME) if not row["builtin"]]
    assert (library.folder(ME, voice["id"]) / "card.json").exists()
