from __future__ import annotations

import numpy as np
import pytest

from rvc.audio.resampling import PromptResampler, StreamResampler, resample

PAIRS = [
    (44_100, 48_000),
    (44_100, 16_000),
    (48_000, 16_000),
    (8_000, 48_000),
    (192_000, 16_000),
    (44_100, 22_050),
]


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("samples", [0, 1, 2, 999, 30_001])
def test_the_length_is_the_rounded_ratio(from_hz: int, to_hz: int, samples: int) -> None:
    wave = np.zeros(samples, dtype=np.float32)
    assert resample(wave, from_hz, to_hz).size == round(samples * to_hz / from_hz)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("piece", [1_777, 40_000])
def test_streamed_equals_whole(from_hz: int, to_hz: int, piece: int) -> None:
    wave = np.random.default_rng(1).normal(scale=0.1, size=2 * from_hz + 1).astype(np.float32)
    stream = StreamResampler(from_hz, to_hz)
    parts = [stream.push(wave[start : start + piece]) for start in range(0, wave.size, piece)]
    streamed = np.concatenate([*parts, stream.finish()])
    whole = resample(wave, from_hz, to_hz)
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=1e-4)


def test_a_tone_keeps_its_frequency_level_and_phase() -> None:
    seconds = np.arange(44_100) / 44_100
    result = resample(np.sin(2 * np.pi * 1_000 * seconds).astype(np.float32), 44_100, 16_000)
    expected = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(result[500:-500], expected[500:-500], atol=1e-4)


def test_what_the_new_rate_cannot_hold_is_removed_and_not_folded_back() -> None:
    seconds = np.arange(48_000) / 48_000
    result = resample(np.sin(2 * np.pi * 11_000 * seconds).astype(np.float32), 48_000, 16_000)
    assert np.abs(result[500:-500]).max() < 1e-4  # -80 dB


def test_equal_rates_change_nothing() -> None:
    wave = np.random.default_rng(2).normal(size=1_000).astype(np.float32)
    np.testing.assert_array_equal(resample(wave, 16_000, 16_000), wave)
    stream = StreamResampler(16_000, 16_000)
    np.testing.assert_array_equal(np.concatenate([stream.push(wave), stream.finish()]), wave)


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(48_000, 16_000), (44_100, 16_000), (24_000, 48_000), (40_000, 44_100)]
)
def test_a_prompt_resampler_is_hardly_late_and_clean_whatever_the_pieces(from_hz: int, to_hz: int) -> None:
    wave = np.sin(2 * np.pi * 1_000 * np.arange(from_hz) / from_hz).astype(np.float32)
    made = []
    for piece in (1, 777, 4_000):
        stream = PromptResampler(from_hz, to_hz)
        parts = [stream.push(wave[start : start + piece]) for start in range(0, wave.size, piece)]
        made.append(np.concatenate(parts))
        assert to_hz - made[-1].size <= 0.003 * to_hz
        np.testing.assert_array_equal(made[-1], made[0])
    wanted = np.sin(2 * np.pi * 1_000 * np.arange(made[0].size) / to_hz)
    assert np.abs(made[0] - wanted)[200:].max() < 1e-3
