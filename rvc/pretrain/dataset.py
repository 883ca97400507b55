"""The speech that the built-in models learn from, as recordings on disk and as random crops on a device.

A corpus is a folder with `metadata.csv` ('|'-separated: file, speaker, seconds, text) and the audio files
that it names; the first folder of a file's path is its collection. Held out are whole speakers (strangers)
and whole prompts of the demo voices, in every take. Labels and F0 lie in folders, one `.npy` a recording.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.audio.level import FRAMES_PER_S, RATE_16K_HZ, level_contour, normalisation_gain
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from rvc.lite.encoder import power_spectrum
from rvc.lite.perturb import Perturbation
from rvc.pitch.f0 import interpolate_unvoiced
from rvc.pitch.praat import PraatF0

logger = logging.getLogger(__name__)

LICENCES = {
    "kathleen_en": "CC0 (Rhasspy voice data set 'kathleen')",
    "kerstin_de": "CC0 (Rhasspy voice data set 'kerstin')",
    "flemishguy_nl": "CC0 (Rhasspy voice data set 'flemishguy')",
    "librispeech": "CC BY 4.0 (LibriSpeech, Panayotov et al. 2015)",
    "an4": "BSD-style (CMU AN4)",
    "picovoice": "Apache-2.0 (Picovoice speech-to-intent benchmark; content encoder only)",
}
LANGUAGES = {"kerstin_de": "de", "nathalie_nl": "nl", "flemishguy_nl": "nl"}
HELD_OUT_SPEAKERS = frozenset(
    {"nathalie", "26", "1688", "2033", "mblw", "fjmd", "fbbh", "mjgm", "mscg", "fsaf", "mmsh", "fclc"}
)
HELD_OUT_SHARE = 0.06


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One recording of a corpus."""

    file: str  # relative to the corpus folder
    speaker: str  # "" when the collection does not say
    collection: str
    language: str  # espeak-ng's name for the language of the text
    seconds: float
    text: str  # "" where no transcript exists

    @property
    def key(self) -> str:
        """Name under which labels and features of this recording are kept."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", self.file.rsplit(".", 1)[0])

    @property
    def held_out(self) -> bool:
        """Whether no training may hear this recording."""
        share = share_of(self.collection + self.text if self.text else self.file)
        return self.speaker in HELD_OUT_SPEAKERS or share < HELD_OUT_SHARE


def share_of(name: str) -> float:
    """Map a name to a number in 0..1, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def read_corpus(folder: Path) -> list[Utterance]:
    """Read `metadata.csv` of a folder of speech; each file once, in the order of the table."""
    rows: dict[str, Utterance] = {}
    with (folder / "metadata.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="|", quoting=csv.QUOTE_NONE):
            collection = row["file"].split("/")[0]
            utterance = Utterance(
                file=row["file"],
                speaker="" if row["speaker"] == "unknown" else row["speaker"],
                collection=collection,
                language=LANGUAGES.get(collection, "en-us"),
                seconds=float(row["seconds"]),
                text=row["text"].strip(),
            )
            rows.setdefault(utterance.file, utterance)
    return list(rows.values())


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
        wav, _ = load_mono(corpus / utterance.file, rate_hz=RATE_16K_HZ)
        np.save(target, PraatF0()(wav).astype(np.float16))


def load_recording(corpus: Path, work: Path, rate_hz: int, utterance: Utterance) -> Recording:
    """Decode one recording, level-normalised as at conversion, and read its contours from `work`."""
    wav, native_hz = load_mono(corpus / utterance.file)
    wav16 = resample(wav, native_hz, RATE_16K_HZ)
    gain = normalisation_gain(wav16)
    audio = wav16 if rate_hz == RATE_16K_HZ else resample(wav, native_hz, rate_hz)
    frames = len(wav16) * FRAMES_PER_S // RATE_16K_HZ
    per_frame = rate_hz // FRAMES_PER_S
    label_file = work / "labels" / f"{utterance.key}.npy"
    labels = np.load(label_file) if label_file.exists() else np.zeros(0, np.int8)
    f0 = np.load(work / "f0" / f"{utterance.key}.npy").astype(np.float32)

    def cut(row: NDArray[Any], length: int, filling: int = 0) -> NDArray[Any]:
        return np.pad(row[:length], (0, max(0, length - len(row))), constant_values=filling)

    return Recording(
        utterance=utterance,
        audio=(np.clip(cut(audio, frames * per_frame) * gain, -1, 1) * 32767).astype(np.int16),
        labels=cut(labels, frames, -1).astype(np.int8),
        f0_hz=cut(f0, frames),
        level=level_contour(wav16 * gain, frames).astype(np.float32),
    )


def load_recordings(
    corpus: Path, work: Path, rate_hz: int, utterances: Iterable[Utterance], processes: int
) -> list[Recording]:
    """Load many recordings in parallel, those shorter than half a second left out."""
    with ProcessPoolExecutor(processes) as pool:
        loaded = pool.map(partial(load_recording, corpus, work, rate_hz), utterances, chunksize=16)
        kept = [r for r in loaded if len(r.level) >= FRAMES_PER_S // 2]
    hours = sum(len(r.level) for r in kept) / 360_000
    logger.info("%d recordings, %.1f hours at %d Hz", len(kept), hours, rate_hz)
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
    """All recordings of one rate as one int16 tensor, so that a batch is a gather; `shares` by collection."""

    def __init__(
        self, recordings: Sequence[Recording], shares: Mapping[str, float], rate_hz: int, device: torch.device
    ) -> None:
        self.rate_hz, self.device, self.recordings = rate_hz, device, recordings

        def whole(rows: Iterable[NDArray[np.generic]]) -> Tensor:
            return torch.from_numpy(np.concatenate(list(rows))).to(device)

        said = [r.utterance for r in recordings]
        self.speakers = {name: n for n, name in enumerate(sorted({u.speaker for u in said if u.speaker}))}
        lengths = np.array([len(r.level) for r in recordings])
        sized = list(zip((u.collection for u in said), lengths, strict=True))
        totals: Counter[str] = Counter()
        for collection, length in sized:
            totals[collection] += length
        weights = [shares.get(name, 0.0) * length / totals[name] for name, length in sized]
        self.weights = torch.tensor(weights, device=device)
        self.lengths = torch.tensor(lengths, device=device)
        self.starts = torch.tensor(np.concatenate([[0], np.cumsum(lengths)[:-1]]), device=device)
        self.speaker = torch.tensor([self.speakers.get(u.speaker, -1) for u in said], device=device)
        self.audio = whole(r.audio for r in recordings)
        self.labels = whole(r.labels for r in recordings)
        self.level = whole(r.level for r in recordings)
        f0 = [r.f0_hz.astype(np.float64) for r in recordings]
        self.voiced = whole(f > 0 for f in f0)
        self.f0_hz = whole(interpolate_unvoiced(f).astype(np.float32) for f in f0)

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


class RoughPerturbation(Perturbation):
    """Views that say the same in another voice, and also in another room, at another microphone, in noise."""

    def view(self, wav: Tensor, frame: Tensor, generator: torch.Generator) -> Tensor:
        """One perturbed log-mel, (B, T, 80), of 16 kHz crops, (B, N); `frame`, (B, T), stretches time."""
        column = (wav.shape[0], 1, 1)
        power = power_spectrum(self._reverberate(wav, 0.25, generator))
        power = power.gather(1, frame[..., None].expand(-1, -1, power.shape[-1]))
        energy = power.mean((1, 2), keepdim=True) + 1e-9
        hz = torch.linspace(0.02, 1, power.shape[-1], device=self.device)
        colour = hz ** -self.uniform(column, -0.3, 2.2, generator)
        grain = -(torch.rand(power.shape, generator=generator, device=self.device) + 1e-6).log()
        noise = colour / colour.mean(-1, keepdim=True) * grain * energy
        noise *= 10 ** (-self.uniform(column, 2, 40, generator) / 10)
        noise *= self.uniform(column, 0, 1, generator) < 0.6
        babble = power.roll(1, 0) * energy / energy.roll(1, 0)  # other speech in the background
        babble *= 10 ** (-self.uniform(column, 12, 30, generator) / 10)
        babble *= self.uniform(column, 0, 1, generator) < 0.25
        power = (power + noise + babble) * 10 ** (self.uniform(column, -9, 7, generator) / 10)
        narrow = self.uniform(column, 0, 1, generator) < 0.15
        power = torch.where(narrow & (hz > self.uniform(column, 0.4, 0.95, generator)), 1e-8, power)
        return self.match_tone(power, generator)

    def _reverberate(self, wav: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Add a room (decaying noise, 0.1 to 0.6 s) to a share of the batch; (B, N) -> (B, N)."""
        batch, samples = wav.shape
        tail = RATE_16K_HZ * 6 // 10
        decay_s = self.uniform((batch, 1), 0.1, 0.6, generator)
        time = torch.arange(tail, device=self.device) / RATE_16K_HZ
        hiss = torch.randn((batch, tail), generator=generator, device=self.device)
        room = hiss * torch.exp(-6.9 * time / decay_s)
        room = room / room.square().sum(1, keepdim=True).sqrt()
        size = samples + tail
        wet = torch.fft.irfft(torch.fft.rfft(wav, size) * torch.fft.rfft(room, size), size)[:, :samples]
        amount = self.uniform((batch, 1), 0.05, 0.5, generator)
        used = self.uniform((batch, 1), 0, 1, generator) < share
        return torch.where(used, wav + amount * wet, wav)
