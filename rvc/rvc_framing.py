"""What RVC hears of a recording, and where it may be cut.

Shapes:  N = samples at 16 kHz, T = frames of 10 ms.
Source:  RVC's own: a peak of at most 0.95, a zero-phase high-pass against rumble, the ends mirrored as
         context, and cuts at the quietest place near every 38th second, because its transformers attend to
         all of a piece.
Lossless: RVC's own pieces end a frame or two early, since its content encoder gives fewer frames than
         there are; here each piece is heard a little further. `lossless=False` keeps RVC's ends, for
         results that must equal those of other programs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, filtfilt

from rvc.engine import Piece, Source
from rvc.level import HOP_16K, RATE_16K_HZ

Wave = NDArray[np.float32]

CEILING = 0.95
HIGH_PASS_HZ, HIGH_PASS_ORDER = 48.0, 5
_EDGE_SAMPLES = 18  # scipy's own choice for this order
_BLOCK_SAMPLES, _SETTLED_SAMPLES = 60 * RATE_16K_HZ, 2 * RATE_16K_HZ
"""The filter forgets to a hundredth in 50 ms; after 2 s nothing is left that a double can hold."""

ENCODER_WINDOW, ENCODER_HOP = 400, 320


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a recording is cut.

    Attributes:
        pad_s: Seconds of context at either end of each piece; at the recording's ends they are mirrored.
        center_s: A cut is looked for around each multiple of it.
        query_s: How far to either side.
        max_s: A recording up to this length is not cut.
        lossless: Whether no frame is lost.
    """

    pad_s: float = 1.0
    center_s: float = 38.0
    query_s: float = 6.0
    max_s: float = 41.0
    lossless: bool = True

    @property
    def pad_frames(self) -> int:
        """Context in frames."""
        return round(100 * self.pad_s)

    def scaled_to(self, center_s: float) -> Framing:
        """Cut more or less often, in the same proportions."""
        if center_s == self.center_s:
            return self
        share = center_s / self.center_s
        return Framing(
            pad_s=self.pad_s,
            center_s=center_s,
            query_s=self.query_s * share,
            max_s=self.max_s * share,
            lossless=self.lossless,
        )

    def pieces(self, source: Source) -> list[Piece]:
        """Cut a recording that `hear` has padded by `pad_frames`."""
        pad = self.pad_frames
        own = source.wav16k[pad * HOP_16K : source.wav16k.size - pad * HOP_16K]
        cuts = [cut // HOP_16K for cut in cut_points(own, self)]
        if not self.lossless:
            return self._short_pieces(source, cuts)
        borders = [pad, *(pad + cut for cut in cuts), source.frames - pad]
        return [
            Piece(start=start, stop=stop, first=start - pad, last=stop + pad)
            for start, stop in itertools.pairwise(borders)
        ]

    def _short_pieces(self, source: Source, cuts: list[int]) -> list[Piece]:
        """Cut as RVC does, where content ends a little before the piece."""
        pad, size = self.pad_frames, source.wav16k.size
        pieces = []
        for first, cut in zip([0, *cuts], [*cuts, None], strict=True):
            end = size if cut is None else (cut + 2 * pad + 1) * HOP_16K
            samples = min(end, size) - first * HOP_16K
            encoded = 2 * max((samples - ENCODER_WINDOW) // ENCODER_HOP + 1, 0)
            last = first + min(samples // HOP_16K, encoded)
            pieces.append(
                Piece(start=first + pad, stop=last - pad, first=first, last=last, heard_samples=samples)
            )
        return pieces


def heard(wav16k: Wave, pad_frames: int) -> Wave:
    """Bring a whole recording into the form that RVC hears.

    Args:
        wav16k: As it was recorded, shape (N,), 16 kHz.
        pad_frames: How many frames are mirrored at either end.

    Returns:
        Shape (N + 320 * pad_frames,).
    """
    padding = pad_frames * HOP_16K
    filtered = high_passed(wav16k)
    if not filtered.size:
        return np.zeros(2 * padding, np.float32)
    return np.pad(filtered, padding, mode="reflect")


def high_passed(wav16k: Wave) -> Wave:
    """Take out what lies below 48 Hz, without delay, and what exceeds a peak of 0.95 by a gain for all.

    In blocks, because the filter needs double precision, with an overlap after which a block gives what the
    whole gives.
    """
    peak = float(np.abs(wav16k).max(initial=0.0))
    gain = min(1.0, CEILING / peak) if peak > 0.0 else 1.0
    b, a = butter(HIGH_PASS_ORDER, HIGH_PASS_HZ, btype="high", fs=RATE_16K_HZ)
    result = np.empty(wav16k.size, np.float32)
    for start in range(0, wav16k.size, _BLOCK_SAMPLES):
        stop = min(start + _BLOCK_SAMPLES, wav16k.size)
        first = max(start - _SETTLED_SAMPLES, 0)
        part = gain * wav16k[first : stop + _SETTLED_SAMPLES].astype(np.float64)
        edge = min(_EDGE_SAMPLES, part.size - 1)
        result[start:stop] = filtfilt(b, a, part, padlen=edge)[start - first : stop - first]
    return result


def cut_points(wav16k: Wave, framing: Framing) -> list[int]:
    """Find where a recording is quiet for 10 ms.

    Args:
        wav16k: The recording without padding, shape (N,), 16 kHz.
        framing: Where to look.

    Returns:
        Samples, ascending; none for a recording that need not be cut.
    """
    half = HOP_16K // 2
    center, query = (round(RATE_16K_HZ * seconds) for seconds in (framing.center_s, framing.query_s))
    if wav16k.size + 2 * half <= round(RATE_16K_HZ * framing.max_s):
        return []
    padded = np.pad(wav16k, half, mode="reflect")
    cuts = []
    for place in range(center, wav16k.size, center):
        around = np.abs(padded[place - query : place + query + HOP_16K - 1].astype(np.float64))
        sums = np.concatenate(([0.0], np.cumsum(around)))
        loudness = sums[HOP_16K:] - sums[:-HOP_16K]
        cuts.append(place - query + int(loudness[: wav16k.size - place + query].argmin()))
    return cuts
