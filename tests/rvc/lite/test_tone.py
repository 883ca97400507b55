"""The tone of a recording: what a microphone does to it is found and undone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import firwin2, oaconvolve

import rvc.lite.tone
from pipelines.convert import ConvertOptions, convert
from pipelines.events import finish
from pipelines.library import BUILTIN_VOICES
from rvc.audio import load_mono, resample
from rvc.audio_writer import AudioWriter
from rvc.card import TONE_BANDS
from rvc.lite.tone import mean_tone, measure_tone, retoned
from rvc.voice import Voice

EXAMPLES = Path(__file__).parents[3] / "assets" / "examples"
RECORDING = EXAMPLES / "recordings" / "visitor.flac"

Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def speech() -> Wave:
    return resample(*load_mono(RECORDING), 16_000)


def through_a_microphone(wav: Wave) -> Wave:
    """6 dB less for every octave below 2 kHz, and 12 dB more from 4 kHz on; not delayed."""
    hz = [0, 60, 125, 250, 500, 1_000, 2_000, 4_000, 8_000]
    db = np.array([-30, -30, -24, -18, -12, -6, 0, 12, 12])
    taps = firwin2(1_023, hz, 10 ** (db / 20), fs=16_000)
    return oaconvolve(wav, taps, mode="same").astype(np.float32)


def held_vowel() -> Wave:
    time = np.arange(5 * 16_000) / 16_000
    parts = [np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 18)]
    return (0.1 * np.stack(parts).sum(axis=0)).astype(np.float32)


def test_a_recording_with_another_microphone_is_given_back_its_tone(speech: Wave) -> None:
    original, filtered = measure_tone(speech).db, through_a_microphone(speech)
    before = np.abs(measure_tone(filtered).db - original).mean()
    after = np.abs(measure_tone(retoned(filtered, original)).db - original).mean()
    assert before > 10
    assert after < before / 8


def test_the_tone_does_not_depend_on_the_level(speech: Wave) -> None:
    loud, quiet = measure_tone(speech), measure_tone(speech * np.float32(0.05))
    np.testing.assert_allclose(loud.db, quiet.db, atol=0.5)
    assert loud.db.shape == (TONE_BANDS,)
    assert abs(loud.db.mean()) < 1e-9


def test_a_recording_in_the_wanted_tone_is_left_alone_and_not_delayed(speech: Wave) -> None:
    same = retoned(speech, measure_tone(speech).db)
    assert same.shape == speech.shape
    assert np.sqrt(np.mean((same - speech) ** 2) / np.mean(speech**2)) < 0.01


def test_a_long_recording_is_filtered_in_parts_without_a_seam(
    speech: Wave, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = np.linspace(10, -10, TONE_BANDS)
    measured = measure_tone(speech)
    monkeypatch.setattr(rvc.lite.tone, "measure_tone", lambda _: measured)
    whole = retoned(speech, wanted)
    monkeypatch.setattr(rvc.lite.tone, "BLOCK_SAMPLES", 16_000)
    np.testing.assert_allclose(retoned(speech, wanted), whole, atol=1e-6)


def test_a_tone_measured_in_parts_is_that_of_the_whole(speech: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure_tone(speech)
    monkeypatch.setattr(rvc.lite.tone, "BLOCK_SAMPLES", 16_000)
    np.testing.assert_allclose(measure_tone(speech).db, whole.db, atol=0.3)


def test_a_held_vowel_tells_nothing_of_a_tone(speech: Wave) -> None:
    assert measure_tone(speech).certainty > 0.7
    vowel = held_vowel()
    kept = retoned(vowel, measure_tone(speech).db)
    assert np.sqrt(np.mean((kept - vowel) ** 2) / np.mean(vowel**2)) < 0.1


@pytest.mark.parametrize("samples", [0, 1, 159, 16_000])
def test_silence_and_hardly_anything_come_through(samples: int) -> None:
    nothing = np.zeros(samples, np.float32)
    np.testing.assert_array_equal(retoned(nothing, np.linspace(20, -20, TONE_BANDS)), nothing)


def test_several_recordings_count_by_what_they_hold(speech: Wave) -> None:
    third = len(speech) // 3
    parts = mean_tone([speech[:third], np.zeros(third, np.float32), speech[third:]])
    np.testing.assert_allclose(parts, measure_tone(speech).db, atol=2.0)


def converted_tone(voice: Voice, wav: Wave, folder: Path) -> NDArray[np.float64]:
    with AudioWriter(folder / "heard.wav", 16_000, "wav") as writer:
        writer.write(wav)
    finish(convert(folder / "heard.wav", folder / "spoken.wav", voice, ConvertOptions()))
    return measure_tone(resample(*load_mono(folder / "spoken.wav"), 16_000)).db


def test_a_conversion_does_not_tell_which_microphone_recorded_its_source(
    speech: Wave, tmp_path: Path
) -> None:
    voice = Voice.load(BUILTIN_VOICES / "kathleen")
    assert voice.card.tone_db is not None
    quiet = speech * np.float32(0.2)
    heard = [converted_tone(voice, wav, tmp_path) for wav in (quiet, through_a_microphone(quiet))]
    deaf = Voice.load(BUILTIN_VOICES / "kathleen")
    deaf.engine.tone_db = None  # type: ignore[attr-defined]  # a voice that was made before
    before = [converted_tone(deaf, wav, tmp_path) for wav in (quiet, through_a_microphone(quiet))]
    assert np.abs(heard[0] - heard[1]).mean() < 0.4 * np.abs(before[0] - before[1]).mean()
    off = [np.abs(tone - np.array(voice.card.tone_db)).mean() for tone in (heard[1], before[1])]
    assert off[0] < 0.7 * off[1]
