"""Is there a second speaker among these recordings? Answered from the signal alone.

How:     each window of speech becomes a short vector that says who speaks rather than what is said: how the
         cepstra in each of 64 regions of sound (a Gaussian mixture) lie off the average of the whole set,
         and the F0, projected to where speakers differ most for what one speaker varies (linear discriminant
         analysis). In that space a speaker's windows scatter with variance 1 around her centre, and
         centres of speakers with a known variance: the two-covariance model of Brummer and de Villiers ("The
         speaker partitioning problem", Odyssey 2010; i-vectors: Dehak et al. 2011). The windows are split in
         two as that model likes best, and the two heaps are compared: how much likelier are two speakers
         than one, who may have moved away from the microphone?
Shapes:  F = frames (100 per second), n = windows, K = regions, D = dimensions of the projected space.
Constants: assets/builtin/speaker_stats.npz, made by rvc/pretrain/speaker_stats.py, which says from what.
Not here: the windows (speaker_windows.py) and what is told to the person (pipelines/recordings/report.py).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from rvc.analysis.speaker_windows import (
    MEL_BANDS,
    MEL_RANGE_HZ,
    RATE_HZ,
    Floats,
    Labels,
    SpeakerWindows,
    hiss,
)

STATISTICS = Path(__file__).resolve().parents[2] / "assets" / "builtin" / "speaker_stats.npz"

CEPSTRA = 19
RELEVANCE = 12.0
"""Frames in a region of sound that weigh as much as the average speaker."""

SESSION_VARIANCE = 0.3
"""How far one speaker's centre may move between two heaps: another day, distance or mood."""

MIN_WINDOWS = 8
MIN_HEAP = 2
"""Windows that a second speaker must have: some five seconds of speech."""

THRESHOLD = 10.0
"""Score from which a second speaker is reported: between what was measured of one voice (up to 8) and of sets
of which a fifth is another's (from 12 on, mostly far above). `tests/bench/dataset_report.py` measures it."""

_ROUNDS = 30
_CALM_TO_MEAN = np.log(2.0)
"""The mean of a noise lies some 3 dB above its calmest twentieth (in a mel band, several bins wide)."""

_NOISIER = 1.5
"""6.5 dB, as a natural logarithm."""

_AUDIBLE_NOISE = -3.0 * np.log(10.0)
"""Noise 30 dB below the speech hides hardly anything of it."""

_FEW = 0.08
_ALIKE_BANDWIDTHS = 0.8

_MOST_NOISE = -np.log(10.0)
"""All recordings are made as noisy as the noisiest, but no noisier than 10 dB below the speech."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakerFinding:
    """What was found.

    Attributes:
        checked: Whether there was enough speech to tell.
        heard: Whether a second speaker was heard.
        score: Logarithm of how much likelier two speakers are than one.
        share: Share of the windows that are the second speaker's, at most 0.5; 0.0 if none was heard.
        second: For each recording, which of its windows are the second speaker's, shape (n,) each.
    """

    checked: bool
    heard: bool
    score: float
    share: float
    second: list[NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakerStatistics:
    """The constants of the detector.

    Attributes:
        centre: Mean log-mel spectrum that every set of recordings is shifted to, shape (40,).
        weights: Of the mixture, shape (K,).
        means: Of the mixture, shape (K, 38): 19 cepstra and their slopes.
        variances: Of the mixture, shape (K, 38).
        projection: From K * 38 offsets and 3 numbers on F0 to D dimensions, shape (K * 38 + 3, D).
        between: Variance of speakers in each dimension where one speaker's windows have 1, shape (D,).
    """

    centre: Floats
    weights: Floats
    means: Floats
    variances: Floats
    projection: Floats
    between: Floats


@cache
def load_statistics(path: Path = STATISTICS) -> SpeakerStatistics:
    """Read the detector's constants."""
    with np.load(path, allow_pickle=False) as file:
        return SpeakerStatistics(**{name: file[name].astype(np.float32) for name in file.files})


def comparable_bandwidth_hz(bandwidths_hz: Sequence[float]) -> float:
    """Say up to where recordings can be compared.

    Args:
        bandwidths_hz: Where each of them ends.

    Returns:
        The narrowest; 8 kHz if they differ little, for then there is nothing to make up for.
    """
    narrowest = min(bandwidths_hz, default=RATE_HZ / 2)
    widest = min(max(bandwidths_hz, default=RATE_HZ / 2), RATE_HZ / 2)
    return narrowest if narrowest < _ALIKE_BANDWIDTHS * widest else RATE_HZ / 2


def find_second_speaker(
    recordings: Sequence[SpeakerWindows],
    *,
    bandwidth_hz: float = RATE_HZ / 2,
    statistics: SpeakerStatistics | None = None,
) -> SpeakerFinding:
    """Tell whether more than one person speaks in these recordings; see `comparing_speakers`."""
    steps = comparing_speakers(recordings, bandwidth_hz=bandwidth_hz, statistics=statistics)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            finding: SpeakerFinding = stop.value
            return finding


def comparing_speakers(
    recordings: Sequence[SpeakerWindows],
    *,
    bandwidth_hz: float = RATE_HZ / 2,
    statistics: SpeakerStatistics | None = None,
) -> Generator[float, None, SpeakerFinding]:
    """Tell in steps of well under a second whether more than one person speaks in these recordings.

    Args:
        recordings: The windows of each recording, in any order.
        bandwidth_hz: The narrowest of the recordings' bandwidths: above it they cannot be compared.
        statistics: Constants; by default those that are shipped.

    Yields:
        The share that is done, 0..1.

    Returns:
        The finding. The second speaker is the one with less speech.
    """
    counts = [len(windows) for windows in recordings]
    nobody = [np.zeros(count, dtype=np.bool_) for count in counts]
    if sum(counts) < MIN_WINDOWS:
        return SpeakerFinding(checked=False, heard=False, score=0.0, share=0.0, second=nobody)
    statistics = statistics or load_statistics()
    vectors = yield from _vectors(recordings, statistics, bandwidth_hz)
    labels = split_in_two(vectors, statistics.between)
    score = two_speaker_score(vectors, labels, statistics.between)
    heap = int(labels.sum())
    heard = heap >= MIN_HEAP and score > THRESHOLD
    second = np.split(labels.astype(np.bool_), np.cumsum(counts)[:-1]) if heard else nobody
    return SpeakerFinding(
        checked=True, heard=heard, score=score, share=heap / len(vectors) if heard else 0.0, second=second
    )


def _vectors(
    recordings: Sequence[SpeakerWindows], statistics: SpeakerStatistics, bandwidth_hz: float
) -> Generator[float, None, NDArray[np.float64]]:
    """Say of each window how its speaker differs from the average of the set, shape (n, D)."""
    offsets, pitch = yield from describing_windows(recordings, statistics, bandwidth_hz)
    vectors = np.hstack([offsets, pitch]) @ statistics.projection.astype(np.float64)
    return vectors - vectors.mean(axis=0)


def describing_windows(
    recordings: Sequence[SpeakerWindows], statistics: SpeakerStatistics, bandwidth_hz: float = RATE_HZ / 2
) -> Generator[float, None, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Describe each window before the projection.

    Args:
        recordings: The windows of each recording.
        statistics: The constants (centre and mixture).
        bandwidth_hz: Mel bands above it are made alike.

    Yields:
        The share that is done, 0..1.

    Returns:
        How the cepstra lie off the mixture, shape (n, K * 38); logarithms of the median, 10th and 90th
        percentile of F0 less their mean over the set, shape (n, 3).
    """
    noise = _missing_noise(recordings)
    masked = [
        np.logaddexp(windows.log_mel, added + hiss(len(windows.log_mel), seed=number), dtype=np.float32)
        for number, (windows, added) in enumerate(zip(recordings, noise, strict=True))
    ]
    shift = (statistics.centre - np.concatenate(masked).mean(axis=0)).astype(np.float32)
    bands = _bands_below(bandwidth_hz)
    offsets: list[Floats] = []
    pitch: list[NDArray[np.float64]] = []
    total = sum(len(windows) for windows in recordings)
    for windows, frames in zip(recordings, masked, strict=True):
        for start, end in pairwise((0, *windows.ends)):
            shifted = frames[start:end] + shift
            # What is missing goes on as the last bands end: a step would be a voice that nobody has.
            last = (shifted - statistics.centre)[:, bands - 3 : bands].mean(axis=1, keepdims=True)
            shifted[:, bands:] = statistics.centre[bands:] + last
            offsets.append(_offsets(cepstra(shifted), statistics))
            pitch.append(_pitch(windows.f0_hz[start:end]))
            if len(pitch) % 20 == 0:
                yield len(pitch) / total
    tones = np.array(pitch)
    known = ~np.isnan(tones[:, 0])
    tones -= tones[known].mean(axis=0) if known.any() else 0.0
    tones[~known] = 0.0
    return np.array(offsets, dtype=np.float64), tones


def _missing_noise(recordings: Sequence[SpeakerWindows]) -> list[Floats]:
    """Say how much noise each recording lacks to be as noisy as the noisiest, shape (40,), logarithms.

    Otherwise the quiet room of one recording would be heard as another speaker than the fan in the other.
    """
    spoken = [np.exp(windows.log_mel).sum(axis=1) for windows in recordings]
    levels = [np.log(power.mean()) if power.size else -np.inf for power in spoken]
    floors = [
        windows.floor - level + _CALM_TO_MEAN if len(windows) else np.full(MEL_BANDS, -np.inf)
        for windows, level in zip(recordings, levels, strict=True)
    ]
    heard = [number for number, windows in enumerate(recordings) if len(windows)]
    known = np.array([floors[number] for number in heard])
    total = np.logaddexp.reduce(known, axis=1)
    usual = np.percentile(known, 25, axis=0)
    # A short recording without a pause seems noisier than it is: only what is plainly noisier counts, and
    # not the noisiest few.
    loudest_first = np.argsort(-total)
    passed = np.cumsum([len(recordings[heard[number]]) for number in loudest_first])
    counted = loudest_first[passed > _FEW * passed[-1]]
    noisier = [
        known[number]
        for number in counted
        if total[number] > _AUDIBLE_NOISE and (known[number] - usual).mean() > _NOISIER
    ]
    if not noisier:
        return [np.full(MEL_BANDS, -60.0, dtype=np.float32) for _ in recordings]
    common = np.maximum(np.max(noisier, axis=0), usual)
    common -= max(0.0, float(np.logaddexp.reduce(common)) - _MOST_NOISE)
    missing = []
    for floor, level in zip(floors, levels, strict=True):
        gap = np.maximum(np.exp(common) - np.exp(floor), 1e-30)
        missing.append((np.log(gap) + level).astype(np.float32))
    return missing


def _bands_below(bandwidth_hz: float) -> int:
    """How many of the mel bands lie below the end of the narrowest recording."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in MEL_RANGE_HZ)
    end = 2595 * np.log10(1 + max(bandwidth_hz - 200.0, 2_000.0) / 700)
    edge = int(
        (end - low) / (high - low) * (MEL_BANDS + 1)
    )  # a band reaches from an edge to the next but one
    return MEL_BANDS if edge > MEL_BANDS else edge - 1


def cepstra(log_mel: Floats) -> Floats:
    """Turn log-mel frames, shape (F, 40), into 19 cepstra without loudness and their slopes, (F, 38)."""
    static = dct(log_mel, axis=1, norm="ortho")[:, 1 : CEPSTRA + 1]
    padded = np.pad(static, ((2, 2), (0, 0)), mode="edge")
    count = len(static)
    slopes = sum(k * (padded[2 + k : 2 + k + count] - padded[2 - k : 2 - k + count]) for k in (1, 2)) / 5.0
    return np.hstack([static, slopes]).astype(np.float32)


def responsibilities(frames: Floats, statistics: SpeakerStatistics) -> Floats:
    """Share each frame, shape (F, 38), among the regions of the mixture; shape (F, K), rows sum to 1."""
    precision = 1 / statistics.variances
    constant = np.log(statistics.weights) - 0.5 * (
        np.log(statistics.variances).sum(axis=1) + (np.square(statistics.means) * precision).sum(axis=1)
    )
    logs = frames @ (statistics.means * precision).T - 0.5 * np.square(frames) @ precision.T + constant
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _offsets(frames: Floats, statistics: SpeakerStatistics) -> Floats:
    shares = responsibilities(frames, statistics)
    counts = shares.sum(axis=0)[:, None]
    moved = (shares.T @ frames - counts * statistics.means) / (counts + RELEVANCE)
    scaled: Floats = moved * np.sqrt(statistics.weights)[:, None] / np.sqrt(statistics.variances)
    return scaled.ravel()


def _pitch(f0_hz: Floats) -> NDArray[np.float64]:
    voiced = f0_hz[f0_hz > 0]
    if voiced.size < 10:
        return np.full(3, np.nan)
    return np.log(np.percentile(voiced, [50.0, 10.0, 90.0]))


def split_in_two(vectors: NDArray[np.float64], between: Floats) -> Labels:
    """Split windows in two heaps as if two speakers had spoken them.

    Args:
        vectors: From `window_vectors`, shape (n, D).
        between: Variance of speakers in each dimension.

    Returns:
        1 for the smaller heap, 0 for the other, shape (n,).
    """
    best = np.zeros(len(vectors), dtype=np.int64)
    likelihood = -np.inf
    for start in _first_guesses(vectors):
        labels = _improve(vectors, start, between)
        total = sum(_log_likelihood(vectors[labels == heap], between) for heap in (0, 1))
        if total > likelihood:
            best, likelihood = labels, total
    return best if 2 * best.sum() <= best.size else 1 - best


def _first_guesses(vectors: NDArray[np.float64]) -> list[Labels]:
    """Where to start: cuts across the directions of most scatter, and around pairs of windows."""
    guesses = []
    axes = np.linalg.svd(vectors, full_matrices=False)[0][:, :3]
    for along in axes.T:
        guesses += [
            (along > np.quantile(along, share)).astype(np.int64) for share in (0.1, 0.2, 0.5, 0.8, 0.9)
        ]
    random = np.random.default_rng(0)
    for _ in range(8):
        one, other = random.choice(len(vectors), 2, replace=False)
        nearer = np.square(vectors - vectors[one]).sum(axis=1) < np.square(vectors - vectors[other]).sum(
            axis=1
        )
        guesses.append(nearer.astype(np.int64))
    return guesses


def _improve(vectors: NDArray[np.float64], labels: Labels, between: Floats) -> Labels:
    """Give each window to the heap that is likelier, until none moves."""
    for _ in range(_ROUNDS):
        costs = []
        for heap in (0, 1):
            own = vectors[labels == heap]
            if not len(own):
                return labels
            centre = between * own.sum(axis=0) / (1.0 + len(own) * between)
            costs.append(0.5 * np.square(vectors - centre).sum(axis=1) - np.log(len(own)))
        moved = (costs[1] < costs[0]).astype(np.int64)
        if np.array_equal(moved, labels):
            break
        labels = moved
    return labels


def _log_likelihood(vectors: NDArray[np.float64], between: Floats) -> float:
    """Of windows by one speaker, whoever she is; constants that all splits share are left out."""
    count = len(vectors)
    total = between * np.square(vectors.sum(axis=0)) / (1.0 + count * between)
    return float(-0.5 * (np.square(vectors).sum() - total.sum()) - 0.5 * np.log1p(count * between).sum())


def two_speaker_score(vectors: NDArray[np.float64], labels: Labels, between: Floats) -> float:
    """Compare the two heaps: how much likelier are two speakers than one who moved?

    Args:
        vectors: Shape (n, D).
        labels: From `split_in_two`, shape (n,).
        between: Variance of speakers in each dimension.

    Returns:
        Natural logarithm of the ratio of likelihoods.
    """
    heaps = [vectors[labels == heap] for heap in (0, 1)]
    if min(len(heap) for heap in heaps) < 1:
        return -np.inf
    apart = np.square(heaps[0].mean(axis=0) - heaps[1].mean(axis=0))
    error = sum(1.0 / len(heap) for heap in heaps)
    two, one = 2.0 * between + error, SESSION_VARIANCE + error
    return float(0.5 * np.sum(apart / one - apart / two + np.log(one) - np.log(two)))
