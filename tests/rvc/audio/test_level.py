"""Level: one loudness for the networks, whatever the recording's own, and a contour that chunks keep."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.audio.level import LEVEL_FLOOR, TARGET_RMS, frame_rms, level_contour, loud_rms, normalisation_gain
from tests.tiny import song


def noise(seconds: float, rms: float) -> NDArray[np.float32]:
    return (rms * np.random.default_rng(0).standard_normal(round(seconds * 16_000))).astype(np.float32)


@pytest.mark.parametrize("gain", [0.001, 0.3, 5.0])
def test_after_the_gain_every_recording_is_equally_loud(gain: float) -> None:
    wav = song() * np.float32(gain)
    assert loud_rms(wav * normalisation_gain(wav)) == pytest.approx(TARGET_RMS, rel=1e-3)


@pytest.mark.parametrize("pause_rms", [0.0, 1e-4])
def test_pauses_have_no_say(pause_rms: float) -> None:
    wav = noise(3.0, 0.1)
    with_pauses = np.concatenate([wav, noise(60.0, pause_rms), wav])
    assert normalisation_gain(with_pauses) == pytest.approx(normalisation_gain(wav), rel=0.02)


def test_a_click_has_no_say() -> None:
    wav = noise(10.0, 0.02)
    clicked = wav.copy()
    clicked[1_000:1_010] = 1.0
    assert normalisation_gain(clicked) == pytest.approx(normalisation_gain(wav), rel=0.02)


@pytest.mark.parametrize("samples", [0, 1, 100, 16_000])
def test_silence_is_left_alone(samples: int) -> None:
    silence = np.zeros(samples, np.float32)
    assert normalisation_gain(silence) == 1.0
    frames = samples // 160 + 1
    np.testing.assert_allclose(level_contour(silence, frames), np.full(frames, LEVEL_FLOOR), atol=1e-6)


def test_the_contour_is_the_logarithm_of_the_rms_around_each_frame() -> None:
    wav = song(1.0)
    contour = level_contour(wav, 101)
    padded = np.pad(wav.astype(np.float64), 160)
    true = [np.log(np.sqrt(np.mean(padded[i * 160 : i * 160 + 320] ** 2) + 1e-8)) for i in range(101)]
    np.testing.assert_allclose(contour, true, atol=1e-5)


def test_a_stretch_of_the_contour_is_the_contour_of_a_stretch() -> None:
    wav = song(4.0)
    np.testing.assert_allclose(
        level_contour(wav, 401)[101:200], level_contour(wav[16_000:], 301)[1:100], atol=1e-5
    )


def test_stretches_cover_every_sample() -> None:
    wav = noise(1.0, 0.1)[:15_990]
    assert float(np.sum(np.square(frame_rms(wav))) * 160) == pytest.approx(float(np.sum(wav**2)), rel=1e-5)
