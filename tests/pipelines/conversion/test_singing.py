"""The voices that ship can sing, in any key: notes and glides keep their pitch and do not break up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray
from scipy.signal import lfilter

from pipelines.conversion.convert import ConvertResult, convert
from pipelines.events import finish
from pipelines.voices.library import BUILTIN_VOICES
from rvc.audio.level import frame_rms
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from rvc.engine.options import ConvertOptions
from rvc.pitch.praat import PraatF0
from rvc.voice import Voice

RATE_HZ = 16_000
SECONDS = 3.0
TIME_S = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
EDGE = 20
"""Frames at either end of the note that are not judged: it begins and ends there."""

VOWELS_HZ = {"a": (730.0, 1090.0, 2440.0), "i": (270.0, 2290.0, 3010.0), "o": (450.0, 800.0, 2830.0)}
MELODIES_HZ = {
    "held": (220.0, 220.0),
    "held high": (392.0, 392.0),
    "glide up": (160.0, 320.0),
    "glide down": (330.0, 165.0),
}
HIGH_HZ = (330.0, 392.0, 440.0, 523.25, 659.26, 783.99, 987.77, 1046.5)
LOW_HZ = (55.0, 58.0, 65.4, 73.4, 82.4)
MOVES = {
    "vibrato": lambda s: 600.0 * 2 ** (0.5 / 12 * np.sin(2 * np.pi * 5.5 * s)),
    "glide up": lambda s: 330.0 * 2 ** (1.5 * s / SECONDS),
    "glide down": lambda s: 880.0 * 2 ** (-3.9 * s / SECONDS),
}
VOICES = sorted(folder.name for folder in BUILTIN_VOICES.iterdir())


def glide(first_hz: float, last_hz: float) -> NDArray[np.float64]:
    return first_hz * (last_hz / first_hz) ** (TIME_S / SECONDS)


def sung(vowel: str, hz: NDArray[np.float64]) -> NDArray[np.float32]:
    """A sung vowel with a little breath in it, with this F0 at every sample."""
    cycles = np.cumsum(hz) / RATE_HZ
    harmonics = [np.cos(2 * np.pi * n * cycles) / n * (n * hz < 0.45 * RATE_HZ) for n in range(1, 130)]
    wav = np.sum(harmonics, axis=0) + 0.01 * np.random.default_rng(5).standard_normal(hz.size)
    for formant_hz, width_hz in zip(VOWELS_HZ[vowel], (80.0, 100.0, 150.0), strict=True):
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        angle = 2 * np.pi * formant_hz / RATE_HZ
        wav = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], wav)
    fade = np.clip(np.minimum(TIME_S, SECONDS - TIME_S) / 0.05, 0, 1)
    return (0.3 * fade * wav / np.abs(wav).max()).astype(np.float32)


def converted(
    voice: Voice, folder: Path, wav: NDArray[np.float32], transpose_semitones: float | None = None
) -> tuple[NDArray[np.float32], ConvertResult]:
    """What a voice makes of a recording, at 16 kHz."""
    sf.write(folder / "sung.wav", wav, RATE_HZ, subtype="FLOAT")
    result = finish(
        convert(
            folder / "sung.wav",
            folder / "made.wav",
            voice,
            ConvertOptions(transpose_semitones=transpose_semitones),
        )
    )
    made, rate_hz = load_mono(result.path)
    return resample(made, rate_hz, RATE_HZ), result


def on_pitch(made: NDArray[np.float32], hz: NDArray[np.float64]) -> float:
    """In how many frames the pitch is heard within 50 cents, its ends left out."""
    frames = slice(EDGE, len(hz) // 160 - EDGE)
    f0, wanted = PraatF0()(made)[frames], hz[::160][frames]
    return float((np.abs(1200 * np.log2(np.maximum(f0, 1.0) / wanted)) < 50).mean())


def harmonics_over_rest_db(made: NDArray[np.float32], hz: float) -> float:
    """How much stronger the harmonics of a held note are than what lies between them."""
    middle = made[RATE_HZ : 2 * RATE_HZ].astype(np.float64)
    power = np.abs(np.fft.rfft(middle * np.hanning(RATE_HZ))) ** 2  # a bin is a hertz
    away = np.abs(np.arange(power.size) / hz - np.round(np.arange(power.size) / hz)) * hz
    near, heard = away < 6, slice(round(hz / 2), 7_000)
    return float(10 * np.log10(power[heard][near[heard]].sum() / power[heard][~near[heard]].sum()))


@pytest.fixture(scope="module", params=VOICES)
def voice(request: pytest.FixtureRequest) -> Voice:
    return Voice.load(BUILTIN_VOICES / request.param)


@pytest.mark.parametrize("melody", MELODIES_HZ)
@pytest.mark.parametrize("vowel", VOWELS_HZ)
def test_a_sung_vowel_keeps_its_pitch_within_20_cents_and_never_breaks_up(
    voice: Voice, tmp_path: Path, vowel: str, melody: str
) -> None:
    hz = glide(*MELODIES_HZ[melody])
    made, result = converted(voice, tmp_path, sung(vowel, hz))
    hz = hz[::160]
    f0 = PraatF0()(made)[EDGE : len(hz) - EDGE]
    wanted = hz[EDGE : len(hz) - EDGE] * 2 ** (result.transpose_semitones / 12)
    assert (f0 > 0).mean() > 0.99
    off_cents = 1200 * np.log2(f0[f0 > 0] / wanted[f0 > 0])
    assert np.percentile(np.abs(off_cents), 98) < 20
    loudness = np.sqrt(np.convolve(frame_rms(made) ** 2, np.full(5, 0.2), "valid"))[EDGE:-EDGE]
    assert loudness.min() > 0.35 * np.median(loudness)


@pytest.mark.parametrize("hz", [*LOW_HZ, *HIGH_HZ])
def test_a_note_beyond_the_voice_s_own_keeps_its_pitch_and_stays_a_voice(
    voice: Voice, tmp_path: Path, hz: float
) -> None:
    contour = np.full(TIME_S.size, hz)
    for vowel in VOWELS_HZ:
        made, _ = converted(voice, tmp_path, sung(vowel, contour), transpose_semitones=0.0)
        assert on_pitch(made, contour) >= 0.95, vowel
        # Of the lowest, the measure itself takes a quarter for harmonics.
        assert harmonics_over_rest_db(made, hz) >= (15 if hz > 300 else 10 if hz > 60 else 9), vowel


@pytest.mark.parametrize("move", MOVES)
def test_high_melodies_are_followed_in_their_own_key(voice: Voice, tmp_path: Path, move: str) -> None:
    hz = MOVES[move](TIME_S)
    made, _ = converted(voice, tmp_path, sung("a", hz), transpose_semitones=0.0)
    assert on_pitch(made, hz) >= 0.95
