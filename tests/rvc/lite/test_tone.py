"""The tone of a recording: what a microphone does to it is found and undone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import firwin2, oaconvolve, welch

import rvc.lite.tone
from pipelines.conversion.convert import convert
from pipelines.events import finish
from pipelines.voices.library import BUILTIN_VOICES
from rvc.audio.level import TARGET_RMS, frame_rms, loud_rms
from rvc.audio.loudness import FrameLoudness
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from rvc.audio.writer import AudioWriter
from rvc.engine.card import TONE_BANDS
from rvc.engine.options import ConvertOptions
from rvc.files import ROOT
from rvc.lite.tone import MAX_DB, match_tone, mean_tone, measure_tone
from rvc.voice import Voice

EXAMPLES = ROOT / "assets" / "examples"
RECORDING = EXAMPLES / "recordings" / "visitor.flac"

Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def speech() -> Wave:
    return resample(*load_mono(RECORDING), 16_000)


MICROPHONES = {
    # 6 dB less for every octave below 2 kHz, and 12 dB more from 4 kHz on
    "bright": ((0, -30), (60, -30), (125, -24), (250, -18), (500, -12), (1_000, -6), (2_000, 0), (4_000, 12)),
    "telephone": ((0, -60), (200, -60), (300, 0), (3_400, 0), (3_700, -60)),
}


def through_a_microphone(wav: Wave, name: str = "bright") -> Wave:
    """Another microphone; not delayed."""
    points = (*MICROPHONES[name], (8_000, MICROPHONES[name][-1][1]))
    taps = firwin2(1_023, [hz for hz, _ in points], [10 ** (db / 20) for _, db in points], fs=16_000)
    return oaconvolve(wav, taps, mode="same").astype(np.float32)


def held_vowel() -> Wave:
    time = np.arange(5 * 16_000) / 16_000
    parts = [np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 18)]
    return (0.1 * np.stack(parts).sum(axis=0)).astype(np.float32)


def test_a_recording_with_another_microphone_is_given_back_its_tone(speech: Wave) -> None:
    original, filtered = measure_tone(speech).db, through_a_microphone(speech)
    before = np.abs(measure_tone(filtered).db - original).mean()
    after = np.abs(measure_tone(match_tone(filtered, original)).db - original).mean()
    assert before > 10
    assert after < before / 8


def test_the_tone_does_not_depend_on_the_level(speech: Wave) -> None:
    loud, quiet = measure_tone(speech), measure_tone(speech * np.float32(0.05))
    np.testing.assert_allclose(loud.db, quiet.db, atol=0.5)
    assert loud.db.shape == (TONE_BANDS,)
    assert abs(loud.db.mean()) < 1e-9


def test_a_recording_in_the_wanted_tone_is_left_alone_and_not_delayed(speech: Wave) -> None:
    same = match_tone(speech, measure_tone(speech).db)
    assert same.shape == speech.shape
    assert np.sqrt(np.mean((same - speech) ** 2) / np.mean(speech**2)) < 0.01


def test_a_long_recording_is_filtered_in_parts_without_a_seam(
    speech: Wave, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = np.linspace(10, -10, TONE_BANDS)
    measured = measure_tone(speech)
    monkeypatch.setattr(rvc.lite.tone, "measure_tone", lambda _: measured)
    whole = match_tone(speech, wanted)
    monkeypatch.setattr(rvc.lite.tone, "BLOCK_SAMPLES", 16_000)
    np.testing.assert_allclose(match_tone(speech, wanted), whole, atol=1e-6)


def test_a_tone_measured_in_parts_is_that_of_the_whole(speech: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure_tone(speech)
    monkeypatch.setattr(rvc.lite.tone, "BLOCK_SAMPLES", 16_000)
    np.testing.assert_allclose(measure_tone(speech).db, whole.db, atol=0.3)


def test_a_held_vowel_tells_nothing_of_a_tone(speech: Wave) -> None:
    assert measure_tone(speech).certainty > 0.7
    vowel = held_vowel()
    kept = match_tone(vowel, measure_tone(speech).db)
    assert np.sqrt(np.mean((kept - vowel) ** 2) / np.mean(vowel**2)) < 0.1


@pytest.mark.parametrize("samples", [0, 1, 159, 16_000])
def test_silence_and_hardly_anything_come_through(samples: int) -> None:
    nothing = np.zeros(samples, np.float32)
    np.testing.assert_array_equal(match_tone(nothing, np.linspace(20, -20, TONE_BANDS)), nothing)


def test_several_recordings_count_by_what_they_hold(speech: Wave) -> None:
    third = len(speech) // 3
    parts = mean_tone([speech[:third], np.zeros(third, np.float32), speech[third:]])
    np.testing.assert_allclose(parts, measure_tone(speech).db, atol=2.0)


def converted_tone(voice: Voice, wav: Wave, folder: Path) -> NDArray[np.float64]:
    with AudioWriter(folder / "heard.wav", 16_000, "wav") as writer:
        writer.write(wav)
    finish(convert(folder / "heard.wav", folder / "spoken.wav", voice, ConvertOptions()))
    return measure_tone(resample(*load_mono(folder / "spoken.wav"), 16_000)).db


@pytest.mark.parametrize("name", MICROPHONES)
def test_a_conversion_does_not_tell_which_microphone_recorded_its_source(
    speech: Wave, tmp_path: Path, name: str
) -> None:
    voice = Voice.load(BUILTIN_VOICES / "kathleen")
    quiet = speech * np.float32(0.2)
    filtered = through_a_microphone(quiet, name)
    assert np.abs(measure_tone(filtered).db - measure_tone(quiet).db).mean() > 8
    plain, heard = (converted_tone(voice, wav, tmp_path) for wav in (quiet, filtered))
    assert np.abs(heard - plain).mean() < 2
    assert np.abs(heard - np.array(voice.card.tone_db)).mean() < 3


def test_a_voice_that_was_made_before_there_were_tones_speaks_as_it_did(speech: Wave, tmp_path: Path) -> None:
    voice = Voice.load(BUILTIN_VOICES / "kathleen")
    voice.engine.tone_db = None
    quiet = speech * np.float32(0.2)
    plain, heard = (
        converted_tone(voice, wav, tmp_path) for wav in (quiet, through_a_microphone(quiet, "bright"))
    )
    assert np.abs(heard - plain).mean() > 4, "it hears the microphone: the tests above would fail for it"


def test_the_equaliser_goes_no_further_than_it_may(speech: Wave) -> None:
    wanted = measure_tone(speech).db + np.where(np.arange(TONE_BANDS) < TONE_BANDS // 2, 90.0, -90.0)
    before, after = (welch(wav, 16_000, nperseg=2_048)[1] for wav in (speech, match_tone(speech, wanted)))
    gains_db = 10 * np.log10(after / before)[10:-100]
    assert 1.9 * MAX_DB < gains_db.max() - gains_db.min() < 2.1 * MAX_DB


def test_pauses_have_no_say(speech: Wave) -> None:
    noise = np.random.default_rng(0).standard_normal(9 * speech.size).astype(np.float32)
    sparse = np.concatenate([speech, np.zeros_like(noise)])
    noisy = sparse + np.std(speech) * np.float32(10 ** (-25 / 20)) * np.concatenate([0 * speech, noise])
    alone = measure_tone(speech)
    for recording in (sparse, noisy):
        measured = measure_tone(recording)
        np.testing.assert_allclose(measured.db, alone.db, atol=0.5)
        assert measured.frames == pytest.approx(alone.frames, rel=0.02)


def test_a_recording_is_heard_at_the_one_level_and_its_silence_stays_silent(speech: Wave) -> None:
    voice = Voice.load(BUILTIN_VOICES / "kathleen")
    voice.engine.tone_db = np.linspace(30, -30, TONE_BANDS)
    pause = np.zeros(16_000, np.float32)
    recorded = np.concatenate([speech, pause, speech])
    rms = np.append(frame_rms(recorded), 0.0)[: recorded.size // 160 + 1]
    heard = voice.engine.source(voice.engine.preprocess(recorded.copy()), np.zeros(rms.size))
    assert loud_rms(heard.wav16k) == pytest.approx(TARGET_RMS, rel=0.01)
    spoken = FrameLoudness(rms=np.full(rms.size, 0.05), peak=np.full(rms.size, 0.1))
    hop = voice.sample_rate_hz // 100
    gain = voice.engine.loudness(heard, rms, spoken, 1.0)
    loud = gain.apply(np.ones(rms.size * hop, np.float32), 0)
    middle = (speech.size // 160 + 2) * hop, (speech.size // 160 + 98) * hop
    np.testing.assert_array_equal(loud[slice(*middle)], 0.0)
    assert np.abs(loud[: middle[0]]).max() > 0
