"""The same recording twice: re-encoded, at another gain, cut out of a longer one.

A recording is known by how its sound moves: the loudness in eight bands 25 times a second, without what a
gain or an equaliser changes. The shorter of two is laid along the longer, and where they go together at
almost every moment they are one. Two readings of one sentence do not: nobody keeps time so well.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

Floats = NDArray[np.float32]
Spectra = NDArray[np.complex64]

STEP_FRAMES = 4
BANDS = 8
USED_MEL_BANDS = 24  # up to 3.5 kHz: encoders leave that alone
RANGE_DB = 40.0
SAME = 0.9
# Up to three seconds, a word and a pause are like another word and a pause: the sounds must be alike too.
SHORT_STEPS, SAME_SHORT, SHAPE_RANGE_DB = 75, 0.94, 20.0
SHORTEST_STEPS = 20
_OVERHANG_STEPS = 10
_MOST_BYTES = 2**26  # that the spectra which are compared at once may take


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
    order = [number for number, one in enumerate(prints) if len(one) >= SHORTEST_STEPS]
    order.sort(key=lambda number: -len(prints[number]))  # the longer of two comes first
    found: list[tuple[int, int]] = []
    size = first_in_table = 0
    table: Spectra | None = None
    for place, number in enumerate(order):
        one = prints[number]
        needed = 1 << (2 * len(one) + 2 * _OVERHANG_STEPS).bit_length()
        together = max(1, _MOST_BYTES // (4 * BANDS * needed))
        if needed != size:
            size, first_in_table = needed, place
            rest = [prints[other] for other in order[place:]]
            table = _spectra(rest, size) if len(rest) <= together else None
        spectrum = _spectra([one], size)[0]
        for start in range(place + 1, len(order), together):
            numbers = order[start : start + together]
            others = [prints[other] for other in numbers]
            at = start - first_in_table
            spectra = _spectra(others, size) if table is None else table[at : at + len(others)]
            matches = _best_matches(one, others, spectrum * np.conj(spectra), size)
            found += [
                (number, numbers[index])
                for index in np.flatnonzero(matches > SAME).tolist()
                if len(others[index]) >= SHORT_STEPS
                or (matches[index] > SAME_SHORT and _sound_alike(one, others[index], size))
            ]
            done = place + (start - place) / (len(order) - place)
            yield 1.0 - (1.0 - done / len(order)) ** 2
    return sorted((min(pair), max(pair)) for pair in found)


def _sound_alike(one: Floats, other: Floats, size: int) -> bool:
    """Compare the sounds alone: without how loud each moment is, and without pauses."""
    shapes = []
    for steps in (one, other):
        loudness = steps.mean(axis=1, keepdims=True)
        shapes.append(np.where(loudness > loudness.max() - SHAPE_RANGE_DB, steps - loudness, 0.0))
    product = _spectra(shapes[:1], size) * np.conj(_spectra(shapes[1:], size))
    return bool(_best_matches(shapes[0], shapes[1:], product, size)[0] > SAME_SHORT)


def _spectra(prints: Sequence[Floats], size: int) -> Spectra:
    """Transform along time, filled up to `size` steps, shape (n, size // 2 + 1, 8)."""
    filled = np.zeros((len(prints), size, BANDS), dtype=np.float32)
    for row, one in zip(filled, prints, strict=True):
        row[: len(one)] = one
    return rfft(filled, axis=1)


def _best_matches(one: Floats, others: Sequence[Floats], product: Spectra, size: int) -> NDArray[np.float64]:
    """Lay others, none longer, along one; return the best correlation over what each covers there."""
    along = irfft(product.sum(axis=2), size, axis=1)  # along[j, k] = sum of one[i + k] * others[j][i]
    lengths = np.array([len(other) for other in others])[:, None]
    shifts = np.arange(-_OVERHANG_STEPS, len(one) - lengths.min() + _OVERHANG_STEPS + 1)
    energy = np.concatenate([[0.0], np.cumsum(np.square(one).sum(axis=1, dtype=np.float64))])
    ends = np.clip(shifts + lengths, 0, len(one))
    covered = energy[ends] - energy[np.clip(shifts, 0, len(one))]
    whole = np.array([np.square(other).sum(dtype=np.float64) for other in others])[:, None]
    # Where it hardly moves (a long pause) chance would decide.
    enough = (covered > 0.3 * whole) & (whole > 0.0) & (shifts <= len(one) - lengths + _OVERHANG_STEPS)
    correlations = along[:, shifts % size] / np.sqrt(np.maximum(covered, 1e-9) * np.maximum(whole, 1e-9))
    best: NDArray[np.float64] = np.where(enough, correlations, 0.0).max(axis=1)
    return best
