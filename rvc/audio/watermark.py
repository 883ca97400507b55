"""An inaudible watermark: an equaliser that changes every 20 ms, by a pattern that anybody can look for.

A patchwork in time and frequency (Bender et al., "Techniques for data hiding", 1996; Yeo and Kim, "Modified
patchwork algorithm", 2003): cells of 20 ms and 125 Hz are made a little louder or softer, by signs that look
random and repeat every 3.84 s. No single cell tells anything, thousands together do. It says one thing, that
a program with this pattern has written the sound; it carries no name and no number.

Causal and without delay: each cell's filter has minimum phase, so a live voice can be marked as it speaks.
Linear: marking two sounds and adding them is marking their sum. The pattern counts from a sound's beginning.

Shapes:  sound is float32, (n,) or (n, C), C channels; a pattern is (PERIOD cells, BANDS).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

Wave = NDArray[np.float32]
Pattern = NDArray[np.float32]

STEP_S = 0.01  # what is filtered at once; over the first of a cell the filter goes over into the next one
STEPS = 2  # of a cell
PERIOD = 192  # cells until the pattern begins again
# From 1 kHz on: below, these are as wide as the bands in which recognisers hear, and cost words. Up to 7 kHz,
# which most codecs of speech keep.
BANDS, LOWEST_HZ, BAND_HZ = 48, 1000.0, 125.0
STRENGTH_DB = 1.2  # how much louder or softer a cell becomes; `tests.bench.marks` says what that costs
NAME = b"Timbre watermark 1"  # what the signs are made of; another name is another watermark
_RINGING_S = 0.03  # length of a filter: bands of 125 Hz need a third of it
_AT_ONCE = 500  # steps whose spectra are in memory together


@lru_cache(maxsize=1)
def pattern() -> Pattern:
    """Return the sign of each cell, +1 or -1: each column and each row sums to about nothing."""
    count = PERIOD * BANDS // 2
    blocks = (hashlib.sha256(NAME + number.to_bytes(4, "big")).digest() for number in range(-(-count // 256)))
    bits = np.unpackbits(np.frombuffer(b"".join(blocks), np.uint8))[:count].reshape(PERIOD // 2, BANDS)
    signs = 1.0 - 2.0 * bits.astype(np.float32)
    # Each cell is followed by its opposite: speech changes little within 20 ms, so it hides little of that.
    return np.stack([signs, -signs], axis=1).reshape(PERIOD, BANDS)


class Marker:
    """Mark one sound from its beginning, block by block: as many samples come out as went in, at the end.

    What is pushed in whole steps of 10 ms comes out at once.
    """

    def __init__(self, rate_hz: int, channels: int = 1) -> None:
        self._rate_hz = rate_hz
        self._taps = round(_RINGING_S * rate_hz)
        self._longest = -(-rate_hz // round(1 / STEP_S))
        self._n_fft = next_fast_len(self._longest + self._taps - 1, real=True)
        self._filters = _filters(rate_hz, self._taps, self._n_fft)
        self._step = 0  # which is the next
        self._waiting = np.empty((0, channels), np.float32)
        self._ringing = np.zeros((self._n_fft, channels), np.float32)  # of what was given, into what comes

    def push(self, block: Wave) -> Wave:
        """Take the next samples and return those that are marked by now."""
        channels = self._waiting.shape[1]
        self._waiting = np.concatenate([self._waiting, block.reshape(-1, channels)])
        marked = [np.empty((0, channels), np.float32)]
        while (ready := self._ready()) > 0:
            edges = self._edges(min(ready, _AT_ONCE))
            marked.append(self._filtered(self._waiting[: edges[-1]], edges))
            self._waiting = self._waiting[edges[-1] :]
        return _shaped(np.concatenate(marked))

    def finish(self) -> Wave:
        """Return what is still to come."""
        rest = self._waiting
        self._waiting = rest[:0]
        return _shaped(self._filtered(rest, np.array([0, len(rest)])) if len(rest) else rest)

    def _ready(self) -> int:
        """How many whole steps wait."""
        begun = round(self._step * self._rate_hz * STEP_S)
        return int((begun + len(self._waiting)) / (self._rate_hz * STEP_S) + 1e-9) - self._step

    def _edges(self, count: int) -> NDArray[np.int64]:
        """Where the next steps begin and end, in samples from the first of them."""
        steps = np.arange(self._step, self._step + count + 1)
        edges = np.rint(steps * (self._rate_hz * STEP_S)).astype(np.int64)
        return edges - edges[0]

    def _filtered(self, sound: Wave, edges: NDArray[np.int64]) -> Wave:
        count, channels = edges.size - 1, sound.shape[1]
        frames = np.zeros((count, self._longest, channels), np.float32)
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            frames[number, : stop - start] = sound[start:stop]
        steps = np.arange(self._step, self._step + count)
        cells, begins = steps // STEPS % PERIOD, steps % STEPS == 0
        self._step += count
        rise = ((np.arange(self._longest, dtype=np.float32) + 0.5) / self._longest)[:, None]
        leaving = frames[begins] * (1.0 - rise)
        frames[begins] *= rise
        spectra = rfft(frames, self._n_fft, axis=1) * self._filters[cells][:, :, None]
        gone = self._filters[cells[begins] - 1][:, :, None]
        spectra[begins] += rfft(leaving, self._n_fft, axis=1) * gone
        wet = irfft(spectra, self._n_fft, axis=1)
        out = np.zeros((len(sound) + self._n_fft, channels), np.float32)
        out[: self._n_fft] = self._ringing
        for start, filtered in zip(edges, wet, strict=False):
            out[start : start + self._n_fft] += filtered
        self._ringing = out[len(sound) :]
        return out[: len(sound)]


def marked(pieces: Iterable[Wave], rate_hz: int, channels: int = 1) -> Iterator[Wave]:
    """Mark a sound that comes in pieces; they come out in other lengths."""
    marker = Marker(rate_hz, channels)
    for piece in pieces:
        yield marker.push(piece)
    yield marker.finish()


@lru_cache(maxsize=4)
def _filters(rate_hz: int, taps: int, n_fft: int) -> NDArray[np.complex64]:
    """Return the spectrum of each cell's filter, (PERIOD, n_fft // 2 + 1): minimum phase, by the cepstrum."""
    size = next_fast_len(8 * taps, real=True) // 2 * 2
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    # From the middle of a band to the middle of the next in a straight line, and to nothing beyond the last.
    middles = LOWEST_HZ + BAND_HZ * (np.arange(-1, BANDS + 1) + 0.5)
    signs = np.pad(pattern(), ((0, 0), (1, 1)))
    gains_db = np.stack([np.interp(hz, middles, STRENGTH_DB * row, 0.0, 0.0) for row in signs])
    cepstrum = np.fft.irfft(gains_db * (np.log(10) / 20), size)
    cepstrum[:, 1 : size // 2] *= 2.0
    cepstrum[:, size // 2 + 1 :] = 0.0
    responses = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[:, :taps]
    fading = taps // 3
    responses[:, -fading:] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(fading) + 0.5) / fading)
    return np.asarray(rfft(responses, n_fft), np.complex64)


def _shaped(sound: Wave) -> Wave:
    return sound[:, 0] if sound.shape[1] == 1 else sound
