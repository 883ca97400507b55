"""Where a voice lies, as its owner says it: in words, in numbers, by a recording; and that it stays known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.store.backup import back_up, restore
from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from pipelines.voices.pitch import measured_pitch, stated_pitch
from rvc.engine.card import read_card
from rvc.errors import AudioError, ConfigError, NotAllowedError, UnknownNameError
from tests.hostile.bad_files import bad_recordings, zipped
from tests.sounds import tone, write
from tests.toy_worker import write_voice
from tests.voices import MAN, WOMAN, Voice, speak

ME, OTHER, ADMIN = Caller("me"), Caller("other"), Caller("root", admin=True)
SUNG = {"median_hz": 300.0, "low_hz": 200.0, "high_hz": 600.0}


@pytest.mark.parametrize(
    ("said", "median_hz"),
    [("low", 120.0), (" Middle", 165.0), ("HIGH", 215.0), (98, 98.0), (98.5, 98.5), ("98.5 Hz", 98.5)],
)
def test_a_word_or_a_median_says_where_a_voice_lies(said: object, median_hz: float) -> None:
    f0 = stated_pitch(said)
    assert f0["median_hz"] == median_hz
    assert f0["low_hz"] < median_hz < f0["high_hz"]
    assert f0["high_hz"] / f0["low_hz"] == pytest.approx(1.5 / 0.7, rel=0.01)


def test_numbers_are_taken_as_they_are() -> None:
    assert stated_pitch(SUNG) == SUNG
    assert stated_pitch({"median_hz": 100, "high_hz": 250}) == {
        "median_hz": 100.0,
        "low_hz": 70.0,
        "high_hz": 250.0,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        "alto", "", None, [], [120], True, -1, 0, 10, 5_000, float("nan"), float("inf"), 10**30, "nan",
        "1e999", {}, {"median_hz": "low"}, {"median_hz": 120, "x": 1}, {"median_hz": 120, "low_hz": 130},
        {"median_hz": 120, "high_hz": 110}, {"median_hz": 120, "low_hz": None}, {"low_hz": 100},
        {"median_hz": 120, "low_hz": -5}, {"median_hz": 120, "high_hz": 1e6}, {"median_hz": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_pitch_is_refused_in_a_sentence(wrong: object) -> None:
    with pytest.raises(ConfigError) as refusal:
        stated_pitch(wrong)
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("voice", [MAN, WOMAN], ids=["man", "woman"])
def test_a_recording_tells_where_its_voice_lies(tmp_path: Path, voice: Voice) -> None:
    path = write(tmp_path / "me.flac", "flac", speak(voice, 8.0)[:, None], 16_000)
    f0 = measured_pitch(path, "me.flac")
    assert f0["median_hz"] == pytest.approx(voice.f0_hz, rel=0.12)
    assert 0.6 < f0["low_hz"] / f0["median_hz"] < 1.0 < f0["high_hz"] / f0["median_hz"] < 1.6


def test_a_tone_is_measured_to_the_hertz(tmp_path: Path) -> None:
    path = write(tmp_path / "tone.wav", "wav16", tone(2.0, 44_100, channels=2), 44_100)
    f0 = measured_pitch(path, "tone.wav")
    assert f0["median_hz"] == pytest.approx(220.0, abs=1.0)
    assert f0["high_hz"] - f0["low_hz"] < 2.0


def test_a_recording_without_a_voice_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    cases = dict(bad_recordings(tmp_path))
    cases = {what: cases[what] for what in ("noise", "picture", "wav with no rate", "empty", "playlist")}
    cases["a short word"] = write(tmp_path / "short.wav", "wav16", tone(0.6, 16_000), 16_000).read_bytes()
    for what, content in cases.items():
        (tmp_path / "sent").write_bytes(content)
        with pytest.raises(AudioError) as refusal:
            measured_pitch(tmp_path / "sent", "what I sent.wav")
        sentence = str(refusal.value)
        assert sentence.startswith("what I sent.wav"), what
        assert str(tmp_path) not in sentence, what
        assert sentence.endswith("."), what


def imported(library: Library, tmp_path: Path, *, uses_f0: bool = True) -> str:
    """A voice that does not know where it lies."""
    folder = write_voice(tmp_path / "made", f0={}, uses_f0=uses_f0)
    archive = tmp_path / "made.zip"
    archive.write_bytes(zipped({path.name: path.read_bytes() for path in folder.iterdir()}))
    return str(library.import_voice(ME, [archive])["id"])


def test_the_pitch_is_kept_in_the_row_and_in_the_card_and_goes_with_the_voice(
    library: Library, tmp_path: Path
) -> None:
    model_id = imported(library, tmp_path)
    assert library.get(ME, model_id)["f0"] == {}
    assert library.set_pitch(ME, model_id, stated_pitch("low"))["f0"]["median_hz"] == 120.0
    assert library.set_pitch(ADMIN, model_id, SUNG)["f0"] == SUNG
    known = read_card(library.folder(ME, model_id)).f0
    assert known is not None
    assert (known.median_hz, known.low_hz, known.high_hz) == (300.0, 200.0, 600.0)
    assert library.rename(ME, model_id, "Robin")["f0"] == SUNG
    library.delete(ME, model_id)
    assert library.restore(ME, model_id)["f0"] == SUNG
    back = library.import_voice(OTHER, [library.export_bundle(ME, model_id)])
    assert back["f0"] == SUNG


def test_only_its_owner_sets_the_pitch_and_never_of_one_that_has_none(
    library: Library, tmp_path: Path
) -> None:
    model_id = imported(library, tmp_path, uses_f0=False)
    with pytest.raises(UnknownNameError, match="There is no voice"):
        library.set_pitch(OTHER, model_id, SUNG)
    with pytest.raises(NotAllowedError, match="trained without F0"):
        library.set_pitch(ME, model_id, SUNG)
    with pytest.raises(NotAllowedError, match="comes with Timbre"):
        library.set_pitch(ADMIN, "builtin-alto", SUNG)
    card = json.loads((library.folder(ME, model_id) / "card.json").read_text(encoding="utf-8"))
    assert card["f0"] == {}


def test_a_backup_knows_the_pitch(tmp_path: Path, data_dir: Path) -> None:
    registry = Registry(data_dir)
    library = Library(data_dir, registry)
    model_id = imported(library, tmp_path)
    library.set_pitch(ME, model_id, SUNG)
    registry.close()
    back_up(data_dir, tmp_path / "copy.json")
    (data_dir / "registry.json").unlink()
    restore(data_dir, tmp_path / "copy.json")
    registry = Registry(data_dir)
    library = Library(data_dir, registry)
    assert library.get(ME, model_id)["f0"] == SUNG
    assert read_card(library.folder(ME, model_id)).f0 is not None
    registry.close()
