"""Noise taken out of a whole recording: the voice stays, what lies between the words goes."""

from __future__ import annotations

import numpy as np
import pytest

from rvc.analysis import noise
from rvc.analysis.noise import cleaned, noise_of
from rvc.analysis.quality import active_frames, measure
from rvc.steps import result_of
from tests.voices import MAN, speak

RATE_HZ = 16_000


def noisy(seconds: float, snr_db: float) -> np.ndarray:
    clean = speak(MAN, seconds, rate_hz=RATE_HZ, pause_s=0.8)
    hiss = np.random.default_rng(1).standard_normal(clean.size)
    return (clean + hiss * clean.std() * 10 ** (-snr_db / 20)).astype(np.float32)


def test_the_noise_goes_and_the_voice_stays() -> None:
    clean, wav = speak(MAN, 12.0, rate_hz=RATE_HZ, pause_s=0.8), noisy(12.0, 10.0)
    made = result_of(cleaned(wav, RATE_HZ))
    assert made.shape == wav.shape
    speech = active_frames(clean, RATE_HZ)
    before, after = (measure(one, RATE_HZ, speech).snr_db or 0.0 for one in (wav, made))
    assert after > before + 6
    assert np.corrcoef(made, clean)[0, 1] > np.corrcoef(wav, clean)[0, 1]


def test_however_a_recording_is_cut_it_is_cleaned_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    wav = noisy(9.0, 10.0)
    whole = result_of(cleaned(wav, RATE_HZ))
    monkeypatch.setattr(noise, "BLOCK_S", 2.5)
    shares = list(steps := cleaned(wav, RATE_HZ))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    del steps
    parts = result_of(cleaned(wav, RATE_HZ))
    assert np.square(parts - whole).mean() < 1e-3 * np.square(whole).mean()


def test_without_a_pause_that_tells_no_noise_is_known_and_silence_stays_silent() -> None:
    speech = np.ones(500, np.bool_)
    assert not noise_of(lambda start, stop: np.ones(1, np.float32), RATE_HZ, speech).size
    silence = np.zeros(3 * RATE_HZ, np.float32)
    assert not result_of(cleaned(silence, RATE_HZ)).any()
