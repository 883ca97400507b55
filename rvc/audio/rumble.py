"""What lies below 40 Hz taken out of a recording: a microphone's offset, drift, wind and footsteps.

None of it is heard, yet it counts as loudness and fills the pauses. The lowest voice begins above it.
Steeper than the recursive filter of any corner and rate with which slices are made, and three times as fast
(`rvc.analysis.quality.high_passed`).
"""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, oaconvolve

from rvc.audio.level import RATE_16K_HZ
from rvc.audio.resampling import StreamResampler

SLOW_RATE_HZ = 500  # rumble is found at this rate, where that is little work
RATIO = RATE_16K_HZ // SLOW_RATE_HZ
CUTOFF_HZ, TAPS, KAISER_BETA = 46.0, 151, 5.65  # what is below 40 Hz goes by 60 dB, what is above 52 stays
EDGE_SAMPLES = RATE_16K_HZ  # mirrored at either end, so that an offset begins and ends nowhere
BLOCK_SAMPLES = 10 * RATE_16K_HZ


def remove_rumble(wav16k: NDArray[np.float32]) -> None:
    """Take out what lies below 40 Hz, in place and without delay, (N,)."""
    edge = min(EDGE_SAMPLES, wav16k.size) // RATIO * RATIO
    mirrored = (wav16k[:edge][::-1].copy(), wav16k[wav16k.size - edge :][::-1].copy())
    parts = (wav16k[at : at + BLOCK_SAMPLES] for at in range(0, wav16k.size, BLOCK_SAMPLES))
    down = StreamResampler(RATE_16K_HZ, SLOW_RATE_HZ)
    slow = [down.push(part) for part in chain(mirrored[:1], parts, mirrored[1:])]
    taps = firwin(TAPS, CUTOFF_HZ, window=("kaiser", KAISER_BETA), fs=SLOW_RATE_HZ).astype(np.float32)
    rumble = oaconvolve(np.concatenate([*slow, down.finish()]), taps, mode="same")
    up = StreamResampler(SLOW_RATE_HZ, RATE_16K_HZ)
    place = -edge
    for at in range(0, rumble.size + 1, BLOCK_SAMPLES // RATIO):
        part = up.push(rumble[at : at + BLOCK_SAMPLES // RATIO])
        if at + BLOCK_SAMPLES // RATIO > rumble.size:
            part = np.concatenate([part, up.finish()])
        first, last = max(place, 0), min(place + part.size, wav16k.size)
        wav16k[first : max(first, last)] -= part[first - place : max(first, last) - place]
        place += part.size
