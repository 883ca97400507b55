"""What lies below hearing goes, and what a voice can sing stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from rvc.audio.rumble import remove_rumble
from tests.tiny import song

RATE_HZ = 16_000
TIME_S = np.arange(12 * RATE_HZ) / RATE_HZ
INNER = slice(RATE_HZ, -RATE_HZ)


def without_rumble(wav: np.ndarray) -> np.ndarray:
    made = wav.astype(np.float32)
    remove_rumble(made)
    return made


def rms_db(wav: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wav)) + 1e-20))


@pytest.mark.parametrize("hz", [5, 15, 30, 38])
def test_a_rumble_is_lowered_by_more_than_40_db(hz: float) -> None:
    wav = 0.3 * np.sin(2 * np.pi * hz * TIME_S)
    assert rms_db(without_rumble(wav)[INNER]) < rms_db(wav) - 40


@pytest.mark.parametrize("hz", [55, 80, 440, 7_000])
def test_a_tone_is_left_as_it_is_without_delay(hz: float) -> None:
    wav = (0.3 * np.sin(2 * np.pi * hz * TIME_S)).astype(np.float32)
    assert np.abs(without_rumble(wav) - wav)[INNER].max() < 1e-3


@pytest.mark.parametrize("seconds", [0.3, 1.0, 12.0, 25.0])
def test_an_offset_and_a_drift_leave_nothing_even_at_the_ends(seconds: float) -> None:
    wav = song(seconds)
    offset = without_rumble(wav + np.float32(0.3))
    np.testing.assert_allclose(offset, without_rumble(wav), atol=1e-4 if seconds >= 1 else 2e-2)
    drift = np.linspace(-0.3, 0.3, wav.size).astype(np.float32)
    if seconds > 10:
        assert np.abs(without_rumble(wav + drift) - without_rumble(wav)).max() < 2e-3


@pytest.mark.parametrize("samples", [0, 1, 31, 160, 1_000])
def test_the_shortest_recordings_keep_their_length(samples: int) -> None:
    assert np.isfinite(without_rumble(np.full(samples, 0.5))).all()
