"""How loud a recording is: one gain for the whole of it, and its contour in 10 ms frames.

Shapes:  N = samples at 16 kHz, T = frames (100 per second), frame i centred at sample i * 160.
Units:   levels are natural logarithms of the RMS of a full scale of 1.
Why:     the networks hear every voice at one loudness, so the gain is a fact of the whole recording
         (training and conversion must agree on it). Making a result as loud as its source: loudness.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The clock of the whole program: every contour has 100 frames a second, at whatever rate the audio is.
FRAMES_PER_S = 100
RATE_16K_HZ = 16_000
HOP_16K = RATE_16K_HZ // FRAMES_PER_S

TARGET_RMS = 0.08  # what `normalisation_gain` makes of the 90th percentile of the RMS of a frame
LOUD_PERCENTILE = 90.0
SILENCE_RMS = 1e-5  # -100 dBFS: no microphone is this quiet; below it a frame counts as digital silence
GATE_DB = 30.0  # frames this far below the mean power are pauses and have no say in the gain
GATE_ROUNDS = 3
MAX_GAIN = 1_000.0
LEVEL_FLOOR = float(np.log(1e-4))  # of a silent frame; the contour goes down to it smoothly


def frame_rms(wav16k: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure the RMS of each 10 ms, (N,) -> (ceil(N / 160),), the last filled up with zeros."""
    return np.sqrt(_stretch_energies(wav16k) / HOP_16K)


def frame_deviations(wav16k: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure the RMS about the mean of each 10 ms, whatever offset it lies on, (N,) -> (ceil(N / 160),)."""
    whole = wav16k.size // HOP_16K
    stretches = wav16k[: whole * HOP_16K].reshape(whole, HOP_16K)
    parts = [
        stretches[start : start + 6_000].std(axis=1, dtype=np.float64) for start in range(0, whole, 6_000)
    ]
    rest = wav16k[whole * HOP_16K :]
    return np.concatenate([*parts, [rest.std(dtype=np.float64)] if rest.size else []])


def loud_rms(wav16k: NDArray[np.float32]) -> float:
    """Measure how loud the loud parts of a recording are, whatever its pauses; 0.0 if it is silent."""
    return loud_of(frame_rms(wav16k))


def loud_of(rms: NDArray[np.float64]) -> float:
    """Take the 90th percentile of the RMS of 10 ms stretches that are no pauses (see `GATE_DB`)."""
    active = rms[rms > SILENCE_RMS]
    if not active.size:
        return 0.0
    for _ in range(GATE_ROUNDS):
        mean_power = float(np.mean(np.square(active)))
        active = active[active > np.sqrt(mean_power) * 10 ** (-GATE_DB / 20)]
    return float(np.percentile(active, LOUD_PERCENTILE))


def normalisation_gain(wav16k: NDArray[np.float32]) -> float:
    """Find the factor, at most 1000, that makes `loud_rms` of a recording 0.08; 1.0 if it is silent."""
    loud = loud_rms(wav16k)
    return min(TARGET_RMS / loud, MAX_GAIN) if loud > 0.0 else 1.0


def level_contour(wav16k: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Measure the level of each frame over the 20 ms around its centre: (N,) -> (frames,)."""
    energies = _stretch_energies(wav16k)
    # Frame i is centred on the border between stretches i - 1 and i: its window is just these two.
    padded = np.zeros(max(frames, energies.size) + 1)
    padded[1 : energies.size + 1] = energies
    power = (padded[:frames] + padded[1 : frames + 1]) / (2 * HOP_16K)
    return (0.5 * np.log(power + np.exp(2 * LEVEL_FLOOR))).astype(np.float32)


def _stretch_energies(wav16k: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum the squares of each 160 samples; float64 sums, without a float64 copy of an hour."""
    whole = wav16k.size // HOP_16K
    stretches = wav16k[: whole * HOP_16K].reshape(whole, HOP_16K)
    energies = np.zeros(-(-wav16k.size // HOP_16K))
    for start in range(0, whole, 6_000):
        part = stretches[start : start + 6_000].astype(np.float64)
        energies[start : start + len(part)] = np.einsum("ij,ij->i", part, part)
    rest = wav16k[whole * HOP_16K :].astype(np.float64)
    if rest.size:
        energies[-1] = float(rest @ rest)
    return energies
