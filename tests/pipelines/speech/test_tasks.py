"""The work on a text as a job has it, with voices at toy size of both kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from pipelines.conversion import load_voice as loading
from pipelines.events import Done, Progress
from pipelines.job_spec import JobSpec
from pipelines.speech.texts import receive_lines, receive_text, typed
from pipelines.store.records import spoken_path
from pipelines.worker_tasks import TASKS
from rvc.errors import TextError
from tests.tiny import toy_bundle
from tests.tiny_rvc_voice import rvc_bundle, weights_at

TEXT = "Hello there. This is what I say."


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    loading._voice.cache_clear()
    yield
    loading._voice.cache_clear()


@pytest.fixture(params=["lite", "rvc"])
def voice(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle of a voice, whose weights are all found."""
    store = weights_at(tmp_path / "weights", "rmvpe")
    monkeypatch.setattr("pipelines.weights.weight_store", lambda: store)
    f0 = {"median_hz": 220.0, "low_hz": 150.0, "high_hz": 330.0}
    return (toy_bundle if request.param == "lite" else rvc_bundle)(tmp_path / "voice", f0=f0)


def spec_of(
    tmp_path: Path, voice: Path, kind: str, files: list[dict[str, Any]], **settings: object
) -> JobSpec:
    folder = tmp_path / f"job-{kind}-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    return JobSpec(
        id="job",
        type=kind,
        folder=folder,
        upload_folder=tmp_path / "upload",
        files=[file | {"upload_id": "upload"} for file in files],
        settings=settings,
        model_name="Wren",
        model_folder=voice,
        device_lock=tmp_path / "lock",
    )


def sent(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    (tmp_path / "upload").mkdir(exist_ok=True)
    with typed(text) as ((path, _),):
        return receive_text(path, tmp_path / "upload", lambda _: None)


def run(spec: JobSpec) -> tuple[dict[str, Any], list[Progress]]:
    events = list(TASKS[spec.type](spec))
    assert isinstance(events[-1], Done)
    return events[-1].result, [event for event in events if isinstance(event, Progress)]


def test_a_text_becomes_a_recording_as_long_as_it_was_read_aloud(tmp_path: Path, voice: Path) -> None:
    spec = spec_of(tmp_path, voice, "speech", sent(tmp_path, TEXT), format="flac", speed=1.5)
    result, signs = run(spec)
    made = spec.folder / result["path"]
    read, spoken = sf.info(made), sf.info(spoken_path(spec.folder, made.name))
    assert read.duration == pytest.approx(spoken.duration, abs=1e-3)
    assert result["seconds"] == pytest.approx(read.duration, abs=1e-3)
    fractions = [sign.fraction for sign in signs]
    assert fractions == sorted(fractions)
    assert {"Saying the text", "Speaking"} <= {sign.stage for sign in signs}
    told = json.loads(sf.SoundFile(made).comment)["settings"]
    assert (told["synthesiser"], told["language"], told["speed"]) == ("espeak-ng", "en-us", 1.5)


def test_the_same_text_sounds_the_same_again(tmp_path: Path, voice: Path) -> None:
    files = sent(tmp_path, TEXT)
    first, second = (spec_of(tmp_path, voice, "speech", files) for _ in range(2))
    waves = [sf.read(spec.folder / run(spec)[0]["path"])[0] for spec in (first, second)]
    np.testing.assert_array_equal(*waves)


def test_it_is_spoken_where_the_voice_lies_even_if_it_could_be_sung(tmp_path: Path, voice: Path) -> None:
    """Words held long on one note, as a synthesiser may hold them, move to the median all the same."""
    spec = spec_of(tmp_path, voice, "speech", sent(tmp_path, "Aaaa oooo mmmm. Noooo, moooore."), speed=0.5)
    result, _ = run(spec)
    wanted = 12.0 * np.log2(220.0 / result["source_median_hz"])
    assert result["transpose_semitones"] == pytest.approx(wanted)


def test_a_pitch_that_was_asked_for_is_kept(tmp_path: Path, voice: Path) -> None:
    spec = spec_of(tmp_path, voice, "speech", sent(tmp_path, TEXT), transpose_semitones=3)
    assert run(spec)[0]["transpose_semitones"] == 3.0


def test_every_line_is_a_file_and_recordings_may_be_among_them(tmp_path: Path, voice: Path) -> None:
    (tmp_path / "lines.txt").write_text("First line.\n\nSecond, spoken?\n", encoding="utf-8")
    upload = tmp_path / "upload"
    upload.mkdir()
    rows = receive_lines(tmp_path / "lines.txt", "lines.txt", upload, 10, lambda _: None)
    spec = spec_of(tmp_path, voice, "batch", rows, language="en-GB")
    result, _ = run(spec)
    assert (result["converted"], result["failed"]) == (2, 1)
    made = sorted(path.name for path in (spec.folder / "result").iterdir())
    assert made == ["1 First line.wav", "3 Second_ spoken.wav"]
    for name in made:
        assert sf.info(spec.folder / "result" / name).duration == pytest.approx(
            sf.info(spoken_path(spec.folder, name)).duration, abs=1e-3
        )


def test_a_text_that_its_language_has_no_sounds_for_is_refused_and_leaves_no_sound(
    tmp_path: Path, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.speech.espeak.Espeak.say", lambda *_: np.zeros(2_000, np.float32))
    spec = spec_of(tmp_path, voice, "speech", sent(tmp_path, TEXT), language="nl")
    with pytest.raises(TextError, match="Nothing in this text can be said in the language 'nl'"):
        list(TASKS["speech"](spec))
    assert not [path for path in spec.folder.rglob("*") if path.is_file()]
