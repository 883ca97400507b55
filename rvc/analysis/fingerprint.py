"""The same recording twice: re-encoded, at another gain, cut out of a longer one.

A recording is known by how its sound moves: the loudness in eight bands 25 times a second, without what a
gain or an equaliser changes. The shorter of two is laid along the longer, and where they go together at
almost every moment they are one. Two readings of one sentence do not: nobody keeps time so well.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

Floats = NDArray[np.float32]

STEP_FRAMES = 4
BANDS = 8
USED_MEL_BANDS = 24  # up to 3.5 kHz: encoders leave that alone
RANGE_DB = 40.0
SAME = 0.9
SHORTEST_STEPS = 20
_OVERHANG_STEPS = 10


def fingerprint(log_mel: Floats) -> Floats:
    """Describe how the sound of a recording moves: from `log_mel`, shape (T, 40), to shape (T // 4, 8).

    What lies 40 dB under the loudest is all alike, so that silence at the ends changes nothing.
    """
    steps = len(log_mel) // STEP_FRAMES
    power = np.exp(log_mel[: steps * STEP_FRAMES, :USED_MEL_BANDS].astype(np.float64))
    power = power.reshape(steps, STEP_FRAMES, BANDS, USED_MEL_BANDS // BANDS).mean(axis=(1, 3))
    if not steps:
        return np.zeros((0, BANDS), dtype=np.float32)
    level = 10 * np.log10(power + 1e-12)
    level = np.maximum(level, level.max(axis=0) - RANGE_DB)
    whole = 10 * np.log10(power.sum(axis=1) + 1e-12)
    sounding = whole > whole.max() - RANGE_DB
    return (level - level[sounding].mean(axis=0)).astype(np.float32)


def find_duplicates(prints: Sequence[Floats]) -> Generator[float, None, list[tuple[int, int]]]:
    """Compare all recordings, yield the share that is done, return the numbers of any two that are one."""
    found = []
    longest = max((len(print_) for print_ in prints), default=0)
    size = next_fast_len(2 * longest + 2 * _OVERHANG_STEPS, real=True)
    pairs = len(prints) * (len(prints) - 1) / 2
    done = 0
    for first, one in enumerate(prints):
        if len(one) >= SHORTEST_STEPS and first + 1 < len(prints):
            spectrum = rfft(one, size, axis=0)
            for second in range(first + 1, len(prints)):
                other = prints[second]
                if len(other) >= SHORTEST_STEPS and _best_match(one, other, spectrum, size) > SAME:
                    found.append((first, second))
                done += 1
                if done % 20 == 0:
                    yield done / pairs
    return found


def _best_match(one: Floats, other: Floats, spectrum: NDArray[np.complex64], size: int) -> float:
    """Lay the shorter along the longer; return the best correlation over what it covers there."""
    product = np.sum(spectrum * np.conj(rfft(other, size, axis=0)), axis=1)
    along = irfft(product, size)  # along[k] = sum of one[i + k] * other[i]
    if len(one) >= len(other):
        longer, shorter = one, other
    else:
        longer, shorter = other, one
        along = np.roll(along[::-1], 1)
    shifts = np.arange(-_OVERHANG_STEPS, len(longer) - len(shorter) + _OVERHANG_STEPS + 1)
    energy = np.concatenate([[0.0], np.cumsum(np.square(longer).sum(axis=1, dtype=np.float64))])
    begin = np.clip(shifts, 0, len(longer))
    end = np.clip(shifts + len(shorter), 0, len(longer))
    covered = energy[end] - energy[begin]
    whole = float(np.square(shorter).sum(dtype=np.float64))
    if whole <= 0.0:
        return 0.0
    # Where it hardly moves (a long pause) chance would decide.
    enough = covered > 0.3 * whole
    correlations = along[shifts % size] / np.sqrt(np.maximum(covered, 1e-9) * whole)
    return float(correlations[enough].max()) if enough.any() else 0.0
