"""Is there a second speaker among these recordings? Answered from the signal alone.

Each window of speech (two and a half seconds) becomes a short vector that says who speaks rather than what:
how the cepstra in each of 64 regions of sound (a Gaussian mixture) lie off the average of the set, and the
F0, by linear discriminant analysis. There a speaker's windows scatter with variance 1 around her centre, and
centres with a known variance: the two-covariance model of Brummer and de Villiers (Odyssey 2010). They are
split in two as that model likes best: how much likelier are two speakers than one who moved?

F = frames (100 a second, frame i centred at sample i * 160), M = 40 mel bands in natural logarithms of power,
n = windows, K = regions, D = projected dimensions. The constants are made by rvc/pretrain/speaker_stats.py.
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

from rvc.audio.level import HOP_16K, RATE_16K_HZ
from rvc.files import ROOT

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

STATISTICS = ROOT / "assets" / "builtin" / "speaker_stats.npz"

MEL_BANDS = 40
MEL_RANGE_HZ = (100.0, 7_600.0)
WINDOW_FRAMES = 250
MIN_WINDOW_FRAMES = 100
POOL_FRAMES = 200  # of short recordings, make a window together
_GATE_DB = 30.0
_FFT = 512
_SILENCE = 9.0 * np.log(10)  # frames 90 dB below the loudest were made by a program

CEPSTRA = 19
RELEVANCE = 12.0  # frames in a region of sound that weigh as much as the average speaker
SESSION_VARIANCE = 0.3  # how far one speaker's centre may move: another day, distance or mood
MIN_WINDOWS = 8
MIN_CLUSTER = 2  # windows that a second speaker must have: some five seconds of speech
# Score from which a second speaker is reported: between what was measured of one voice (up to 8) and of sets
# of which a fifth is another's (from 12 on, mostly far above). `tests/bench/dataset_report.py` measures it.
THRESHOLD = 10.0
_ROUNDS = 30
_CALM_TO_MEAN = np.log(2.0)  # the mean of a noise lies some 3 dB above its calmest twentieth in a mel band
_NOISIER = 1.5  # 6.5 dB, as a natural logarithm
_AUDIBLE_NOISE = -3.0 * np.log(10.0)  # noise 30 dB below the speech hides hardly anything of it
_FEW = 0.08
_ALIKE_BANDWIDTHS = 0.8
_MOST_NOISE = -np.log(10.0)  # all become as noisy as the noisiest, but no noisier than 10 dB below the speech


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakerWindows:
    """The speech of one recording, ready to be compared: frames of speech only."""

    log_mel: Floats  # shape (F, 40)
    f0_hz: Floats  # shape (F,), 0 where unvoiced
    ends: Labels  # where each window ends, shape (n,), rising, the last is F
    floor: Floats  # the mel bands where the recording is calmest, shape (40,)

    def __len__(self) -> int:
        return int(self.ends.size)


@cache
def _mel_filters() -> Floats:
    """Return triangles on the mel scale, shape (257, 40)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in MEL_RANGE_HZ)
    edges = 700 * (10 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(_FFT, 1 / RATE_16K_HZ)[:, None]
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def log_mel(wav16k: Floats) -> Floats:
    """Measure the power in mel bands, shape (N // 160 + 1, 40), of audio at 16 kHz."""
    window = np.hanning(402)[1:-1].astype(np.float32)
    padded = np.pad(wav16k, (200, 200))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP_16K]
    result = np.empty((len(frames), MEL_BANDS), dtype=np.float32)
    for start in range(0, len(frames), 2_000):
        power = np.square(np.abs(np.fft.rfft(frames[start : start + 2_000] * window, _FFT)))
        result[start : start + 2_000] = np.log(power.astype(np.float32) @ _mel_filters() + 1e-10)
    return result


def white_noise(frames: int, *, seed: int) -> Floats:
    """Make white noise as mel frames see it, shape (frames, 40), each band of mean power 1."""
    noise = np.random.default_rng(seed).standard_normal(max(frames - 1, 0) * HOP_16K, dtype=np.float32)
    return log_mel(noise)[:frames] - np.log(_mean_of_white_noise())


@cache
def _mean_of_white_noise() -> Floats:
    noise = np.random.default_rng(0).standard_normal(2_000 * HOP_16K, dtype=np.float32)
    return np.exp(log_mel(noise)[2:-2]).mean(axis=0)


def speaker_windows(
    log_mel: Floats, f0_hz: NDArray[np.float64], speech: NDArray[np.bool_], pieces: Sequence[tuple[int, int]]
) -> SpeakerWindows:
    """Cut the speech of a recording into windows; too little for one is kept as it is, without windows.

    All have T frames; `pieces` are frames from..to within which nobody else is expected to take the word.
    """
    loud = np.log(np.exp(log_mel[:, : MEL_BANDS * 13 // 20]).sum(axis=1))
    keep = speech & np.isfinite(loud)
    if keep.any():
        keep &= loud > np.percentile(loud[keep], 90) - _GATE_DB * np.log(10) / 10
    chosen: list[NDArray[np.int64]] = []
    for start, stop in pieces:
        frames = start + np.flatnonzero(keep[start:stop])
        count = max(1, round(frames.size / WINDOW_FRAMES))
        chosen += [part for part in np.array_split(frames, count) if part.size >= MIN_WINDOW_FRAMES]
    frames = np.concatenate(chosen) if chosen else np.flatnonzero(keep)
    ends = np.cumsum([part.size for part in chosen], dtype=np.int64)
    return SpeakerWindows(
        log_mel=log_mel[frames], f0_hz=f0_hz[frames].astype(np.float32), ends=ends, floor=noise_floor(log_mel)
    )


def noise_floor(log_mel: Floats) -> Floats:
    """Find the noise of a recording in each mel band: the calmest twentieth but for digital silence."""
    loudness = log_mel.max(axis=1, initial=-np.inf)
    made_by_room = loudness > max(float(loudness.max(initial=-np.inf)) - _SILENCE, -20.0)
    if not made_by_room.any():
        return np.full(MEL_BANDS, -23.0, dtype=np.float32)
    return np.percentile(log_mel[made_by_room], 5, axis=0).astype(np.float32)


def pooled(recordings: Sequence[SpeakerWindows]) -> tuple[list[SpeakerWindows], list[int]]:
    """Put recordings that are too short for a window together, in order, until they make one.

    Also returns, for each recording, which of the results it is in.
    """
    parts: list[list[SpeakerWindows]] = []
    places = []
    filling: int | None = None
    for windows in recordings:
        too_short = not len(windows)
        if not too_short or filling is None:
            parts.append([])
        place = filling if too_short and filling is not None else len(parts) - 1
        parts[place].append(windows)
        places.append(place)
        if too_short:
            filled = sum(len(part.log_mel) for part in parts[place]) >= POOL_FRAMES
            filling = None if filled else place
    return [_together(part) for part in parts], places


def _together(parts: Sequence[SpeakerWindows]) -> SpeakerWindows:
    if len(parts) == 1:
        return parts[0]
    log_mel = np.concatenate([part.log_mel for part in parts])
    weights = [max(len(part.log_mel), 1) for part in parts]
    return SpeakerWindows(
        log_mel=log_mel,
        f0_hz=np.concatenate([part.f0_hz for part in parts]),
        ends=np.array([len(log_mel)] if len(log_mel) >= MIN_WINDOW_FRAMES else [], dtype=np.int64),
        floor=np.average([part.floor for part in parts], axis=0, weights=weights).astype(np.float32),
    )


def thinned(windows: SpeakerWindows, count: int) -> SpeakerWindows:
    """Keep so many windows at most, spread evenly over the recording."""
    if len(windows) <= count:
        return windows
    begins = np.concatenate([[0], windows.ends[:-1]])
    kept = np.linspace(0, len(windows) - 1, count).round().astype(np.int64)
    frames = np.concatenate([np.arange(begins[i], windows.ends[i]) for i in kept])
    return SpeakerWindows(
        log_mel=windows.log_mel[frames],
        f0_hz=windows.f0_hz[frames],
        ends=np.cumsum(windows.ends[kept] - begins[kept]),
        floor=windows.floor,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakerFinding:
    """What was found; the second speaker is the one with less speech."""

    checked: bool  # whether there was enough speech to tell
    heard: bool
    score: float  # logarithm of how much likelier two speakers are than one
    share: float  # of the windows, the second speaker's, at most 0.5; 0.0 if none was heard
    second: list[NDArray[np.bool_]]  # for each recording, which of its windows are the second speaker's


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakerStatistics:
    """The constants of the detector."""

    centre: Floats  # mean log-mel spectrum that every set of recordings is shifted to, shape (40,)
    weights: Floats  # of the mixture, shape (K,)
    means: Floats  # of the mixture, shape (K, 38): 19 cepstra and their slopes
    variances: Floats  # of the mixture, shape (K, 38)
    projection: Floats  # of K * 38 offsets and 3 numbers on F0, shape (K * 38 + 3, D)
    between: Floats  # variance of speakers where one speaker's windows have 1, shape (D,)


@cache
def load_statistics(path: Path = STATISTICS) -> SpeakerStatistics:
    with np.load(path, allow_pickle=False) as file:
        return SpeakerStatistics(**{name: file[name].astype(np.float32) for name in file.files})


def comparable_bandwidth_hz(bandwidths_hz: Sequence[float]) -> float:
    """Return the narrowest bandwidth; 8 kHz if they differ little, for then there is nothing to make up."""
    narrowest = min(bandwidths_hz, default=RATE_16K_HZ / 2)
    widest = min(max(bandwidths_hz, default=RATE_16K_HZ / 2), RATE_16K_HZ / 2)
    return narrowest if narrowest < _ALIKE_BANDWIDTHS * widest else RATE_16K_HZ / 2


def comparing_speakers(
    recordings: Sequence[SpeakerWindows],
    *,
    bandwidth_hz: float = RATE_16K_HZ / 2,
    statistics: SpeakerStatistics | None = None,
) -> Generator[float, None, SpeakerFinding]:
    """Tell whether more than one person speaks in these recordings, compared up to `bandwidth_hz`."""
    counts = [len(windows) for windows in recordings]
    nobody = [np.zeros(count, dtype=np.bool_) for count in counts]
    if sum(counts) < MIN_WINDOWS:
        return SpeakerFinding(checked=False, heard=False, score=0.0, share=0.0, second=nobody)
    statistics = statistics or load_statistics()
    offsets, pitch = yield from describing_windows(recordings, statistics, bandwidth_hz)
    vectors = np.hstack([offsets, pitch]) @ statistics.projection.astype(np.float64)
    vectors -= vectors.mean(axis=0)
    labels = split_in_two(vectors, statistics.between)
    score = two_speaker_score(vectors, labels, statistics.between)
    cluster = int(labels.sum())
    heard = cluster >= MIN_CLUSTER and score > THRESHOLD
    second = np.split(labels.astype(np.bool_), np.cumsum(counts)[:-1]) if heard else nobody
    return SpeakerFinding(
        checked=True, heard=heard, score=score, share=cluster / len(vectors) if heard else 0.0, second=second
    )


def describing_windows(
    recordings: Sequence[SpeakerWindows], statistics: SpeakerStatistics, bandwidth_hz: float = RATE_16K_HZ / 2
) -> Generator[float, None, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Describe each window before the projection; mel bands above `bandwidth_hz` are made alike.

    Returns how the cepstra lie off the mixture, shape (n, K * 38), and the logarithms of the median, 10th and
    90th percentile of F0 less their mean over the set, shape (n, 3). Yields the share that is done.
    """
    noise = _missing_noise(recordings)
    masked = [
        np.logaddexp(w.log_mel, added + white_noise(len(w.log_mel), seed=number), dtype=np.float32)
        for number, (w, added) in enumerate(zip(recordings, noise, strict=True))
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
    """Say what each recording lacks to be as noisy as the noisiest: else its room would be a speaker."""
    levels = [np.log(np.exp(w.log_mel).sum(axis=1).mean()) if len(w) else -np.inf for w in recordings]
    floors = [w.floor - level + _CALM_TO_MEAN for w, level in zip(recordings, levels, strict=True)]
    known = np.array([floor for w, floor in zip(recordings, floors, strict=True) if len(w)])
    sizes = np.array([len(w) for w in recordings if len(w)])
    total = np.logaddexp.reduce(known, axis=1)
    usual = np.percentile(known, 25, axis=0)
    # A short recording without a pause seems noisier than it is: only what is plainly noisier counts, and
    # not the noisiest few.
    loudest_first = np.argsort(-total)
    passed = np.cumsum(sizes[loudest_first])
    counted = loudest_first[passed > _FEW * passed[-1]]
    counted = counted[total[counted] > _AUDIBLE_NOISE]
    noisier = [floor for floor in known[counted] if (floor - usual).mean() > _NOISIER]
    if not noisier:
        return [np.full(MEL_BANDS, -60.0, dtype=np.float32) for _ in recordings]
    common = np.maximum(np.max(noisier, axis=0), usual)
    common -= max(0.0, float(np.logaddexp.reduce(common)) - _MOST_NOISE)
    gaps = [np.maximum(np.exp(common) - np.exp(floor), 1e-30) for floor in floors]
    return [(np.log(gap) + level).astype(np.float32) for gap, level in zip(gaps, levels, strict=True)]


def _bands_below(bandwidth_hz: float) -> int:
    """Count the mel bands below the end of the narrowest recording."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in MEL_RANGE_HZ)
    end = 2595 * np.log10(1 + max(bandwidth_hz - 200.0, 2_000.0) / 700)
    edge = int((end - low) / (high - low) * (MEL_BANDS + 1))  # a band reaches to the next edge but one
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
    return (moved * np.sqrt(statistics.weights)[:, None] / np.sqrt(statistics.variances)).ravel()


def _pitch(f0_hz: Floats) -> NDArray[np.float64]:
    voiced = f0_hz[f0_hz > 0]
    if voiced.size < 10:
        return np.full(3, np.nan)
    return np.log(np.percentile(voiced, [50.0, 10.0, 90.0]))


def split_in_two(vectors: NDArray[np.float64], between: Floats) -> Labels:
    """Split windows in two clusters as if two speakers had spoken them: 1 for the smaller, shape (n,)."""
    best = np.zeros(len(vectors), dtype=np.int64)
    likelihood = -np.inf
    for start in _first_guesses(vectors):
        labels = _improve(vectors, start, between)
        total = sum(_log_likelihood(vectors[labels == cluster], between) for cluster in (0, 1))
        if total > likelihood:
            best, likelihood = labels, total
    return best if 2 * best.sum() <= best.size else 1 - best


def _first_guesses(vectors: NDArray[np.float64]) -> list[Labels]:
    """Start with cuts across the directions of most scatter, and around pairs of windows."""
    guesses = []
    axes = np.linalg.svd(vectors, full_matrices=False)[0][:, :3]
    for along in axes.T:
        cuts = np.quantile(along, (0.1, 0.2, 0.5, 0.8, 0.9))
        guesses += [(along > cut).astype(np.int64) for cut in cuts]
    random = np.random.default_rng(0)
    for _ in range(8):
        one, other = random.choice(len(vectors), 2, replace=False)
        to_one, to_other = (np.square(vectors - vectors[i]).sum(axis=1) for i in (one, other))
        guesses.append((to_one < to_other).astype(np.int64))
    return guesses


def _improve(vectors: NDArray[np.float64], labels: Labels, between: Floats) -> Labels:
    """Give each window to the cluster that is likelier, until none moves."""
    for _ in range(_ROUNDS):
        costs = []
        for cluster in (0, 1):
            own = vectors[labels == cluster]
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
    """Score windows as one speaker's, whoever she is; constants that all splits share are left out."""
    count = len(vectors)
    total = between * np.square(vectors.sum(axis=0)) / (1.0 + count * between)
    return float(-0.5 * (np.square(vectors).sum() - total.sum()) - 0.5 * np.log1p(count * between).sum())


def two_speaker_score(vectors: NDArray[np.float64], labels: Labels, between: Floats) -> float:
    """Say how much likelier two speakers are than one who moved: a natural logarithm."""
    clusters = [vectors[labels == cluster] for cluster in (0, 1)]
    if min(len(cluster) for cluster in clusters) < 1:
        return -np.inf
    apart = np.square(clusters[0].mean(axis=0) - clusters[1].mean(axis=0))
    error = sum(1.0 / len(cluster) for cluster in clusters)
    two, one = 2.0 * between + error, SESSION_VARIANCE + error
    return float(0.5 * np.sum(apart / one - apart / two + np.log(one) - np.log(two)))
