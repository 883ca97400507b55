"""Presets that several callers save at the same time, and settings that are none."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.records import Caller, Row, new_job
from pipelines.voices import presets as module
from pipelines.voices.library import Library
from pipelines.voices.presets import Presets
from rvc.errors import LimitError
from tests.toy_worker import write_voice

ME = Caller("me")
NAMES = [f"preset {number}" for number in range(8)]


@pytest.fixture
def presets(library: Library) -> Presets:
    return Presets(library._registry, library)


def voice(library: Library, tmp_path: Path) -> str:
    job = new_job("me", "training", status="training", seq=1, model_name="Wren", upload_id="u")
    return str(library.adopt(job, write_voice(tmp_path / "bundle"))["id"])


def slowed(read: Callable[..., Any]) -> Callable[..., Any]:
    """Give other threads their turn after something was read."""

    def reads(*arguments: object) -> Any:  # noqa: ANN401
        found = read(*arguments)
        time.sleep(0.02)
        return found

    return reads


def at_once(act: Callable[[str], Row]) -> list[Row]:
    """Do it with all names at the same time; what is refused gives nothing."""

    def done(name: str) -> list[Row]:
        try:
            return [act(name)]
        except LimitError:
            return []

    with ThreadPoolExecutor(len(NAMES)) as threads:
        return [row for rows in threads.map(done, NAMES) for row in rows]


def test_of_presets_that_are_saved_with_a_voice_at_once_none_is_lost(
    presets: Presets, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = voice(library, tmp_path)
    monkeypatch.setattr(presets, "_others", slowed(presets._others))
    at_once(lambda name: presets.save(ME, name, {}, model_id))
    assert sorted(row["name"] for row in library.get(ME, model_id)["presets"]) == NAMES
    at_once(lambda name: presets.delete(ME, name, model_id))
    assert library.get(ME, model_id)["presets"] == []


def test_a_person_has_no_more_than_the_most_however_many_are_saved_at_once(
    presets: Presets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OF_A_PERSON", 3)
    monkeypatch.setattr(presets, "_others", slowed(presets._others))
    assert len(at_once(lambda name: presets.save(ME, name, {}))) == len(presets.list(ME)) == 3


def test_no_settings_at_all_are_those_of_the_voice(presets: Presets) -> None:
    assert presets.save(ME, "As it is", None)["settings"] == {}  # type: ignore[arg-type]
