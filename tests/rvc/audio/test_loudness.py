"""Loudness: a result is as loud as its source, silent where that is, and never clips."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.audio.level import loud_of
from rvc.audio.loudness import CEILING, FrameLoudness, KnotGain, gain_contour, measure_frames

HOP = 240
FRAMES = 500


def noise(rms: float | NDArray[np.float64], seed: int = 0) -> NDArray[np.float32]:
    """Noise whose RMS is given per frame."""
    wav = np.random.default_rng(seed).standard_normal((FRAMES, HOP))
    wav /= np.sqrt(np.mean(wav**2, axis=1, keepdims=True))
    return (wav * np.broadcast_to(np.asarray(rms)[..., None], (FRAMES, 1))).astype(np.float32).reshape(-1)


def swelling() -> NDArray[np.float64]:
    rms: NDArray[np.float64] = 0.05 * (1.2 + np.sin(np.arange(FRAMES) / 20))
    return rms


def converted(source_rms: NDArray[np.float64], spoken: NDArray[np.float32], follow: float) -> FrameLoudness:
    gain = gain_contour(source_rms, measure_frames(spoken, HOP), follow)
    assert gain.shape == (source_rms.size + 1,)
    return measure_frames(KnotGain(knots=gain, hop=HOP).apply(spoken, 0), HOP)


def test_what_is_measured_is_rms_and_peak_of_each_stretch() -> None:
    wav = noise(0.1).reshape(-1, HOP)
    measured = measure_frames(wav.reshape(-1), HOP)
    np.testing.assert_allclose(measured.rms, 0.1, rtol=1e-5)
    np.testing.assert_array_equal(measured.peak, np.abs(wav).max(axis=1))


@pytest.mark.parametrize("level", [0.001, 0.3, 20.0])
def test_following_fully_the_result_is_as_loud_as_the_source_at_every_moment(level: float) -> None:
    source = 0.1 * swelling()
    result = converted(source, noise(level), 1.0)
    np.testing.assert_allclose(result.rms[20:-20], source[20:-20], rtol=0.1)


@pytest.mark.parametrize("level", [0.001, 0.3, 20.0])
def test_not_following_only_the_whole_is_as_loud(level: float) -> None:
    source = 0.1 * swelling()
    result = converted(source, noise(level), 0.0)
    assert loud_of(result.rms) == pytest.approx(loud_of(source), rel=0.02)
    assert result.rms[20:-20].std() < 1e-3 * result.rms.mean()


def test_the_correction_is_limited() -> None:
    spoken = np.full(FRAMES, 0.1)
    spoken[200:300] = 1e-6
    result = converted(np.full(FRAMES, 0.1), noise(spoken), 1.0)
    assert result.rms[230:270].max() < 1e-5


@pytest.mark.parametrize("follow", [0.0, 0.5, 1.0])
def test_where_the_source_is_silent_the_result_is(follow: float) -> None:
    source = np.full(FRAMES, 0.1)
    source[100:150] = 0.0
    source[300:301] = 1e-7
    result = converted(source, noise(0.1), follow)
    assert (result.peak[100:150] == 0.0).all()
    assert result.peak[300] == 0.0
    assert result.rms[50:90].min() > 0.05


@pytest.mark.parametrize("silent", ["source", "spoken", "both"])
def test_silence_gives_silence(silent: str) -> None:
    source = np.zeros(FRAMES) if silent != "spoken" else np.full(FRAMES, 0.1)
    spoken = noise(0.0) if silent != "source" else noise(0.1)
    assert converted(source, spoken, 1.0).peak.max() == 0.0


def test_no_sample_exceeds_the_ceiling_and_what_lies_far_from_peaks_is_untouched() -> None:
    source, spoken = np.full(FRAMES, 0.2), noise(0.1)
    for place in (0, 17, 5_000, 60_123, 60_500, spoken.size - 1):
        spoken[place] = 3.0
    free = gain_contour(0.01 * source, measure_frames(spoken, HOP), 0.0) * 100
    result = converted(source, spoken, 0.0)
    assert result.peak.max() <= CEILING * 1.00001
    gain = gain_contour(source, measure_frames(spoken, HOP), 0.0)
    far = slice(300, 450)
    np.testing.assert_allclose(gain[far].max(), free[far].max(), rtol=1e-6)
    assert np.abs(np.diff(np.log(gain))).max() < 0.5  # it ducks, it does not jump


def test_gains_are_straight_between_knots() -> None:
    gain = np.linspace(0.0, 1.0, FRAMES + 1)
    wav = KnotGain(knots=gain, hop=HOP).apply(np.ones(FRAMES * HOP, np.float32), 0)
    np.testing.assert_allclose(wav, np.arange(FRAMES * HOP) / (FRAMES * HOP), atol=1e-6)
