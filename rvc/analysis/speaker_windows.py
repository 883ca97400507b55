"""Speech cut into windows of two and a half seconds, as the comparison of speakers needs it.

Shapes:  F, T = frames (100 per second), frame i centred at sample i * 160; M = 40 mel bands; n = windows.
Units:   mel bands hold natural logarithms of power.
Not here: the comparison (speakers.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

RATE_HZ = 16_000
HOP = 160
MEL_BANDS = 40
MEL_RANGE_HZ = (100.0, 7_600.0)
WINDOW_FRAMES = 250
MIN_WINDOW_FRAMES = 100
_GATE_DB = 30.0
_FFT = 512
_SILENCE = 9.0 * np.log(10)
"""Frames 90 dB below the loudest were made by a program."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakerWindows:
    """The speech of one recording, ready to be compared.

    Attributes:
        log_mel: Natural logarithm of the power in mel bands, frames of speech only, shape (F, 40).
        f0_hz: F0 of these frames, shape (F,), 0 where unvoiced.
        ends: Where each window ends, shape (n,), rising, the last is F.
        floor: Natural logarithm of the power in mel bands where the recording is calmest, shape (40,).
    """

    log_mel: Floats
    f0_hz: Floats
    ends: Labels
    floor: Floats

    def __len__(self) -> int:
        return int(self.ends.size)


@cache
def _mel_filters() -> Floats:
    """Triangles on the mel scale, shape (257, 40)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in MEL_RANGE_HZ)
    edges = 700 * (10 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(_FFT, 1 / RATE_HZ)[:, None]
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def log_mel(wav16k: Floats) -> Floats:
    """Measure the power in mel bands.

    Args:
        wav16k: Audio, shape (N,), 16 kHz.

    Returns:
        Natural logarithms, shape (N // 160 + 1, 40); frame i is centred at sample i * 160.
    """
    window = np.hanning(402)[1:-1].astype(np.float32)
    padded = np.pad(wav16k, (200, 200))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP]
    result = np.empty((len(frames), MEL_BANDS), dtype=np.float32)
    for start in range(0, len(frames), 2_000):
        power = np.square(np.abs(np.fft.rfft(frames[start : start + 2_000] * window, _FFT)))
        result[start : start + 2_000] = np.log(power.astype(np.float32) @ _mel_filters() + 1e-10)
    return result


def hiss(frames: int, *, seed: int) -> Floats:
    """Make white noise as mel frames see it, each band of mean power 1.

    Args:
        frames: How many.
        seed: Which.

    Returns:
        Natural logarithms of power, shape (frames, 40).
    """
    noise = np.random.default_rng(seed).standard_normal(max(frames - 1, 0) * HOP, dtype=np.float32)
    return log_mel(noise)[:frames] - np.log(_mean_of_hiss())


@cache
def _mean_of_hiss() -> Floats:
    noise = np.random.default_rng(0).standard_normal(2_000 * HOP, dtype=np.float32)
    mean: Floats = np.exp(log_mel(noise)[2:-2]).mean(axis=0)
    return mean


def speaker_windows(
    log_mel: Floats, f0_hz: NDArray[np.float64], speech: NDArray[np.bool_], pieces: Sequence[tuple[int, int]]
) -> SpeakerWindows:
    """Cut the speech of a recording into windows.

    Args:
        log_mel: From `log_mel`, shape (T, 40).
        f0_hz: F0, shape (T,), 0 where unvoiced.
        speech: Where somebody speaks, shape (T,).
        pieces: Frames from..to between which nobody else is expected to take the word (slices).

    Returns:
        The windows; none if there is hardly any speech.
    """
    loud = np.log(np.exp(log_mel[:, : MEL_BANDS * 13 // 20]).sum(axis=1))
    keep = speech & np.isfinite(loud)
    if keep.any():
        keep &= loud > np.percentile(loud[keep], 90) - _GATE_DB * np.log(10) / 10
    chosen: list[NDArray[np.int64]] = []
    for start, stop in pieces:
        frames = start + np.flatnonzero(keep[start:stop])
        count = max(1, round(frames.size / WINDOW_FRAMES))
        chosen += [part for part in np.array_split(frames, count) if part.size >= MIN_WINDOW_FRAMES]
    frames = np.concatenate([np.empty(0, dtype=np.int64), *chosen])
    ends = np.cumsum([part.size for part in chosen], dtype=np.int64)
    return SpeakerWindows(
        log_mel=log_mel[frames], f0_hz=f0_hz[frames].astype(np.float32), ends=ends, floor=calm_floor(log_mel)
    )


def calm_floor(log_mel: Floats) -> Floats:
    """Find the power that the noise of a recording has in each mel band.

    Args:
        log_mel: All frames of the recording, shape (T, 40).

    Returns:
        Natural logarithms, shape (40,): the calmest twentieth of what is not digital silence.
    """
    loudness = log_mel.max(axis=1, initial=-np.inf)
    made_by_room = loudness > max(float(loudness.max(initial=-np.inf)) - _SILENCE, -20.0)
    if not made_by_room.any():
        return np.full(MEL_BANDS, -23.0, dtype=np.float32)
    return np.percentile(log_mel[made_by_room], 5, axis=0).astype(np.float32)


def thinned(windows: SpeakerWindows, count: int) -> SpeakerWindows:
    """Keep so many windows at most, spread evenly over the recording."""
    if len(windows) <= count:
        return windows
    begins = np.concatenate([[0], windows.ends[:-1]])
    kept = np.linspace(0, len(windows) - 1, count).round().astype(np.int64)
    frames = np.concatenate([np.arange(begins[i], windows.ends[i]) for i in kept])
    return SpeakerWindows(
        log_mel=windows.log_mel[frames],
        f0_hz=windows.f0_hz[frames],
        ends=np.cumsum(windows.ends[kept] - begins[kept]),
        floor=windows.floor,
    )
