"""A loaded voice: an engine, a retrieval index, and how a recording goes through them piece by piece.

Shapes:  N = samples at 16 kHz, T = N // 160 + 1 frames (100 per second), C = content channels.
         Frame i is centred at sample i * 160 of the source and starts at sample i * hop of the result.
Exact:   what depends on the whole recording is in `Source` before the first piece is computed (level,
         F0, phase); pieces overlap by the engine's context. So a recording in pieces gives the same
         samples as in one, and an hour takes no more memory than its 16 kHz samples.
Bundle:  a folder with card.json, the engine's weights (model.safetensors) and maybe index.faiss.
Not here: files of sound, loudness of the result, progress for people (pipelines/convert.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rvc.card import VoiceCard, read_card
from rvc.errors import CheckpointError, ConfigError
from rvc.f0 import cumulate_phase, interpolate_unvoiced
from rvc.level import HOP_16K, level_contour
from rvc.registry import Registry
from rvc.retrieval import RetrievalIndex

INDEX_FILE = "index.faiss"
GRID_FRAMES = 20
"""Pieces begin at multiples of it, because an encoder may look at frames in pairs or larger groups."""

LOWEST_F0_HZ, HIGHEST_F0_HZ = 40.0, 2000.0
"""A transposed melody is kept within these: an engine divides by F0, and above there is no voice."""


class Engine(Protocol):
    """The networks of one voice: what is said goes in, sound comes out.

    Both functions are deterministic, noise included, and a frame of their results depends only on
    `context_frames` frames of their arguments on either side.

    Attributes:
        sample_rate_hz: Rate of the audio that `speak` gives; a multiple of 100.
        content_dim: Numbers C per content vector.
        context_frames: See above; enough for each function by itself.
    """

    sample_rate_hz: int
    content_dim: int
    context_frames: int

    def encode(self, wav16k: NDArray[np.float32]) -> NDArray[np.float32]:
        """Say what is said.

        Args:
            wav16k: Level-normalised audio, shape (N,), 16 kHz, beginning at a multiple of 20 frames.

        Returns:
            Content vectors, shape (N // 160 + 1, C), frame i centred at sample i * 160.
        """
        ...

    def speak(  # noqa: PLR0913 -- one contour each; a wrapper around them would only be unpacked again
        self,
        content: NDArray[np.float32],
        f0_hz: NDArray[np.float32],
        voiced: NDArray[np.float32],
        level: NDArray[np.float32],
        phase: NDArray[np.float64],
        first_frame: int,
    ) -> NDArray[np.float32]:
        """Speak it in the voice.

        Args:
            content: Content vectors, shape (T, C).
            f0_hz: F0 without holes, shape (T,), within 40..2000 Hz.
            voiced: 1 where voiced, else 0, shape (T,).
            level: Natural logarithm of the RMS of the level-normalised source, shape (T,).
            phase: Cycles of F0 at the start of each frame, shape (T,), 0..1.
            first_frame: Number of the first frame in the recording, so that noise is the same
                wherever pieces are cut.

        Returns:
            Audio, shape (T * sample_rate_hz // 100,).
        """
        ...


class EngineLoader(Protocol):
    """Builds the engine of one voice."""

    def __call__(self, folder: Path, card: VoiceCard, device: str) -> Engine:
        """Load the weights that lie in `folder` for `device` ("cpu", "cuda").

        Raises:
            CheckpointError: They are missing, damaged or do not fit the card.
        """
        ...


ENGINES: Registry[EngineLoader] = Registry("engine")


@ENGINES.register("lite")
def lite_loader() -> EngineLoader:
    """Import the built-in engine (and torch with it) only when a voice wants it."""
    from rvc.lite.engine import load_engine

    # It is made for CPUs: there it is fast enough, and a conversion need not wait for the device.
    return lambda folder, card, device: load_engine(folder, card.content_encoder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A recording as the engines hear it; all that depends on the whole of it.

    Attributes:
        wav16k: Level-normalised audio, shape (N,), 16 kHz.
        f0_hz: Transposed F0 without holes, shape (T,).
        voiced: 1.0 where voiced, else 0.0, shape (T,).
        level: Natural logarithm of the RMS, shape (T,).
        phase: Cycles of F0 at the start of each frame, shape (T,), 0..1, cumulated from frame 0.
    """

    wav16k: NDArray[np.float32]
    f0_hz: NDArray[np.float32]
    voiced: NDArray[np.float32]
    level: NDArray[np.float32]
    phase: NDArray[np.float64]

    @property
    def frames(self) -> int:
        """Number T of frames."""
        return self.f0_hz.size

    @staticmethod
    def of(wav16k: NDArray[np.float32], f0_hz: NDArray[np.float64]) -> Source:
        """Put together what the engines need.

        Args:
            wav16k: Level-normalised audio, shape (N,), 16 kHz.
            f0_hz: F0 as it shall sound, shape (N // 160 + 1,), 0 where unvoiced.

        Raises:
            ValueError: The contour does not cover the audio.
        """
        frames = wav16k.size // HOP_16K + 1
        if f0_hz.shape != (frames,):
            raise ValueError(f"A contour of shape {f0_hz.shape} does not fit {frames} frames.")
        filled = np.clip(interpolate_unvoiced(f0_hz), LOWEST_F0_HZ, HIGHEST_F0_HZ).astype(np.float32)
        return Source(
            wav16k=wav16k,
            f0_hz=filled,
            voiced=(f0_hz > 0).astype(np.float32),
            level=level_contour(wav16k, frames),
            phase=cumulate_phase(filled.astype(np.float64)),
        )


@dataclass(frozen=True, kw_only=True)
class SpeakOptions:
    """How a recording is spoken.

    Attributes:
        index_rate: Share of the content that comes from the voice's own recordings, 0..1; without an
            index it has no effect.
        protect: How much of that share unvoiced frames (consonants, breath) get: 0.5 all of it, 0
            none, in between proportionally. Unlike RVC, where 0.5 switches protection off and just
            below it halves the share, there is no jump.
        chunk_s: Seconds spoken at once.
    """

    index_rate: float = 0.3
    protect: float = 0.33
    chunk_s: float = 20.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.index_rate <= 1.0:
            raise ConfigError(f"An index rate of {self.index_rate:g} is not possible; choose 0 to 1.")
        if not 0.0 <= self.protect <= 0.5:
            raise ConfigError(f"A protection of {self.protect:g} is not possible; choose 0 to 0.5.")
        if not 1.0 <= self.chunk_s <= 600.0:
            raise ConfigError(f"Pieces of {self.chunk_s:g} seconds are not possible; choose 1 to 600.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """A sign of life while a voice speaks.

    Attributes:
        done_frames: Frames finished so far; whole steps of work lie between two signs.
        wav: The next samples of the result, if a piece has just been finished.
    """

    done_frames: float
    wav: NDArray[np.float32] | None = None


class Voice:
    """One loaded voice.

    Args:
        card: What it says of itself.
        engine: Its networks.
        index: Its own content vectors; None to do without retrieval.

    Raises:
        CheckpointError: Card, engine and index do not fit each other.
    """

    def __init__(self, card: VoiceCard, engine: Engine, index: RetrievalIndex | None = None) -> None:
        if (card.sample_rate_hz, card.content_dim) != (engine.sample_rate_hz, engine.content_dim):
            raise CheckpointError(
                f"The card of {card.name} does not fit its weights "
                f"({card.sample_rate_hz} Hz against {engine.sample_rate_hz} Hz, {card.content_dim} content "
                f"numbers against {engine.content_dim}); export the voice again."
            )
        self.card = card
        self.engine = engine
        self.index = index

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the audio that the voice gives."""
        return self.card.sample_rate_hz

    @staticmethod
    def load(folder: Path, device: str = "cpu") -> Voice:
        """Load a voice from its bundle; the card alone chooses the engine.

        Args:
            folder: With card.json, the engine's weights and maybe index.faiss.
            device: Where the networks compute: "cpu" or "cuda".

        Raises:
            CheckpointError: A file is missing, damaged or does not fit the others.
            UnknownNameError: The card names an engine that this program does not have.
        """
        card = read_card(folder)
        engine = ENGINES.build(card.engine)(folder, card, device)
        path = folder / INDEX_FILE
        index = RetrievalIndex.load(path, card.content_dim) if path.is_file() else None
        return Voice(card, engine, index)

    def speak(self, source: Source, options: SpeakOptions) -> Iterator[Spoken]:
        """Speak a recording in this voice.

        Args:
            source: The recording.
            options: How.

        Yields:
            Several signs of life per piece; their `wav` joined are T * sample_rate_hz // 100 samples.
        """
        hop = self.sample_rate_hz // 100
        context = _on_grid(self.engine.context_frames)
        pieces = _pieces(source.frames, max(_on_grid(round(options.chunk_s * 100)), GRID_FRAMES))
        known = np.empty((0, self.engine.content_dim), np.float32)
        known_from = known_until = 0
        for start, stop in pieces:
            first, last = max(start - context, 0), min(stop + context, source.frames)
            known, known_from = known[first - known_from :], first
            if known_until < last:
                fresh = self._content(source, known_until, last)
                yield Spoken(done_frames=start + (stop - start) / 3)
                known = np.concatenate([known, self._drawn(fresh, source.voiced[known_until:last], options)])
                known_until = last
                yield Spoken(done_frames=start + (stop - start) / 2)
            part = slice(first, last)
            wav = self.engine.speak(
                known[: last - first],
                source.f0_hz[part],
                source.voiced[part],
                source.level[part],
                source.phase[part],
                first,
            )
            yield Spoken(done_frames=stop, wav=wav[(start - first) * hop : (stop - first) * hop])

    def _content(self, source: Source, start: int, stop: int) -> NDArray[np.float32]:
        """Encode frames `start`..`stop`, with context from a place on the grid on."""
        context = _on_grid(self.engine.context_frames)
        first = max(start // GRID_FRAMES * GRID_FRAMES - context, 0)
        last = stop + context
        end = source.wav16k.size if last >= source.frames else last * HOP_16K
        content = self.engine.encode(source.wav16k[first * HOP_16K : end])
        return content[start - first : stop - first]

    def _drawn(
        self, content: NDArray[np.float32], voiced: NDArray[np.float32], options: SpeakOptions
    ) -> NDArray[np.float32]:
        """Draw content towards the voice's own, unvoiced frames less."""
        if self.index is None or options.index_rate == 0.0:
            return content
        share = options.index_rate * np.where(voiced > 0, 1.0, 2.0 * options.protect)
        return self.index.blend(content, share)


def _on_grid(frames: int) -> int:
    """Round up to a multiple of the grid."""
    return -(-frames // GRID_FRAMES) * GRID_FRAMES


def _pieces(frames: int, chunk: int) -> list[tuple[int, int]]:
    """Cut a recording into pieces; a short rest joins the last piece."""
    starts = list(range(0, max(frames - chunk // 2, 1), chunk))
    return list(zip(starts, [*starts[1:], frames], strict=True))
