"""F0 as RVC's voices know it: 255 bins, spaced as the ear hears.

Shapes:  T = frames, 100 per second.
Units:   F0 in Hz, 0 where unvoiced.
Source:  RVC's law, bit for bit, because every published voice was trained on it: mel scale, 50..1100 Hz, and
         bin 1 for unvoiced frames as for low ones. Unvoiced frames stay 0 in Hz (newer RVC programs fill
         them; the voices that people share were trained without).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvc.errors import ConfigError

LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0
BINS = 255


def coarse_bins(f0_hz: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Quantise a contour to the bins of the pitch embedding.

    Args:
        f0_hz: Contour, shape (T,), in Hz, 0 where unvoiced. Frames outside 50..1100 Hz get the nearest bin.

    Returns:
        Bin numbers, shape (T,), each in 1..255.

    Raises:
        ConfigError: A frame is negative or not finite.
    """
    if not np.isfinite(f0_hz).all() or (f0_hz < 0).any():
        raise ConfigError("An F0 contour holds only positive numbers, and 0 where it is unvoiced.")
    low, high = _mel(np.array([LOWEST_HZ, HIGHEST_HZ]))
    bins = (_mel(f0_hz.astype(np.float64)) - low) * (BINS - 1) / (high - low) + 1
    return np.rint(np.clip(bins, 1, BINS)).astype(np.int64)


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(hz / 700.0)
