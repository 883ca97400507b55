"""What an engine is: what it wants to hear of a recording, how that is cut, and how a piece is spoken.

Shapes:  N = samples at 16 kHz, T = N // 160 + 1 frames (100 per second), C = content channels.
         Frame i is centred at sample i * 160 of the source and starts at sample i * hop of the result.
Exact:   what depends on the whole recording is in `Source` before the first piece is computed.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rvc.audio.level import HOP_16K, level_contour, normalisation_gain
from rvc.audio.loudness import Contour, FrameLoudness, Gain
from rvc.engine.card import VoiceCard
from rvc.engine.options import EngineDefaults
from rvc.pitch.f0 import cumulate_phase, interpolate_unvoiced

NOISE_FRAMES = 100  # drawn at once
GRID_FRAMES = 20  # pieces begin at multiples: an encoder may look at frames in pairs or larger groups
# A transposed melody is kept within these: an engine divides by F0, and above there is no voice.
LOWEST_F0_HZ, HIGHEST_F0_HZ = 40.0, 2000.0
Frames = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A recording as an engine hears it; all that depends on the whole of it."""

    wav16k: Frames  # audio from which content is taken, (N,)
    f0_hz: NDArray[np.floating[Any]]  # transposed, (T,); in unvoiced frames what the engine wants there
    voiced: Frames  # 1.0 where voiced, else 0.0, (T,)
    level: Frames  # natural logarithm of the RMS, (T,)
    phase: NDArray[np.float64]  # cycles of F0 at the start of each frame, (T,), 0..1, cumulated from frame 0
    pad_frames: int = 0  # so many at either end are no part of the recording; they only give it context
    place: int = 0  # of its first frame, where it is a part of a longer one: noise depends on it

    @property
    def frames(self) -> int:
        return self.f0_hz.size

    @property
    def spoken_frames(self) -> int:
        return self.frames - 2 * self.pad_frames

    @staticmethod
    def of(wav16k: Frames, f0_hz: NDArray[np.float64]) -> Source:
        """Put together what engines need that want F0 (0 where unvoiced) without holes."""
        frames = frames_covering(wav16k, f0_hz)
        filled = np.clip(interpolate_unvoiced(f0_hz), LOWEST_F0_HZ, HIGHEST_F0_HZ).astype(np.float32)
        return Source(
            wav16k=wav16k,
            f0_hz=filled,
            voiced=(f0_hz > 0).astype(np.float32),
            level=level_contour(wav16k, frames),
            phase=cumulate_phase(filled.astype(np.float64)),
        )


def frames_covering(wav16k: Frames, f0_hz: NDArray[np.float64]) -> int:
    """Count the frames of a recording; ValueError if the contour has another number of them."""
    frames = wav16k.size // HOP_16K + 1
    if f0_hz.shape != (frames,):
        raise ValueError(f"A contour of shape {f0_hz.shape} does not fit {frames} frames.")
    return frames


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a recording that is spoken at once."""

    start: int  # the frames `start`..`stop` are what it adds to the result
    stop: int
    first: int  # the frames `first`..`last`, these and their context, are computed for it
    last: int
    heard_samples: int | None = None  # from `first` on, for content; None if that is the engine's own matter


class Engine(Protocol):
    """The networks of one voice: what is said goes in, sound comes out. Deterministic, noise included.

    Attributes:
        sample_rate_hz: Rate of the audio that `speak` gives; a multiple of 100.
        content_dim: Numbers C per content vector.
        uses_f0: Whether it is told the melody.
        defaults: How its voices are converted unless somebody asks otherwise.
        reuses_content: Whether a frame's content is the same in whichever piece it is computed.
        tone_db: The tone in which recordings are heard, of 20 bands; None is their own.
    """

    sample_rate_hz: int
    content_dim: int
    uses_f0: bool
    defaults: EngineDefaults
    reuses_content: bool
    tone_db: NDArray[np.float64] | None

    def preprocess(self, wav16k: Frames) -> Frames:
        """Bring a recording, (N,), into the form in which F0 is taken from it, (N + 2 * 160 * pad_frames,).

        What is given may be changed in place.
        """

    def source(self, heard16k: Frames, f0_hz: NDArray[np.float64]) -> Source:
        """Put together what `content` and `speak` need.

        Args:
            heard16k: What `preprocess` gave, shape (N,).
            f0_hz: Its F0 as it shall sound, shape (N // 160 + 1,), 0 where unvoiced; ValueError for another.
        """

    def contours(self, heard16k: Frames, f0_hz: NDArray[np.float64]) -> Source:
        """Put together the same of audio, without padding, that is in the voice's tone and level already."""

    def pieces(self, source: Source, chunk_s: float) -> list[Piece]:
        """Cut a recording into pieces of about this many seconds; their results are joined as they are."""

    def content(self, source: Source, piece: Piece, since: int) -> Frames:
        """Give the content vectors of the frames `since`..`piece.last`, shape (piece.last - since, C).

        `since` is the piece's first frame, or a later one if the engine reuses content.
        """

    def retrieval_weights(self, voiced: Frames, index_rate: float, protect: float) -> Frames:
        """Say how far each frame's content is drawn towards the voice's own, shape (T,), 0..1."""

    def speak(self, content: Frames, source: Source, piece: Piece) -> Generator[float, None, Frames]:
        """Speak a piece in the voice, in steps; noise is the same at the same place wherever pieces are cut.

        Args:
            content: Content vectors of the frames `piece.first`..`piece.last`, shape (T, C).
            source: The recording, whose contours are followed.
            piece: What of it is spoken.

        Yields:
            The share that is done, 0..1.

        Returns:
            Audio of the frames `piece.start`..`piece.stop`, as many hops of samples.
        """

    def most_correction(self, source: Source) -> float | Contour:
        """Say by how much a frame may be made louder, a factor."""

    def loudness(
        self, source: Source, source_rms: Contour, spoken: FrameLoudness, follow_loudness: float
    ) -> Gain:
        """Decide how loud each moment of the result shall be.

        Args:
            source: The recording.
            source_rms: RMS of each of its frames as it was recorded, shape (source.spoken_frames,): its level
                counts, its contour where the engine heard no other.
            spoken: What was measured of the voice's own audio, frame by frame.
            follow_loudness: How far the source's loudness is followed, 0..1.
        """


class EngineLoader(Protocol):
    """Builds the engine of one voice; `rvc.engine.options.EngineDefaults.loader` names it."""

    def weights(self, card: VoiceCard) -> Sequence[str]:
        """Name the published weights (entries of assets/manifest.json) that a voice needs beside its own.

        CheckpointError if this program does not have them.
        """

    def __call__(self, folder: Path, card: VoiceCard, device: str, weights: Mapping[str, Path]) -> Engine:
        """Load a bundle for a device ("cpu", "cuda"); CheckpointError if one is damaged or does not fit."""


def at_one_level(wav16k: Frames) -> Frames:
    """Bring a recording to the one level that encoders are trained at, in place."""
    wav16k *= np.float32(normalisation_gain(wav16k))
    return wav16k


def even_pieces(frames: int, chunk: int) -> list[tuple[int, int]]:
    """Cut a recording into pieces; a short rest joins the last piece."""
    starts = list(range(0, max(frames - chunk // 2, 1), chunk))
    return list(zip(starts, [*starts[1:], frames], strict=True))


def pieces_anywhere(frames: int, chunk_s: float, context_frames: int) -> list[Piece]:
    """Cut a recording for an engine whose frames depend on so many neighbours to either side."""
    context = _on_grid(context_frames)
    chunk = max(_on_grid(round(chunk_s * 100)), GRID_FRAMES)
    return [
        Piece(start=start, stop=stop, first=max(start - context, 0), last=min(stop + context, frames))
        for start, stop in even_pieces(frames, chunk)
    ]


def with_context(source: Source, since: int, last: int, context_frames: int) -> tuple[int, Frames]:
    """Return the audio of frames `since`..`last` with so many neighbours, and the frame it begins with."""
    context = _on_grid(context_frames)
    first = max(since // GRID_FRAMES * GRID_FRAMES - context, 0)
    end = source.wav16k.size if last + context >= source.frames else (last + context) * HOP_16K
    return first, source.wav16k[first * HOP_16K : end]


def even_shares(voiced: Frames, index_rate: float, protect: float) -> Frames:
    """Give unvoiced frames a part that falls evenly to nothing; RVC's law has a jump at 0.5."""
    return (index_rate * np.where(voiced > 0, 1.0, 2.0 * protect)).astype(np.float32)


def _on_grid(frames: int) -> int:
    return -(-frames // GRID_FRAMES) * GRID_FRAMES


def placed_noise(first_frame: int, frames: int, frame_samples: int, stream: int = 0) -> torch.Tensor:
    """Draw white noise of unit RMS, (1, frames * frame_samples), by place and stream, wherever it is cut."""
    first, last = first_frame // NOISE_FRAMES, (first_frame + max(frames, 1) - 1) // NOISE_FRAMES
    seeds = [1_000_000_007 * stream + 7919 * block + 1 for block in range(first, last + 1)]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    blocks = [torch.randn(NOISE_FRAMES * frame_samples, generator=own) for own in generators]
    start = (first_frame - first * NOISE_FRAMES) * frame_samples
    return torch.cat(blocks)[None, start : start + frames * frame_samples]
