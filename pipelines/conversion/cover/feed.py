"""Sound that comes in pieces of any length, taken in pieces of another; silence behind its end."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]


class Feed:
    """Pieces of the shape (n,) or (n, C); all of one shape but for their length."""

    def __init__(self, pieces: Iterable[Wave]) -> None:
        self._pieces = iter(pieces)
        self._waiting: list[Wave] = []
        self._length = 0

    def take(self, count: int) -> Wave:
        """Return the next samples, so many of them."""
        while self._length < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._waiting.append(piece)
            self._length += len(piece)
        joined = np.concatenate(self._waiting) if self._waiting else np.empty(0, np.float32)
        taken, rest = joined[:count], joined[count:]
        self._waiting, self._length = [rest], len(rest)
        return np.pad(taken, ((0, count - len(taken)), *[(0, 0)] * (taken.ndim - 1)))

    def skip(self, count: int) -> None:
        """Leave out so many samples."""
        while count > 0:
            count -= len(self.take(min(count, 1 << 20)))
