"""The room without the singer: what rings on is kept, what is sung is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from pipelines.conversion.cover.reverb import Tail

RATE = 22_050
Wave = NDArray[np.float32]


def notes() -> Wave:
    """Half-second notes of two pitches with half a second of silence after each, (N, 1)."""
    time_s = np.arange(6 * RATE) / RATE
    hz = np.where(time_s % 2 < 1, 220.0, 277.2)
    tones = sum(np.sin(2 * np.pi * n * hz * time_s) / n for n in range(1, 15))
    edges = np.clip(np.minimum(time_s % 1, 0.5 - time_s % 1) / 0.01, 0, 1)
    return (0.1 * tones * edges).astype(np.float32)[:, None]


def in_a_room(sound: Wave, fall_s: float = 1.2) -> Wave:
    """The sound, and a diffuse tail of it 8 dB softer that falls by 60 dB in so long."""
    time_s = np.arange(round(fall_s * RATE)) / RATE
    room = np.random.default_rng(2).standard_normal(time_s.size) * 10 ** (-3 * time_s / fall_s)
    room *= 10 ** (-8 / 20) / np.sqrt(np.square(room).sum())
    return sound + fftconvolve(sound[:, 0], room)[: len(sound), None].astype(np.float32)


def tail_of(sound: Wave, piece: int = 10_000) -> Wave:
    tail = Tail(RATE, sound.shape[1])
    pieces = [tail.push(sound[start : start + piece]) for start in range(0, len(sound), piece)]
    return np.concatenate([*pieces, tail.finish()])


def power_db(sound: Wave) -> float:
    return 10 * np.log10(float(np.mean(np.square(sound))) + 1e-12)


def during(sound: Wave, first_s: float, last_s: float) -> Wave:
    """The same stretch of every second, but for the first."""
    return np.concatenate(
        [sound[round((s + first_s) * RATE) : round((s + last_s) * RATE)] for s in range(1, 6)]
    )


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 500, 50_000])
def test_it_is_as_long_as_what_it_is_of_and_the_same_in_any_pieces(channels: int, samples: int) -> None:
    sound = np.random.default_rng(1).normal(size=(samples, channels)).astype(np.float32)
    whole = tail_of(sound, piece=samples)
    assert whole.shape == sound.shape
    np.testing.assert_allclose(tail_of(sound, piece=777), whole, atol=1e-6)


def test_what_rings_after_a_note_is_kept_and_the_note_is_left_out() -> None:
    wet = in_a_room(notes())
    tail = tail_of(wet)
    assert power_db(during(tail, 0.6, 0.9)) > power_db(during(wet, 0.6, 0.9)) - 3.0
    assert power_db(during(tail, 0.15, 0.45)) < power_db(during(wet, 0.15, 0.45)) - 12.0


def test_a_dry_voice_has_next_to_none() -> None:
    dry = notes()
    assert power_db(tail_of(dry)) < power_db(dry) - 20.0
