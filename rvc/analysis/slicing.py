"""Where a recording is cut: slices of 2 to 8 seconds, at pauses, and nothing of the speech is lost.

Pauses are shortened to a breath first, so the speech becomes one strip of pieces. Along it there are points
to cut: each pause, and the quietest moment of every 300 ms between. Each has a cost, next to nothing in a
long pause and high amid a word; dynamic programming finds the cheapest slices of allowed lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

PADDING_FRAMES = 12  # kept before and after speech: a detector is late for a soft consonant
LONGEST_PAUSE_FRAMES = 50
STEP_FRAMES = 30

_PAUSE_COST = 0.3
_WORD_COST = 4.0
_JOIN_COST = 1.5
_SLICE_COST = 1.0
_LEAST_RANGE_DB = 20.0

Cut = tuple[tuple[int, int], ...]  # a slice: stretches of the recording, frames from..to, to be joined


@dataclass(frozen=True)
class _CutPoint:
    """A place to cut: where on the strip, what it costs, and whether something was left out there."""

    at: int
    cost: float
    gap: bool


def runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where a mask, shape (T,), is true: from..to of each stretch, shape (n, 2)."""
    return np.flatnonzero(np.diff(np.pad(mask, 1))).reshape(-1, 2)


def cut_speech(
    speech: NDArray[np.bool_], level_db: NDArray[np.float64], *, shortest: int, longest: int
) -> list[Cut]:
    """Cut a recording to slices in order, which together hold every frame of speech, shape (T,), once.

    `longest` is at least twice `shortest`. With less speech than `shortest` there is one shorter slice.
    """
    pieces = _pieces(speech)
    if not pieces:
        return []
    frames = np.concatenate([np.arange(start, stop) for start, stop in pieces])
    points = _cut_points(pieces, speech[frames], level_db[frames])
    chosen = _cheapest(points, shortest, longest)
    return [_stretches(frames[start:stop]) for start, stop in pairwise(chosen)]


def _pieces(speech: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """List speech with some room around it; what is closer together than a long pause is one piece."""
    pieces: list[tuple[int, int]] = []
    for start, stop in runs(speech).tolist():
        begin, end = max(start - PADDING_FRAMES, 0), min(stop + PADDING_FRAMES, speech.size)
        if pieces and begin - pieces[-1][1] <= LONGEST_PAUSE_FRAMES - 2 * PADDING_FRAMES:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((begin, end))
    return pieces


def _cut_points(
    pieces: list[tuple[int, int]], speech: NDArray[np.bool_], level_db: NDArray[np.float64]
) -> list[_CutPoint]:
    """List all points to cut along the strip, its two ends included."""
    seams = np.cumsum([0] + [stop - start for start, stop in pieces])
    costs = _costs(speech, level_db)
    points = [_CutPoint(0, 0.0, gap=True)]
    for start, stop in zip(seams[:-1].tolist(), seams[1:].tolist(), strict=True):
        for block in range(start + STEP_FRAMES // 2, stop - STEP_FRAMES // 2, STEP_FRAMES):
            part = costs[block : min(block + STEP_FRAMES, stop - STEP_FRAMES // 2)]
            best = int(np.argmin(part))
            points.append(_CutPoint(block + best, float(part[best]), gap=False))
        points.append(_CutPoint(stop, 0.0, gap=True))
    return points


def _costs(speech: NDArray[np.bool_], level_db: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say what a cut at each frame of the strip costs: little in a pause, in speech by its loudness."""
    smooth = np.convolve(np.pad(level_db, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    low, high = np.percentile(smooth, [1, 95])
    loudness = np.clip(1.0 - (high - smooth) / max(high - low, _LEAST_RANGE_DB), 0.0, 1.0)
    cost = _WORD_COST * (0.25 + loudness)
    for start, stop in runs(~speech):
        # In the middle of a pause, and the longer the better.
        depth = np.minimum(np.arange(stop - start), np.arange(stop - start)[::-1])
        cost[start:stop] = _PAUSE_COST + loudness[start:stop] + 2.0 / (1.0 + depth)
    return cost


def _cheapest(points: list[_CutPoint], shortest: int, longest: int) -> list[int]:
    """Choose the cuts by dynamic programming; with too little for one slice, only the two ends."""
    at = np.array([point.at for point in points])
    total = int(at[-1])
    if total <= longest and (total < 2 * shortest or not any(point.gap for point in points[1:-1])):
        return [0, total]
    cost = np.full(at.size, np.inf)
    cost[0] = 0.0
    came_from = np.zeros(at.size, dtype=np.int64)
    seams_before = np.cumsum([point.gap for point in points])
    for number in range(1, at.size):
        first = int(np.searchsorted(at, at[number] - longest))
        last = int(np.searchsorted(at, at[number] - shortest, side="right"))
        if first >= last:
            continue
        joined = seams_before[number - 1] - seams_before[first:last]
        options = cost[first:last] + _JOIN_COST * joined
        best = int(np.argmin(options))
        cost[number] = options[best] + points[number].cost + _SLICE_COST
        came_from[number] = first + best
    if not np.isfinite(cost[-1]):
        return [0, total]
    chosen = [at.size - 1]
    while chosen[-1] > 0:
        chosen.append(int(came_from[chosen[-1]]))
    return [int(at[number]) for number in reversed(chosen)]


def _stretches(frames: NDArray[np.int64]) -> Cut:
    breaks = np.flatnonzero(np.diff(frames) > 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(frames, breaks))
