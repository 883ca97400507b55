"""The voices that ship can sing: a held note and a glide keep their pitch and do not break up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray
from scipy.signal import lfilter

from pipelines.conversion.convert import convert
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
EDGE = 20
"""Frames at either end of the note that are not judged: it begins and ends there."""

VOWELS_HZ = {"a": (730.0, 1090.0, 2440.0), "i": (270.0, 2290.0, 3010.0), "o": (450.0, 800.0, 2830.0)}
MELODIES_HZ = {
    "held": (220.0, 220.0),
    "held high": (392.0, 392.0),
    "glide up": (160.0, 320.0),
    "glide down": (330.0, 165.0),
}
VOICES = sorted(folder.name for folder in BUILTIN_VOICES.iterdir())


def sung(vowel: str, first_hz: float, last_hz: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A sung vowel with a little breath in it, and its F0 in every 10 ms frame."""
    time = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    hz = first_hz * (last_hz / first_hz) ** (time / SECONDS)
    cycles = np.cumsum(hz) / RATE_HZ
    harmonics = [np.cos(2 * np.pi * n * cycles) / n * (n * hz < 0.45 * RATE_HZ) for n in range(1, 50)]
    wav = np.sum(harmonics, axis=0) + 0.01 * np.random.default_rng(5).standard_normal(time.size)
    for formant_hz, width_hz in zip(VOWELS_HZ[vowel], (80.0, 100.0, 150.0), strict=True):
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        angle = 2 * np.pi * formant_hz / RATE_HZ
        wav = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], wav)
    fade = np.clip(np.minimum(time, SECONDS - time) / 0.05, 0, 1)
    return (0.3 * fade * wav / np.abs(wav).max()).astype(np.float32), hz[::160]


@pytest.fixture(scope="module", params=VOICES)
def voice(request: pytest.FixtureRequest) -> Voice:
    return Voice.load(BUILTIN_VOICES / request.param)


@pytest.mark.parametrize("melody", MELODIES_HZ)
@pytest.mark.parametrize("vowel", VOWELS_HZ)
def test_a_sung_vowel_keeps_its_pitch_within_20_cents_and_never_breaks_up(
    voice: Voice, tmp_path: Path, vowel: str, melody: str
) -> None:
    wav, hz = sung(vowel, *MELODIES_HZ[melody])
    sf.write(tmp_path / "sung.wav", wav, RATE_HZ, subtype="FLOAT")
    result = finish(convert(tmp_path / "sung.wav", tmp_path / "made.wav", voice, ConvertOptions()))
    made, rate_hz = load_mono(result.path)
    made = resample(made, rate_hz, RATE_HZ)
    f0 = PraatF0()(made)[EDGE : len(hz) - EDGE]
    wanted = hz[EDGE : len(hz) - EDGE] * 2 ** (result.transpose_semitones / 12)
    assert (f0 > 0).mean() > 0.99
    off_cents = 1200 * np.log2(f0[f0 > 0] / wanted[f0 > 0])
    assert np.percentile(np.abs(off_cents), 98) < 20
    loudness = np.sqrt(np.convolve(frame_rms(made) ** 2, np.full(5, 0.2), "valid"))[EDGE:-EDGE]
    assert loudness.min() > 0.35 * np.median(loudness)
