"""A real engine at toy size, and voices made of it: no weights, no torch, every rule of an Engine kept.

It hums: eight harmonics whose strengths follow the content, or noise where the source is unvoiced.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.ndimage import uniform_filter1d

from rvc.audio.loudness import MAX_CORRECTION, Contour, FrameLoudness, Gain, KnotGain, gain_contour
from rvc.engine.card import VoiceCard, read_card
from rvc.engine.interface import Piece, Source, at_one_level, even_shares, pieces_anywhere, with_context
from rvc.engine.options import ENGINES, LITE_DEFAULTS
from rvc.engine.retrieval import RetrievalIndex
from rvc.steps import result_of
from rvc.voice import Voice

CONTENT_DIM = 8
REACH_FRAMES = 5
CARD: dict[str, Any] = {
    "format_version": 1,
    "engine": "toy",
    "name": "Hum",
    "created_at": "2025-01-01T00:00:00+00:00",
    "sample_rate_hz": 24_000,
    "content_encoder": "toy-bands",
    "content_dim": CONTENT_DIM,
    "f0": {"median_hz": 220.0, "low_hz": 150.0, "high_hz": 330.0},
}


class ToyEngine:
    """Hums what it hears; notes the seconds of each call, for tests about pieces."""

    defaults = LITE_DEFAULTS
    uses_f0 = True
    reuses_content = True
    tone_db: NDArray[np.float64] | None = None
    preprocess = staticmethod(at_one_level)
    retrieval_weights = staticmethod(even_shares)
    contours = staticmethod(Source.of)

    def __init__(self, sample_rate_hz: int = 24_000) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.content_dim = CONTENT_DIM
        self.context_frames = REACH_FRAMES + 2
        self.encoded_s: list[float] = []
        self.spoken_s: list[float] = []

    def source(self, heard16k: NDArray[np.float32], f0_hz: NDArray[np.float64]) -> Source:
        return Source.of(heard16k, f0_hz)

    def pieces(self, source: Source, chunk_s: float) -> list[Piece]:
        return pieces_anywhere(source.frames, chunk_s, self.context_frames)

    def content(self, source: Source, piece: Piece, since: int) -> NDArray[np.float32]:
        first, wav16k = with_context(source, since, piece.last, self.context_frames)
        return self.encode(wav16k)[since - first : piece.last - first]

    def speak(
        self, content: NDArray[np.float32], source: Source, piece: Piece
    ) -> Generator[float, None, NDArray[np.float32]]:
        yield 0.0
        hop = self.sample_rate_hz // 100
        wav = self.utter(content, source, piece.first)
        return wav[(piece.start - piece.first) * hop : (piece.stop - piece.first) * hop]

    def most_correction(self, source: Source) -> float:
        return MAX_CORRECTION

    def loudness(
        self, source: Source, source_rms: Contour, spoken: FrameLoudness, follow_loudness: float
    ) -> Gain:
        hop = self.sample_rate_hz // 100
        return KnotGain(knots=gain_contour(source_rms, spoken, follow_loudness), hop=hop)

    def encode(self, wav16k: NDArray[np.float32]) -> NDArray[np.float32]:
        self.encoded_s.append(wav16k.size / 16_000)
        padded = np.pad(wav16k, (160, 320))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 320)[::160][: wav16k.size // 160 + 1]
        power = np.square(np.abs(np.fft.rfft(windows * np.hanning(320))))
        bands = np.log(power[:, 1:].reshape(len(power), CONTENT_DIM, -1).sum(axis=2) + 1e-4)
        smooth = uniform_filter1d(bands, 2 * REACH_FRAMES + 1, axis=0, mode="constant")
        return smooth.astype(np.float32)

    def utter(self, content: NDArray[np.float32], source: Source, first_frame: int) -> NDArray[np.float32]:
        part = slice(first_frame, first_frame + len(content))
        f0_hz, voiced, level = source.f0_hz[part], source.voiced[part], source.level[part]
        phase = source.phase[part]
        hop = self.sample_rate_hz // 100
        self.spoken_s.append(len(content) / 100)
        smooth = uniform_filter1d(content, 2 * REACH_FRAMES + 1, axis=0, mode="constant")
        strengths = np.exp(0.3 * (smooth - smooth.max(axis=1, keepdims=True)))
        strengths /= np.sqrt(np.square(strengths).sum(axis=1, keepdims=True))
        position = np.arange(hop) / hop
        cycles = phase[:, None] + 0.01 * self._between(f0_hz, position / 2) * position
        hum = np.zeros((len(content), hop))
        for number in range(CONTENT_DIM):
            audible = (f0_hz * (number + 1) < 0.45 * self.sample_rate_hz)[:, None]
            amplitude = self._between(strengths[:, number], position) * audible
            hum += amplitude * np.sin(2 * np.pi * (number + 1) * cycles) * np.sqrt(2)
        noise = np.stack(
            [
                np.random.default_rng(source.place + first_frame + i).standard_normal(hop)
                for i in range(len(content))
            ]
        )
        sound = np.where(voiced[:, None] > 0.5, hum, noise) * np.exp(self._between(level, position))
        return sound.reshape(-1).astype(np.float32)

    @staticmethod
    def _between(contour: NDArray[Any], position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values inside each frame, straight to the next frame's, shape (T, hop)."""
        after = np.append(contour[1:], contour[-1:])
        lines: NDArray[np.float64] = contour[:, None] + (after - contour)[:, None] * position
        return lines


class ToyLoader:
    def weights(self, card: VoiceCard) -> Sequence[str]:
        return ()

    def __call__(self, folder: Path, card: VoiceCard, device: str, weights: Mapping[str, Path]) -> ToyEngine:
        return ToyEngine(card.sample_rate_hz)


ENGINES["toy"] = replace(LITE_DEFAULTS, loader="tests.tiny:ToyLoader")


def toy_content(rows: int = 300, seed: int = 0) -> NDArray[np.float32]:
    """Content vectors that a toy voice may have spoken, shape (rows, 8)."""
    return np.random.default_rng(seed).normal(-2.0, 2.0, (rows, CONTENT_DIM)).astype(np.float32)


def toy_index(vectors: NDArray[np.float32] | None = None) -> RetrievalIndex:
    """An index of `toy_content`, or of other rows."""
    return result_of(RetrievalIndex.build(toy_content() if vectors is None else vectors))


def toy_bundle(folder: Path, *, with_index: bool = True, **card: object) -> Path:
    """Write a toy voice's files; keywords replace fields of its card (None removes one)."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {name: value for name, value in (CARD | card).items() if value is not None}
    (folder / "card.json").write_text(json.dumps(document), encoding="utf-8")
    save_file({"nothing": np.zeros(1, np.float32)}, folder / "model.safetensors")
    (folder / "index.faiss").unlink(missing_ok=True)
    if with_index:
        toy_index().save(folder / "index.faiss")
    return folder


def toy_voice(folder: Path, *, with_index: bool = True, **card: object) -> Voice:
    """A loaded toy voice."""
    return Voice.load(toy_bundle(folder, with_index=with_index, **card))


def toy_card(folder: Path, **card: object) -> VoiceCard:
    """A toy voice's card as it is read."""
    return read_card(toy_bundle(folder, with_index=False, **card))


def song(seconds: float = 6.0, *, seed: int = 0) -> NDArray[np.float32]:
    """Something like a voice at 16 kHz: gliding vibrato notes, hiss between them, and a digital pause."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    f0_hz = 130.0 * 2.0 ** (0.4 * np.sin(0.7 * time_s) + 0.02 * np.sin(2 * np.pi * 5 * time_s))
    cycles = np.cumsum(f0_hz) / 16_000
    hum = sum(np.sin(2 * np.pi * number * cycles) / number for number in range(1, 12))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.8 * time_s)
    wav = np.where(time_s % 1.0 < 0.75, 0.1 * hum * swell, 0.02 * rng.standard_normal(time_s.size))
    wav[(time_s % 3.0 > 2.5)] = 0.0
    return wav.astype(np.float32)
