"""What rings after each note of the original vocals: the room they were sung in, without the singer.

In every band of a spectrogram, what lies well below what was just there is taken for its tail; what was sung
itself is left out. The share that is kept rises from 0 at -6 dB to 1 at -12 dB.

Shapes:  C = channels; sound is float32, (n, C). Memory does not grow with the length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

Wave = NDArray[np.float32]

_WINDOW_S = 0.046
_HOPS = 4  # in a window
_FALL_DB_PER_S = 25.0  # how fast it is forgotten what was there: a room of 2.4 s
_KEPT_FROM_DB, _KEPT_WHOLE_DB = 6.0, 12.0  # below it
_NEAR_BINS = 5  # a voice moves by as much within a note
_FLOOR = 1e-12


class Tail:
    """Takes sound in and gives its tail out, as long and at the same places: push ..., finish."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        self._size = 2 ** round(np.log2(_WINDOW_S * rate_hz))
        self._hop = self._size // _HOPS
        window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        # Windowed twice: of the squares of so many Hann windows the sum is 3/8 of their number.
        self._window, self._scale = window[:, None], np.float32(8 / (3 * _HOPS))
        self._fall = 10 ** (-_FALL_DB_PER_S / 10 * self._hop / rate_hz)
        self._was = np.full((self._size // 2 + 1, channels), _FLOOR)
        self._heard = np.zeros((self._size - self._hop, channels), np.float32)
        self._sum = np.zeros((self._size, channels), np.float32)
        self._lead = self._size - self._hop  # samples that come out before the first that went in
        self._taken = self._given = 0

    def push(self, block: Wave) -> Wave:
        """Take the next samples and return those that are ready, which may be none."""
        self._taken += len(block)
        ready = self._ready(block)
        self._given += len(ready)
        return ready

    def finish(self) -> Wave:
        """Return the rest."""
        silence = np.zeros((2 * self._size, self._heard.shape[1]), np.float32)
        return self._ready(silence)[: self._taken - self._given]

    def _ready(self, block: Wave) -> Wave:
        self._heard = np.concatenate([self._heard, block])
        done = []
        while len(self._heard) >= self._size:
            done.append(self._step(self._heard[: self._size]))
            self._heard = self._heard[self._hop :]
        ready = np.concatenate([self._heard[:0], *done])
        left_out = min(self._lead, len(ready))
        self._lead -= left_out
        return ready[left_out:]

    def _step(self, frame: Wave) -> Wave:
        """Add the tail of one frame to the sum; return the samples that nothing more comes to."""
        spectrum = np.fft.rfft(frame * self._window, axis=0)
        power = np.square(np.abs(spectrum)) + _FLOOR
        here = maximum_filter1d(power, _NEAR_BINS, axis=0)
        self._was = np.maximum(here, self._was * self._fall)
        below_db = 10 * np.log10(self._was / here)
        kept = np.clip((below_db - _KEPT_FROM_DB) / (_KEPT_WHOLE_DB - _KEPT_FROM_DB), 0.0, 1.0)
        tail = np.fft.irfft(spectrum * kept, self._size, axis=0).astype(np.float32)
        self._sum += tail * self._window * self._scale
        done = self._sum[: self._hop].copy()
        self._sum[: -self._hop] = self._sum[self._hop :].copy()
        self._sum[-self._hop :] = 0.0
        return done
