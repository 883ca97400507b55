"""Fundamental frequency of a recording: the melody that a conversion carries over.

Shapes:  N = samples at 16 kHz, T = N // 160 + 1 frames, frame i centred at sample i * 160.
Units:   F0 in Hz, 0 where unvoiced; transposition in semitones.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rvc.audio.level import FRAMES_PER_S
from rvc.errors import ConfigError
from rvc.steps import result_of

FALLBACK_HZ = 150.0  # F0 of a recording without any voiced frame where a number is needed
MIN_VOICED_FRAMES = 3  # shorter islands are bursts of noise that chance made periodic
MAX_STRAY_FRAMES = 15
STRAY_OCTAVES = 0.75
SURROUNDINGS_FRAMES = 75
JUMP_OCTAVES = 0.4  # a larger step from one frame to the next is none that a throat makes
OCTAVE_TOLERANCE = 0.15
# RVC's law, bit for bit, because every published voice was trained on it: 255 bins of the mel scale, and bin
# 1 for unvoiced frames as for low ones. They stay 0 in Hz (newer RVC programs fill them; the voices that
# people share were trained without).
LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0
BINS = 255


class F0Estimator(Protocol):
    """Finds the F0 of each frame of a recording; who derives from it gets the call at once for nothing."""

    on_device: bool = False  # whether it computes on the GPU
    cost_s: float = 0.006  # of work for a second of sound, roughly; to tell how long all will take

    def track(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float64]]:
        """Estimate F0, (N,) -> (T,), in steps of well under a second; yields the share that is done."""

    def __call__(self, wav16k: NDArray[np.float32]) -> NDArray[np.float64]:
        """Estimate F0 at once; the same result as `track`."""
        return result_of(self.track(wav16k))


def chunks(frames: int, chunk: int, overlap: int) -> Iterator[tuple[int, int, int, int]]:
    """List start and stop of each chunk without and with its overlap, in frames."""
    for start in range(0, frames, chunk):
        stop = min(start + chunk, frames)
        yield start, stop, max(start - overlap, 0), min(stop + overlap, frames)


def tidy_f0(f0_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop voiced islands of under 30 ms, and mend short runs that stray from the melody around them.

    A run is what lies between jumps or pauses. One of at most 150 ms that lies 0.75 octaves or more
    from the median of the 0.75 s on either side strays: estimators do that, voices hardly. If it jumps
    there by an octave it is brought back by one, else it is called unvoiced. Longer runs are
    believed, for a voice may creak or yodel.
    """
    tidy = f0_hz.copy()
    voiced = f0_hz > 0
    octaves = np.log2(np.where(voiced, f0_hz, 1.0))
    jumps = np.abs(np.diff(octaves, prepend=octaves[:1])) > JUMP_OCTAVES
    changes = np.diff(voiced, prepend=False) | (jumps & voiced)
    starts = np.flatnonzero(changes & voiced)
    ends = np.flatnonzero(np.append(changes[1:], True) & voiced) + 1
    for start, stop in zip(starts.tolist(), ends.tolist(), strict=True):
        if stop - start > MAX_STRAY_FRAMES:
            continue
        around = slice(max(start - SURROUNDINGS_FRAMES, 0), stop + SURROUNDINGS_FRAMES)
        others = voiced[around].copy()
        others[start - around.start : stop - around.start] = False
        if others.any():
            away = np.median(octaves[start:stop]) - np.median(octaves[around][others])
            if abs(away) > STRAY_OCTAVES:
                tidy[start:stop] *= 2.0 ** -np.sign(away) if _is_octave(octaves, start, stop) else 0.0
    borders = np.flatnonzero(np.diff(tidy > 0, prepend=False, append=False))
    for start, stop in borders.reshape(-1, 2).tolist():
        if stop - start < MIN_VOICED_FRAMES:
            tidy[start:stop] = 0.0
    return tidy


def _is_octave(octaves: NDArray[np.float64], start: int, stop: int) -> bool:
    """Whether a run begins or ends with a jump of an octave."""
    steps = [octaves[start] - octaves[start - 1]] if start else []
    steps += [octaves[stop - 1] - octaves[stop]] if stop < octaves.size else []
    return any(abs(abs(step) - 1.0) < OCTAVE_TOLERANCE for step in steps)


@dataclass(frozen=True, kw_only=True)
class F0Statistics:
    """Where a voice lies: its median, and what 5 % of the voiced frames are below and above."""

    median_hz: float
    low_hz: float
    high_hz: float


def f0_statistics(f0_hz: NDArray[np.float64]) -> F0Statistics | None:
    """Measure median and range of the voiced frames; None if there are none."""
    voiced = f0_hz[f0_hz > 0]
    if not voiced.size:
        return None
    low, median, high = np.percentile(voiced, [5.0, 50.0, 95.0])
    return F0Statistics(median_hz=float(median), low_hz=float(low), high_hz=float(high))


def shift_semitones(f0_hz: NDArray[np.float64], semitones: float) -> NDArray[np.float64]:
    """Transpose a contour; unvoiced frames stay 0."""
    return f0_hz * 2.0 ** (semitones / 12.0)


def interpolate_unvoiced(f0_hz: NDArray[np.float64], fallback_hz: float = FALLBACK_HZ) -> NDArray[np.float64]:
    """Fill the unvoiced frames: straight lines of log F0 between voiced ones, constant at the ends."""
    voiced = np.flatnonzero(f0_hz > 0)
    if not voiced.size:
        return np.full(f0_hz.shape, fallback_hz)
    filled: NDArray[np.float64] = np.exp(np.interp(np.arange(f0_hz.size), voiced, np.log(f0_hz[voiced])))
    filled[voiced] = f0_hz[voiced]
    return filled


def cumulate_phase(f0_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count the cycles since frame 0 of a contour without holes; only their fraction, 0 <= phase < 1."""
    cycles = np.zeros(f0_hz.size)
    np.cumsum(0.5 * (f0_hz[1:] + f0_hz[:-1]) / FRAMES_PER_S, out=cycles[1:])
    return cycles % 1.0


def coarse_bins(f0_hz: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Quantise a contour in Hz, (T,), to bin numbers 1..255, (T,); out of range gets the nearest bin."""
    if not np.isfinite(f0_hz).all() or (f0_hz < 0).any():
        raise ConfigError("An F0 contour holds only positive numbers, and 0 where it is unvoiced.")
    low, high = _mel(np.array([LOWEST_HZ, HIGHEST_HZ]))
    bins = (_mel(f0_hz.astype(np.float64)) - low) * (BINS - 1) / (high - low) + 1
    return np.rint(np.clip(bins, 1, BINS)).astype(np.int64)


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(hz / 700.0)
