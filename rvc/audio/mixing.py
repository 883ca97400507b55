"""Many channels to one without losing the voice: a weight for each, found by hearing all of them first.

Shapes:  C = channels, T = frames of about 50 ms. Sound is float32, shape (n, C).
Why:     the mean of channels is silence where one is the inverse of the other, half as loud where only one
         speaks, and hollow where one comes later. So it is kept where it is about as loud as the loudest
         channel, as in common stereo; else one channel is taken if the others say the same, or a sum of them
         all. The weights are constant: nothing moves within a recording.
How:     channels are compared below 4 kHz, where voices are; one of nothing but rumble (the effects of a
         film) is left out. Memory does not grow with the length.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
Numbers = NDArray[np.float64]

_HEARD_HZ = 8_000
_FRAME = 400  # samples at that rate: 50 ms
_FRAMES_AT_MOST = 65_536  # then, after an hour, neighbours become one
_WINDOW = np.hanning(_FRAME).astype(np.float32)
_LAGS = 4  # frames by which one channel may come later than another and be its copy

_RUMBLE_BINS, _RUMBLE = 6, 1e-2  # a channel with less than -20 dB above 120 Hz has no voice
_ACTIVE = 1e-3  # -30 dB: frames this far below the loud ones are pauses and have no say
_HEARD = 1e-2  # -20 dB: a channel this near to the loudest of a frame is heard in it,
_HEARD_SHARE = 0.01  # and worth mixing when it is in one frame of a hundred
# Cosine of two magnitude spectrograms: 0.8 to 1 for late, inverted or duller copies, up to 0.55 for others.
_ALIKE = 0.7
_INVERTED = 0.3  # correlation with the loudest channel, below zero
_FAITHFUL_DB = 1.0  # a mean so near to the loudest channel stays; it is by so much better than
_ALONE_DB = 0.5  # one channel,
_SUM_DB = 2.0  # or a sum, which makes louder what is in several channels
_EVEN_DB = 0.1  # of two that are so near to each other the first is taken
_FLOOR = 1e-6


class Listener:
    """Hears all channels of a recording, piece by piece; then tells how to mix them and how loud they are."""

    def __init__(self, rate_hz: int) -> None:
        self._factor = max(1, rate_hz // _HEARD_HZ)
        self._waiting: list[Wave] = []
        self._waits = self._frames = 0
        self._products: list[Wave] = []  # of the channels with each other, (k, C, C) each
        self._last: Wave | None = None  # spectra of the frames before, (C, _LAGS, bins)
        self._alike: Numbers | float = 0.0  # products of the spectra by lag, (_LAGS + 1, C, C)
        self._spectrum: Numbers | float = 0.0  # (C, bins)

    def hear(self, sound: Wave) -> None:
        self._waiting.append(sound)
        self._waits += len(sound)
        size = self._factor * _FRAME
        if self._waits >= size:
            joined = np.concatenate(self._waiting)
            whole = len(joined) // size * size
            self._measure(joined[:whole])
            self._waiting, self._waits = [joined[whole:]], len(joined) - whole

    def _measure(self, sound: Wave) -> None:
        count = sound.shape[1]
        # As a product: numpy's mean along a short axis takes seventy times as long.
        low = sound.T.reshape(count, -1, self._factor) @ np.full(self._factor, 1 / self._factor, np.float32)
        low = low.reshape(count, -1, _FRAME)  # (C, k, 400)
        low -= low.mean(axis=2, keepdims=True)
        self._products.append(np.matmul(low.transpose(1, 0, 2), low.transpose(1, 2, 0)))
        spectra = np.abs(np.fft.rfft(low * _WINDOW))  # (C, k, bins)
        self._spectrum = self._spectrum + np.square(spectra).sum(axis=1, dtype=np.float64)
        before = np.zeros((count, _LAGS, spectra.shape[2]), np.float32) if self._last is None else self._last
        run = np.concatenate([before, spectra], axis=1)
        self._last = run[:, -_LAGS:]
        late = [run[:, _LAGS - lag : run.shape[1] - lag].reshape(count, -1) for lag in range(_LAGS + 1)]
        self._alike = self._alike + np.array([late[0] @ other.T for other in late], np.float64)
        self._frames += low.shape[1]
        if self._frames > _FRAMES_AT_MOST:
            products = np.concatenate(self._products)
            even = len(products) // 2 * 2
            self._products = [(products[:even:2] + products[1:even:2]) * np.float32(0.5), products[even:]]
            self._frames = even // 2 + len(products) - even

    def judge(self) -> tuple[Wave, float]:
        """Return the weight of each channel, shape (C,), and the mean power of the loudest; call it once."""
        if self._waits:
            joined = np.concatenate(self._waiting)
            self._measure(np.pad(joined, ((0, -len(joined) % (self._factor * _FRAME)), (0, 0))))
        spectrum = np.asarray(self._spectrum)
        voiced = spectrum[:, _RUMBLE_BINS:].sum(axis=1) > spectrum.sum(axis=1) * _RUMBLE
        voiced |= not voiced.any()
        mean = np.full(len(voiced), 1 / len(voiced))
        products = np.concatenate(self._products).astype(np.float64) * np.outer(voiced, voiced)  # (T, C, C)
        own = np.diagonal(products, axis1=1, axis2=2)
        active = own.max(axis=1) > np.percentile(own.max(axis=1), 95.0) * _ACTIVE
        if not active.any():
            return mean.astype(np.float32), 0.0
        # A copy that comes later is not less loud: what is alone is heard with some patience.
        patient = np.pad(own, ((_LAGS, _LAGS), (0, 0)))
        patient = np.lib.stride_tricks.sliding_window_view(patient, 2 * _LAGS + 1, axis=0).max(axis=2)[active]
        products, loudest = products[active], own.max(axis=1)[active]

        def sum_loss_db(weights: Numbers) -> float:
            power = np.einsum("i,tij,j->t", weights, products, weights, optimize=True)
            return _loss_db(power, loudest)

        best, least = mean, sum_loss_db(mean)
        if least <= _FAITHFUL_DB:
            return best.astype(np.float32), float(loudest.mean())
        heard = (own[active] > loudest[:, None] * _HEARD).mean(axis=0) >= _HEARD_SHARE
        others = [(_SUM_DB + sum_loss_db(weights), weights) for weights in _sums(products.sum(axis=0), heard)]
        for channel in _alone(np.asarray(self._alike), heard):
            loss = _ALONE_DB + _loss_db(patient[:, channel], patient.max(axis=1))
            others.append((loss, np.eye(len(heard))[channel]))
        for loss, weights in others:
            if loss < least - _EVEN_DB:
                best, least = weights, loss
        return best.astype(np.float32), float(loudest.mean())


def _loss_db(power: Numbers, loudest: Numbers) -> float:
    return float(np.abs(10 * np.log10(np.maximum(power / loudest, _FLOOR))).mean())


def _sums(total: Numbers, heard: NDArray[np.bool_]) -> Iterator[Numbers]:
    """Yield the sums of all channels that are heard, as they are and in phase with the loudest."""
    own = np.diagonal(total)
    loudest = np.argmax(own)
    in_phase = np.where(total[loudest] < -_INVERTED * np.sqrt(own * own[loudest]), -1.0, 1.0)
    for signs in (np.ones(len(heard)), in_phase):
        for parts in range(1, int(heard.sum()) + 1):
            yield heard * signs / parts


def _alone(alike: Numbers, heard: NDArray[np.bool_]) -> list[int]:
    """Return the channels that all others that are heard are copies of."""
    size = np.sqrt(np.maximum(np.diagonal(alike[0]), np.finfo(np.float32).tiny))
    cosine = np.maximum(alike, alike.transpose(0, 2, 1)).max(axis=0) / np.outer(size, size)
    alone = heard & (cosine[:, heard] >= _ALIKE).all(axis=1)
    return [int(channel) for channel in np.flatnonzero(alone)]
