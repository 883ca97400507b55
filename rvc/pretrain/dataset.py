"""The corpus in memory, on the device, cut into random crops without a Python loop.

`SpeechStore` holds all recordings of one sample rate as one long int16 tensor with their labels, F0 and level
beside it; a batch is a gather. Seven hours at 24 kHz are 1.2 GB. F0 is slow to compute (Praat) and therefore
kept in a folder, one `.npy` a recording, like the labels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.audio.level import level_contour, normalisation_gain
from rvc.audio.reader import load_mono, resample
from rvc.pitch.f0 import interpolate_unvoiced
from rvc.pitch.praat import PraatF0
from rvc.pretrain.corpus import Utterance

logger = logging.getLogger(__name__)

CONTENT_RATE_HZ = 16_000
FRAMES_PER_S = 100


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording as the store takes it: int16 audio, one entry of each contour per 10 ms frame."""

    utterance: Utterance
    audio: NDArray[np.int16]
    labels: NDArray[np.int8]
    f0_hz: NDArray[np.float32]
    level: NDArray[np.float32]


def cache_f0(corpus: Path, folder: Path, utterance: Utterance) -> None:
    """Compute the F0 of one recording into `folder`, unless it is there."""
    target = folder / f"{utterance.key}.npy"
    if not target.exists():
        wav, _ = load_mono(corpus / utterance.file, rate_hz=CONTENT_RATE_HZ)
        np.save(target, PraatF0()(wav).astype(np.float16))


def load_recording(corpus: Path, work: Path, rate_hz: int, utterance: Utterance) -> Recording:
    """Decode one recording, level-normalised as at conversion, and read its contours from `work`."""
    wav, native_hz = load_mono(corpus / utterance.file)
    wav16 = resample(wav, native_hz, CONTENT_RATE_HZ)
    gain = normalisation_gain(wav16)
    audio = wav16 if rate_hz == CONTENT_RATE_HZ else resample(wav, native_hz, rate_hz)
    frames = len(wav16) * FRAMES_PER_S // CONTENT_RATE_HZ
    per_frame = rate_hz // FRAMES_PER_S
    audio = np.pad(audio, (0, max(0, frames * per_frame - len(audio))))[: frames * per_frame]
    label_file = work / "labels" / f"{utterance.key}.npy"
    labels = np.load(label_file) if label_file.exists() else np.zeros(0, np.int8)
    labels = np.pad(labels[:frames], (0, max(0, frames - len(labels))), constant_values=-1)
    f0 = np.load(work / "f0" / f"{utterance.key}.npy").astype(np.float32)
    return Recording(
        utterance=utterance,
        audio=(np.clip(audio * gain, -1, 1) * 32767).astype(np.int16),
        labels=labels.astype(np.int8),
        f0_hz=np.pad(f0[:frames], (0, max(0, frames - len(f0)))),
        level=level_contour(wav16 * gain, frames).astype(np.float32),
    )


def load_recordings(
    corpus: Path, work: Path, rate_hz: int, utterances: Iterable[Utterance], processes: int
) -> list[Recording]:
    """Load many recordings in parallel, those shorter than half a second left out."""
    with ProcessPoolExecutor(processes) as pool:
        loaded = pool.map(partial(load_recording, corpus, work, rate_hz), utterances, chunksize=16)
        kept = [r for r in loaded if len(r.level) >= FRAMES_PER_S // 2]
    logger.info(
        "%d recordings, %.1f hours at %d Hz", len(kept), sum(len(r.level) for r in kept) / 360_000, rate_hz
    )
    return kept


@dataclass(frozen=True, kw_only=True)
class Crops:
    """A batch of crops: `audio` (B, T * samples per frame), contours (B, T), `inside` false past the end."""

    audio: Tensor
    labels: Tensor
    f0_hz: Tensor
    voiced: Tensor
    level: Tensor
    inside: Tensor
    speaker: Tensor
    recording: Tensor
    start: Tensor


class SpeechStore:
    """All recordings on one device.

    Args:
        recordings: What to hold.
        shares: Share of the crops that each collection shall get; a collection not named gets none.
        device: Where everything lies.
    """

    def __init__(
        self, recordings: Sequence[Recording], shares: Mapping[str, float], rate_hz: int, device: torch.device
    ) -> None:
        self.rate_hz = rate_hz
        self.device = device
        self.recordings = recordings
        lengths = np.array([len(r.level) for r in recordings])
        names = sorted({r.utterance.speaker for r in recordings if r.utterance.speaker})
        self.speakers = {name: number for number, name in enumerate(names)}
        collections = [r.utterance.collection for r in recordings]
        totals = {
            c: sum(n for n, k in zip(lengths, collections, strict=True) if k == c) for c in set(collections)
        }
        weights = [shares.get(c, 0.0) * n / totals[c] for n, c in zip(lengths, collections, strict=True)]
        self.weights = torch.tensor(weights, device=device)
        self.lengths = torch.tensor(lengths, device=device)
        self.starts = torch.tensor(np.concatenate([[0], np.cumsum(lengths)[:-1]]), device=device)
        self.speaker = torch.tensor(
            [self.speakers.get(r.utterance.speaker, -1) for r in recordings], device=device
        )
        self.audio = torch.from_numpy(np.concatenate([r.audio for r in recordings])).to(device)
        self.labels = torch.from_numpy(np.concatenate([r.labels for r in recordings])).to(device)
        f0 = [r.f0_hz.astype(np.float64) for r in recordings]
        self.voiced = torch.from_numpy(np.concatenate(f0) > 0).to(device)
        self.f0_hz = torch.from_numpy(
            np.concatenate([interpolate_unvoiced(f).astype(np.float32) for f in f0])
        ).to(device)
        self.level = torch.from_numpy(np.concatenate([r.level for r in recordings])).to(device)

    def sample(self, count: int, frames: int, generator: torch.Generator) -> Crops:
        """Draw crops: a collection by its share, a recording by its length, a start at random."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        return self.sample_like(chosen, frames, generator)

    def sample_like(self, chosen: Tensor, frames: int, generator: torch.Generator) -> Crops:
        """Draw another crop of each of the same recordings, (B,)."""
        room = (self.lengths[chosen] - frames).clamp(min=0)
        start = torch.rand(len(chosen), generator=generator, device=self.device) * (room + 1)
        return self.crop(chosen, start.long().clamp(max=room), frames)

    def crop(self, chosen: Tensor, start: Tensor, frames: int) -> Crops:
        """Cut `frames` frames of the chosen recordings from `start`, both (B,)."""
        step = torch.arange(frames, device=self.device)
        local = start[:, None] + step
        inside = local < self.lengths[chosen][:, None]
        frame = self.starts[chosen][:, None] + torch.where(inside, local, 0)
        per_frame = self.rate_hz // FRAMES_PER_S
        sample = frame[..., None] * per_frame + torch.arange(per_frame, device=self.device)
        audio = self.audio[sample].float() / 32768 * inside[..., None]
        return Crops(
            audio=audio.flatten(1),
            labels=torch.where(inside, self.labels[frame].long(), -1),
            f0_hz=self.f0_hz[frame],
            voiced=(self.voiced[frame] & inside).float(),
            level=torch.where(inside, self.level[frame], self.level.min()),
            inside=inside,
            speaker=self.speaker[chosen],
            recording=chosen,
            start=start,
        )
