"""A loaded voice: an engine, a retrieval index, and how a recording goes through them piece by piece.

Shapes:  T = frames (100 per second), C = content channels.
Memory:  what depends on the whole recording is in its `Source`; the rest is computed piece by piece, so an
         hour takes no more memory than its 16 kHz samples.
Bundle:  a folder with card.json, the engine's weights (model.safetensors) and maybe index.faiss.
Not here: what engines are (engine.py), files of sound, progress for people (pipelines/conversion/convert.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvc.engine.card import VoiceCard, read_card
from rvc.engine.interface import Engine, EngineLoader, Piece, Source, even_pieces
from rvc.engine.options import SpeakOptions
from rvc.engine.retrieval import RetrievalIndex
from rvc.errors import CheckpointError
from rvc.registry import Registry

ENGINES: Registry[EngineLoader] = Registry("engine")


@ENGINES.register("lite")
def lite_loader() -> EngineLoader:
    """Import the built-in engine (and torch with it) only when a voice wants it."""
    from rvc.lite.engine import LiteLoader

    return LiteLoader()


@ENGINES.register("rvc")
def rvc_loader() -> EngineLoader:
    """Import RVC's engine only when a voice wants it."""
    from rvc.vits.engine import RvcLoader

    return RvcLoader()


INDEX_FILE = "index.faiss"
ALIGNED_PIECES, ALIGNED_PIECE_S = 6, 5.0
"""At most this many stretches of a recording, evenly spread, are compared with the voice's own content."""
SPEECH_RANGE = 4.0
"""Frames that lie further below the loudest (natural logarithm of RMS) are not speech."""
ALIGNING_ROUNDS, ALIGNED_FRAMES, CAUTIOUS_FRAMES = 4, 800, 100


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
    def load(folder: Path, device: str = "cpu", weights: Mapping[str, Path] | None = None) -> Voice:
        """Load a voice from its bundle; the card alone chooses the engine.

        Args:
            folder: With card.json, the engine's weights and maybe index.faiss.
            device: Where the networks compute: "cpu" or "cuda".
            weights: The published weights that the voice needs, by name; see `EngineLoader.weights`.

        Raises:
            CheckpointError: A file is missing, damaged or does not fit the others.
            UnknownNameError: The card names an engine that this program does not have.
        """
        card = read_card(folder)
        engine = ENGINES.build(card.engine)(folder, card, device, weights or {})
        path = folder / INDEX_FILE
        index = RetrievalIndex.load(path, card.content_dim) if path.is_file() else None
        return Voice(card, engine, index)

    def speak(self, source: Source, options: SpeakOptions) -> Iterator[Spoken]:
        """Speak a recording in this voice.

        Args:
            source: The recording.
            options: How.

        Yields:
            Several signs of life per piece; their `wav` joined are one hop of samples for each frame that
            is spoken.
        """
        wanted = options.align_content and options.index_rate > 0
        moved = self._offset(source) if wanted else np.float32(0)
        known = np.empty((0, self.engine.content_dim), np.float32)
        known_from = known_until = 0
        for piece in self.engine.pieces(source, options.chunk_s):
            done = piece.start - source.pad_frames
            if not self.engine.reuses_content:
                known, known_from, known_until = known[:0], piece.first, piece.first
            known, known_from = known[piece.first - known_from :], piece.first
            if known_until < piece.last:
                fresh = self.engine.content(source, piece, known_until) + moved
                yield Spoken(done_frames=done + (piece.stop - piece.start) / 6)
                voiced = source.voiced[known_until : piece.last]
                known = np.concatenate([known, self._drawn(fresh, voiced, options)])
                known_until = piece.last
            wav = yield from self._spoken(known[: piece.last - piece.first], source, piece)
            yield Spoken(done_frames=piece.stop - source.pad_frames, wav=wav)

    def _spoken(
        self, content: NDArray[np.float32], source: Source, piece: Piece
    ) -> Generator[Spoken, None, NDArray[np.float32]]:
        """Let the engine speak a piece and tell how far it is; its content took a third of the time."""
        steps = self.engine.speak(content, source, piece)
        frames = piece.stop - piece.start
        share = 0.0
        while True:
            yield Spoken(done_frames=piece.start - source.pad_frames + frames * (1 + 2 * share) / 3)
            try:
                share = next(steps)
            except StopIteration as stop:
                wav: NDArray[np.float32] = stop.value
                return wav

    def _offset(self, source: Source) -> NDArray[np.float32]:
        """Measure how far the voice's own content lies from that of the recording, sound for sound.

        Sounds are matched by retrieval, so that a recording which says other things than the voice has said
        is not moved by that. Few frames move it less than they ask for. Measured in places that do not
        depend on how the recording is cut.
        """
        if self.index is None:
            return np.zeros(self.engine.content_dim, np.float32)
        pieces = even_pieces(source.frames, round(100 * ALIGNED_PIECE_S))
        chosen = np.unique(np.linspace(0, len(pieces) - 1, ALIGNED_PIECES).astype(np.int64))
        places = [pieces[number] for number in chosen]
        heard = [Piece(start=start, stop=stop, first=start, last=stop) for start, stop in places]
        content = np.concatenate([self.engine.content(source, piece, piece.first) for piece in heard])
        level = np.concatenate([source.level[start:stop] for start, stop in places])
        content = content[level > level.max() - SPEECH_RANGE]
        caution = np.float32(len(content) / (len(content) + CAUTIOUS_FRAMES))
        content = content[:: len(content) // ALIGNED_FRAMES + 1]  # searching costs more than encoding
        offset = np.zeros(self.engine.content_dim, np.float32)
        for _ in range(ALIGNING_ROUNDS):
            asked = content + offset
            offset += (self.index.blend(asked, 1.0) - asked).mean(axis=0)
        return offset * caution

    def _drawn(
        self, content: NDArray[np.float32], voiced: NDArray[np.float32], options: SpeakOptions
    ) -> NDArray[np.float32]:
        """Draw content towards the voice's own, unvoiced frames less."""
        if self.index is None or options.index_rate == 0.0:
            return content
        shares = self.engine.shares(voiced, options.index_rate, options.protect)
        return self.index.blend(content, shares)
