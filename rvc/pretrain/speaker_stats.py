"""Fit the constants of the second-speaker detector: assets/builtin/speaker_stats.npz.

    python -m rvc.pretrain.speaker_stats --corpus SPEECH --work WORK --out FILE

What goes in: some three hundred speakers of AN4 (BSD-style licence), LibriSpeech (CC BY 4.0) and the Rhasspy
voices kathleen, kerstin and flemishguy (CC0), at most seven minutes of each. What never does: the held-out
speakers of the built-in models (dataset.HELD_OUT_SPEAKERS, among them nathalie and LibriSpeech 26), a quarter
of the short speakers, drawn by a hash of their names, and whom `--leave-out` names (to measure on them).
What comes out: a mixture of 64 Gaussians over cepstra, and the projection where speakers differ most for
what one speaker varies, fitted on pairs of speakers whose files have been given slightly different
colours, as by different distances and microphones.
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.linalg import eigh

from rvc.analysis.quality import active_frames
from rvc.analysis.speakers import (
    MEL_BANDS,
    SpeakerStatistics,
    SpeakerWindows,
    cepstra,
    describing_windows,
    log_mel,
    responsibilities,
    speaker_windows,
)
from rvc.audio.level import RATE_16K_HZ
from rvc.audio.reader import load_mono
from rvc.files import atomic_write
from rvc.pitch.praat import PraatF0
from rvc.pretrain.dataset import HELD_OUT_SPEAKERS, Utterance, read_corpus, share_of
from rvc.steps import result_of

logger = logging.getLogger(__name__)
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
REGIONS, DIMENSIONS, PRINCIPAL = 64, 40, 150
LONGEST_S, MOST_WINDOWS, HELD_OUT_OF_SHORT = 420.0, 50, 0.25
COLOUR_DB, PAIRS_PER_SPEAKER = 2.0, 2


def is_held_out(speaker: str, collection: str) -> bool:
    """Tell whether the shipped constants were fitted without this speaker."""
    short = collection in ("librispeech", "an4") and speaker != "19"
    return speaker in HELD_OUT_SPEAKERS or (short and share_of(f"{collection}:{speaker}") < HELD_OUT_OF_SHORT)


def speakers_of(corpus: Path, leave_out: Sequence[str]) -> dict[str, list[Utterance]]:
    """Choose the recordings to learn from, by speaker."""
    chosen: dict[str, list[Utterance]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for utterance in sorted(read_corpus(corpus), key=lambda u: share_of(u.file)):
        speaker = utterance.speaker
        if not speaker or speaker in leave_out or is_held_out(speaker, utterance.collection):
            continue
        name = f"{utterance.collection}:{speaker}"
        if seconds[name] < LONGEST_S:
            chosen[name].append(utterance)
            seconds[name] += utterance.seconds
    return {name: sorted(chosen[name], key=lambda u: u.file) for name in sorted(chosen)}


def cached_windows(corpus: Path, work: Path, utterance: Utterance) -> SpeakerWindows:
    """Read one recording as the detector does, or what was kept of it."""
    path = work / "speaker_stats" / f"{utterance.key}.npz"
    if not path.exists():
        wav, _ = load_mono(corpus / utterance.file, rate_hz=RATE_16K_HZ)
        bands, f0 = log_mel(wav), PraatF0()(wav)
        speech = np.pad(active_frames(wav, RATE_16K_HZ), (0, 1))[: len(bands)]
        found = speaker_windows(bands, f0[: len(bands)], speech, [(0, len(bands))])
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **vars(found))
    with np.load(path, allow_pickle=False) as kept:
        return SpeakerWindows(**{name: kept[name] for name in kept.files})


def fit_mixture(frames: Floats, centre: Floats, rounds: int = 12) -> SpeakerStatistics:
    """Fit the Gaussian mixture by expectation and maximisation; the projection is filled in later."""
    random = np.random.default_rng(0)
    total = frames.var(axis=0)
    first_means = frames[random.choice(len(frames), REGIONS, replace=False)]
    statistics = _mixture(centre, np.full(REGIONS, 1.0 / REGIONS), first_means, np.tile(total, (REGIONS, 1)))
    for _ in range(rounds):
        counts = np.zeros((REGIONS, 1))
        first, second = np.zeros((2, REGIONS, frames.shape[1]))
        for block in np.array_split(frames, max(1, len(frames) // 20_000)):
            shares = responsibilities(block, statistics)
            counts += shares.sum(axis=0)[:, None] + 1e-6
            first += shares.T @ block
            second += shares.T @ np.square(block)
        means = first / counts
        variances = np.maximum(second / counts - np.square(means), 0.05 * total)
        statistics = _mixture(centre, counts[:, 0] / counts.sum(), means, variances)
    return statistics


def _mixture(*parts: NDArray[np.floating]) -> SpeakerStatistics:
    """Statistics of centre, weights, means and variances."""
    given = dict(zip(("centre", "weights", "means", "variances"), parts, strict=True))
    given |= dict.fromkeys(("projection", "between"), np.zeros((0, 0)))
    return SpeakerStatistics(**{name: part.astype(np.float32) for name, part in given.items()})


def coloured(windows: SpeakerWindows, random: np.random.Generator) -> SpeakerWindows:
    """Give half of the files a smooth curve over the spectrum, as of another microphone."""
    if random.random() < 0.5:
        return windows
    curve, slopes = np.zeros(MEL_BANDS), np.array([1.0, 0.7, 0.6, 0.5, 0.4])
    curve[1:6] = random.normal(size=5) * slopes * COLOUR_DB * np.sqrt(MEL_BANDS / 5)
    colour = (dct(curve, type=3, norm="ortho") * np.log(10) / 10).astype(np.float32)
    return replace(windows, log_mel=windows.log_mel + colour, floor=windows.floor + colour)


def fit_projection(
    speakers: dict[str, list[SpeakerWindows]], mixture: SpeakerStatistics
) -> tuple[Floats, Floats]:
    """Find where speakers differ most for what one speaker varies, on sets of two speakers."""
    random = np.random.default_rng(1)
    names = list(speakers)
    sets = []
    for name in names:
        alike = [other for other in names if other != name and other.split(":")[0] == name.split(":")[0]]
        for _ in range(PAIRS_PER_SPEAKER):
            others = [other for other in names if other != name]
            choice = alike if alike and random.random() < 0.75 else others
            other = choice[random.integers(len(choice))]
            parts = [[coloured(w, random) for w in speakers[who]] for who in (name, other)]
            offsets, pitch = result_of(describing_windows([*parts[0], *parts[1]], mixture))
            first = sum(len(w) for w in parts[0])
            sets.append((offsets.astype(np.float32), pitch, first))
        logger.info("%s: %d sets", name, len(sets))
    centred_sets = np.concatenate([offsets - offsets.mean(axis=0) for offsets, _, _ in sets])
    axes = np.linalg.svd(random.permutation(centred_sets)[:4_000], full_matrices=False)[2][:PRINCIPAL].T
    within, between = _scatter([(np.hstack([o @ axes, p]), first) for o, p, first in sets])
    values, vectors = eigh(between, within)
    best = np.argsort(-values)[:DIMENSIONS]
    whole = np.vstack([axes @ vectors[:PRINCIPAL, best], vectors[PRINCIPAL:, best]])
    return whole.astype(np.float32), np.maximum(values[best], 0.01).astype(np.float32)


def _scatter(sets: Sequence[tuple[Doubles, int]]) -> tuple[Doubles, Doubles]:
    """Covariance of a speaker's windows, and of speakers."""
    size = sets[0][0].shape[1]
    within, between = np.zeros((size, size)), np.zeros((size, size))
    free, error = 0, 0.0
    for vectors, first in sets:
        parts = vectors[:first], vectors[first:]
        for part in parts:
            off = part - part.mean(axis=0)
            within += off.T @ off
            free += len(part) - 1
        apart = parts[0].mean(axis=0) - parts[1].mean(axis=0)
        between += np.outer(apart, apart)
        error += sum(1 / len(part) for part in parts)
    within /= free
    within = 0.9 * within + 0.1 * np.diag(np.diag(within))
    return within, (between - within * error) / len(sets) / 2


def fit(corpus: Path, work: Path, leave_out: Sequence[str] = ()) -> SpeakerStatistics:
    """Fit all constants; `work` keeps what was read of each recording, `leave_out` names further speakers."""
    speakers: dict[str, list[SpeakerWindows]] = {}
    random = np.random.default_rng(2)
    for name, utterances in speakers_of(corpus, leave_out).items():
        found = [windows for u in utterances if len(windows := cached_windows(corpus, work, u))]
        kept: list[SpeakerWindows] = []
        for number in random.permutation(len(found)):
            if sum(len(windows) for windows in kept) < MOST_WINDOWS:
                kept.append(found[number])
        if sum(len(windows) for windows in kept) >= 2:
            speakers[name] = kept
    logger.info("%d speakers", len(speakers))
    spoken = [np.concatenate([windows.log_mel for windows in found]) for found in speakers.values()]
    centre = np.mean([frames.mean(axis=0) for frames in spoken], axis=0).astype(np.float32)
    frames = np.concatenate([cepstra(some - some.mean(axis=0) + centre)[::6] for some in spoken])
    mixture = fit_mixture(frames, centre)
    projection, between = fit_projection(speakers, mixture)
    return replace(mixture, projection=projection, between=between)


def main() -> None:
    """Fit the constants and write them, the large one in half precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name in ("--corpus", "--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="SPEAKER")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    statistics = fit(options.corpus, options.work, options.leave_out)
    if float(np.abs(statistics.projection).max()) > 6e4:
        raise ValueError("The projection does not fit half precision.")
    projection = statistics.projection.astype(np.float16)
    with atomic_write(options.out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **(vars(statistics) | {"projection": projection}))


if __name__ == "__main__":
    main()
