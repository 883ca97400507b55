"""Look for the watermark of `watermark.py`, wherever its pattern begins.

Of every 10 s it is measured how well the changes of loudness between neighbouring cells agree with those of
the pattern, at each of its 384 possible beginnings. Sound without the mark agrees with all of them by chance
only: the others say how large chance is here, and the score is how many of its standard deviations the best
one stands out. That needs no knowledge of the sound, of its level or its codec.

Shapes:  T = frames of 10 ms of a stretch, B = BANDS; agreement is (PLACES,), one number for each beginning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from rvc.audio.watermark import BAND_HZ, BANDS, LOWEST_HZ, PERIOD, STEPS, pattern

Wave = NDArray[np.float32]
Agreement = NDArray[np.float64]

RATE_HZ = 16_000  # what is looked at
STRETCH_S = 10.0  # of it at once
SHORTEST_S = 1.0  # of a stretch, and of a recording, in which it can be looked for
FOUND = 5.5  # score of a stretch from which the mark is there; docs/quality.md says what others reach
PLACES = PERIOD * STEPS
_HOP, _WINDOW = 160, 512  # samples; 10 and 32 ms
_BINS = round(BAND_HZ * _WINDOW / RATE_HZ)  # of the spectrum in a band
_FIRST = round(LOWEST_HZ * _WINDOW / RATE_HZ)
_MOST = 1.0  # change of a cell that counts, in nepers; what is larger is an onset
_FAINT = 1e-12  # power below which there is no sound
_OVER_NOISE = 16.0  # times the power of a band's quietest tenth, where a cell counts for half
_BESIDE = 12  # bands on either side, whose common changes are the sound's own
_NEAR = STEPS  # places beside the best that agree with it, and are no chance


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """What was found of the mark in a recording."""

    score: float  # of the whole or its best stretch: standard deviations above chance
    seconds: float  # that were looked at
    marked_s: float  # of those, in stretches that have the mark by themselves

    @property
    def found(self) -> bool:
        """Whether it is there; of many stretches the best must stand out more, for chance to be as rare."""
        return self.score >= math.sqrt(FOUND**2 + 2.0 * math.log(max(self.seconds / STRETCH_S, 1.0)))


def find_watermark(blocks: Iterable[Wave]) -> Watermark:
    """Look for the mark in a recording of 16 kHz, mono, given in blocks of any size."""
    whole, count = np.zeros(PLACES), 0
    score = seconds = marked_s = 0.0
    place = 0  # of the stretch in the recording, in frames
    for wav in _stretches(blocks):
        agreement = _agreement(wav, place)
        here_s = wav.size / RATE_HZ
        place += wav.size // _HOP
        seconds += here_s
        if agreement is None:
            continue
        here, chance = _stands_out(agreement)
        marked_s += here_s * (here >= FOUND)
        score = max(score, here)
        whole, count = whole + agreement / chance, count + 1
    if count > 1:  # in one long recording the pattern goes on from stretch to stretch
        score = max(score, _stands_out(whole)[0])
    return Watermark(score=round(score, 2), seconds=round(seconds, 2), marked_s=round(marked_s, 2))


def _stretches(blocks: Iterable[Wave]) -> Iterable[Wave]:
    """Cut into stretches, whole in frames; the last may have half as much more, or less."""
    size = round(STRETCH_S * RATE_HZ)
    waiting = np.empty(0, np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block.astype(np.float32, copy=False)])
        while waiting.size >= size * 3 // 2:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting.size >= SHORTEST_S * RATE_HZ:
        yield waiting


def _agreement(wav: Wave, place: int) -> Agreement | None:
    """Return how well a stretch agrees with the pattern that begins at each place; None of silence."""
    power = _cell_powers(wav)
    if float(power.max(initial=0.0)) < _FAINT:
        return None
    # What stands out of a band's own noise is what somebody has marked.
    floor = np.quantile(power, 0.1, axis=0) * _OVER_NOISE + _FAINT
    changes = np.clip(_changes(np.log(power + _FAINT)), -_MOST, _MOST) * (power / (power + floor))
    rounds = -(-len(changes) // PLACES)
    changes = np.pad(changes, ((0, rounds * PLACES - len(changes)), (0, 0)))
    folded = np.roll(changes.reshape(rounds, PLACES, BANDS).sum(axis=0), place, axis=0)
    spectra = rfft(folded, axis=0) * np.conj(_template())
    return np.asarray(irfft(spectra.sum(axis=1), PLACES), np.float64)


def _cell_powers(wav: Wave) -> NDArray[np.float32]:
    """Return the power in each band around each 10 ms, (T, B)."""
    padded = np.pad(wav, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][: wav.size // _HOP]
    spectra = rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)
    bins = np.square(np.abs(spectra[:, _FIRST : _FIRST + _BINS * BANDS]))
    return bins.reshape(len(bins), BANDS, _BINS).sum(axis=2)


def _changes(logs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much each cell differs from those before and behind it, and from the bands around it."""
    padded = np.pad(logs, ((STEPS, STEPS), (0, 0)), mode="edge")
    in_time = logs - 0.5 * (padded[: -2 * STEPS] + padded[2 * STEPS :])
    padded = np.pad(in_time, ((0, 0), (_BESIDE, _BESIDE)), mode="edge")
    around = sum(padded[:, start : start + BANDS] for start in range(2 * _BESIDE + 1))
    return np.asarray(in_time - around / (2 * _BESIDE + 1), np.float32)


def _template() -> NDArray[np.complex128]:
    """Return the spectrum of what the pattern makes of flat sound, (PLACES // 2 + 1, B)."""
    logs = np.repeat(pattern(), STEPS, axis=0)
    around = np.concatenate([logs[-STEPS:], logs, logs[:STEPS]])
    # A frame hears 32 ms around its middle; the filter goes over into the next within 10.
    heard = sum(np.roll(around, shift, axis=0) for shift in (-1, 0, 1)) / 3
    return np.asarray(rfft(_changes(np.asarray(heard, np.float32))[STEPS:-STEPS], axis=0))


def _stands_out(agreement: Agreement) -> tuple[float, float]:
    """Return by how many standard deviations the best place stands out of what chance makes, and one."""
    best = int(agreement.argmax())
    away = np.abs((np.arange(PLACES) - best + PLACES // 2) % PLACES - PLACES // 2)
    # The opposite of the pattern follows it at once, and agrees as badly as the best agrees well.
    chance = agreement[away > 3 * _NEAR]
    deviation = max(float(chance.std()), 1e-12)
    return float((agreement[best] - chance.mean()) / deviation), deviation
