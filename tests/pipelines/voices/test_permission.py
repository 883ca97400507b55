"""What is kept of the right to use a voice: it can be shown, goes with the voice, and a lock holds it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.store.records import Caller
from pipelines.voices.blending import blend_voices
from pipelines.voices.bundle import SPOKEN_CONSENT, consent
from pipelines.voices.library import Library
from pipelines.voices.permission import blends_of, consent_recording, record_consent, set_lock
from rvc.audio.reader import probe
from rvc.audio.spoken_consent import LONGEST_S, SHORTEST_S
from rvc.errors import AudioError, ConfigError, NotAllowedError, RvcError, UnknownNameError
from rvc.files import ROOT
from tests.sounds import tone, write
from tests.toy_worker import write_voice

ME, OTHER = Caller("me"), Caller("other")
SPOKEN = ROOT / "assets" / "examples" / "recordings" / "visitor.flac"
SAID = {"speaker": "Ada Lovelace", "sentence": "I allow it.", "name": "consent.wav"}
KATHLEEN, FLEMISH = "builtin-kathleen", "builtin-flemishguy"


@pytest.fixture
def voice(library: Library, tmp_path: Path) -> str:
    stated = {"statement": "It is mine", "given_at": "2026-05-01T00:00:00+00:00", "stated_by": "Ada"}
    bundle = write_voice(tmp_path / "own", "Owl", consent=stated)
    return str(library.take_in(ME, bundle, model_name=None, imported_at=None)["id"])


def test_who_stated_it_and_when_is_known_of_a_voice(library: Library, voice: str) -> None:
    assert library.get(ME, voice)["consent"] == {
        "statement": "It is mine", "given_at": "2026-05-01T00:00:00+00:00", "stated_by": "Ada",
    }  # fmt: skip


def test_a_spoken_consent_is_kept_and_goes_with_the_voice(library: Library, voice: str) -> None:
    row = record_consent(library, ME, voice, SPOKEN, SAID)
    spoken = row["consent"]["spoken"]
    assert (spoken["speaker"], spoken["sentence"]) == ("Ada Lovelace", "I allow it.")
    assert spoken["seconds"] == pytest.approx(probe(SPOKEN).seconds, abs=0.1)
    assert row["consent"]["stated_by"] == "Ada"
    assert probe(consent_recording(library, ME, voice)).codec == "mp3"
    again = library.import_voice(OTHER, [library.export_bundle(ME, voice)])
    assert again["consent"] == row["consent"]
    heard = consent_recording(library, OTHER, again["id"]).read_bytes()
    assert heard == consent_recording(library, ME, voice).read_bytes()


def test_another_takes_the_place_of_the_first(library: Library, voice: str, tmp_path: Path) -> None:
    record_consent(library, ME, voice, SPOKEN, SAID)
    other = write(tmp_path / "other.wav", "wav16", tone(5.0, 16_000), 16_000)
    row = record_consent(library, ME, voice, other, SAID | {"speaker": "Grace"})
    assert row["consent"]["spoken"]["speaker"] == "Grace"
    assert probe(consent_recording(library, ME, voice)).seconds == pytest.approx(5.0, abs=0.1)
    assert {path.name for path in library.folder(ME, voice).iterdir()} == {
        "card.json", "model.safetensors", SPOKEN_CONSENT,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (tone(SHORTEST_S - 0.5, 16_000), "shorter than 3 s"),
        (np.zeros((80_000, 1), np.float32), "almost no sound"),
        (0.001 * tone(8.0, 16_000), "almost no sound"),
        (tone(LONGEST_S + 5, 8_000)[: round((LONGEST_S + 5) * 8_000)], "long|minutes|seconds"),
    ],
    ids=["short", "silent", "faint", "long"],
)
def test_what_is_no_consent_is_refused_and_the_first_stays(
    library: Library, voice: str, tmp_path: Path, sound: np.ndarray[Any, Any], said: str
) -> None:
    before = record_consent(library, ME, voice, SPOKEN, SAID)["consent"]
    rate_hz = 8_000 if len(sound) > 200_000 else 16_000
    path = write(tmp_path / "sent.wav", "wav16", sound.astype(np.float32), rate_hz)
    with pytest.raises(AudioError, match=said):
        record_consent(library, ME, voice, path, SAID | {"speaker": "Eve"})
    path.write_bytes(b"no sound at all")
    with pytest.raises(AudioError, match=r"consent\.wav is"):
        record_consent(library, ME, voice, path, SAID)
    assert library.get(ME, voice)["consent"] == before
    assert not [one.name for one in (tmp_path / "data" / "models").iterdir() if one.name.startswith(".")]


def test_only_the_owner_records_and_locks(library: Library, voice: str) -> None:
    for attempt in (
        lambda: record_consent(library, OTHER, voice, SPOKEN, SAID),
        lambda: set_lock(library, OTHER, voice, True),
        lambda: consent_recording(library, OTHER, voice),
    ):
        with pytest.raises(UnknownNameError):
            attempt()
    with pytest.raises(NotAllowedError, match="comes with Timbre"):
        set_lock(library, ME, library.list(ME)[-1]["id"], True)
    with pytest.raises(UnknownNameError, match="No spoken consent"):
        consent_recording(library, ME, voice)
    with pytest.raises(ConfigError, match="no name"):
        record_consent(library, ME, voice, SPOKEN, SAID | {"speaker": " "})
    for wrong in (None, "yes", 1):
        with pytest.raises(ConfigError, match="true or false"):
            set_lock(library, ME, voice, wrong)


def test_a_locked_voice_is_not_exported_until_the_lock_is_off(library: Library, voice: str) -> None:
    library.export_bundle(ME, voice)
    assert set_lock(library, ME, voice, True)["locked"] is True
    with pytest.raises(NotAllowedError, match="Owl is locked against export"):
        library.export_bundle(ME, voice)
    assert library.rename(ME, voice, "Barn owl")["locked"] is True
    assert set_lock(library, ME, voice, False)["locked"] is False
    assert library.export_bundle(ME, voice).is_file()


def test_a_blend_of_a_locked_voice_is_locked(tmp_path: Path) -> None:
    from pipelines.store.registry import Registry
    from pipelines.voices.library import BUILTIN_VOICES

    registry = Registry(tmp_path / "data")
    library = Library(tmp_path / "data", registry)
    shutil.copytree(BUILTIN_VOICES / "kathleen", tmp_path / "mine")
    mine = library.take_in(ME, tmp_path / "mine", model_name="Mine")["id"]
    set_lock(library, ME, mine, True)
    blend = blend_voices(library, ME, [mine, FLEMISH], [0.5, 0.5], "Both", lambda _: None)
    assert blend["locked"] is True
    with pytest.raises(NotAllowedError):
        library.export_bundle(ME, blend["id"])
    assert blends_of(library, ME, mine) == ["Both"]
    assert blends_of(library, ME, blend["id"]) == []
    registry.close()


def test_training_on_keeps_consent_and_lock(library: Library, tmp_path: Path) -> None:
    job = {"id": "job1", "user_id": "me", "model_name": "Owl", "quality_snr": None, "upload_id": "u"}
    library.adopt(job, write_voice(tmp_path / "first", "Owl", consent={"statement": "It is mine"}))
    record_consent(library, ME, "job1", SPOKEN, SAID)
    set_lock(library, ME, "job1", True)
    heard = consent_recording(library, ME, "job1").read_bytes()
    library.adopt(job, write_voice(tmp_path / "second", "Owl", consent={"statement": "It is mine"}))
    row = library.get(ME, "job1")
    assert (row["locked"], row["consent"]["spoken"]["speaker"]) == (True, "Ada Lovelace")
    assert consent_recording(library, ME, "job1").read_bytes() == heard
    assert json.loads((library.folder(ME, "job1") / "card.json").read_text())["locked"] is True


def test_a_stranger_s_consent_file_that_is_no_mp3_is_left_out(library: Library, tmp_path: Path) -> None:
    bundle = write_voice(tmp_path / "theirs", "Theirs")
    (bundle / SPOKEN_CONSENT).write_bytes(b"MZ a program")
    archive = shutil.make_archive(str(tmp_path / "voice"), "zip", bundle)
    row = library.import_voice(ME, [Path(archive)])
    with pytest.raises(RvcError):
        consent_recording(library, ME, row["id"])


@pytest.mark.parametrize(
    "spoken",
    [
        None, 5, "yes", {}, {"speaker": "A"},
        {"speaker": 1, "sentence": "x", "recorded_at": "2026-01-01", "seconds": 4},
        {"speaker": "A", "sentence": "x", "recorded_at": "yesterday", "seconds": 4},
        {"speaker": "A", "sentence": "x", "recorded_at": "2026-01-01", "seconds": float("inf")},
    ],
)  # fmt: skip
def test_what_is_out_of_order_on_a_card_is_not_shown(spoken: object) -> None:
    found = consent({"consent": {"statement": "Mine", "stated_by": ["x"], "spoken": spoken}})
    assert found == {"statement": "Mine"}
