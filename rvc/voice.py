"""A loaded voice: an engine, a retrieval index, and how a recording goes through them piece by piece.

Shapes:  T = frames (100 per second), C = content channels.
Memory:  what depends on the whole recording is in its `Source`; the rest is computed piece by piece, so an
         hour takes no more memory than its 16 kHz samples.
Bundle:  a folder with card.json, the engine's weights (model.safetensors) and maybe index.faiss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import cast

import numpy as np
from numpy.typing import NDArray

from rvc.engine.card import VoiceCard, read_card
from rvc.engine.interface import Engine, EngineLoader, Piece, Source, even_pieces
from rvc.engine.options import ConvertOptions, engine_defaults
from rvc.engine.retrieval import RetrievalIndex
from rvc.errors import CheckpointError
from rvc.steps import relay

INDEX_FILE = "index.faiss"
# At most this many stretches of a recording, evenly spread, are compared with the voice's own content.
ALIGNED_PIECES, ALIGNED_PIECE_S = 6, 5.0
SPEECH_RANGE = 4.0  # frames further below the loudest (natural logarithm of RMS) are not speech
ALIGNING_ROUNDS, ALIGNED_FRAMES, CAUTIOUS_FRAMES = 4, 800, 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """A sign of life while a voice speaks."""

    done_frames: float  # whole steps of work lie between two signs
    wav: NDArray[np.float32] | None = None  # the next samples, if a piece has just been finished


class Voice:
    """One loaded voice; a card and an engine that do not fit each other are refused."""

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
        self.sample_rate_hz = card.sample_rate_hz

    @staticmethod
    def load(
        folder: Path,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        card: VoiceCard | None = None,
    ) -> Voice:
        """Load a voice from its bundle; the card alone, read here unless it is given, chooses the engine.

        `weights` are the files of `EngineLoader.weights`, by name.
        """
        card = card or read_card(folder)
        engine = engine_loader(card.engine)(folder, card, device, weights or {})
        path = folder / INDEX_FILE
        index = RetrievalIndex.load(path, card.content_dim) if path.is_file() else None
        return Voice(card, engine, index)

    def speak(self, source: Source, options: ConvertOptions) -> Iterator[Chunk]:
        """Speak a recording in this voice; the signs' `wav` joined are a hop of samples per spoken frame."""
        engine, chosen = self.engine, self.engine.defaults.with_asked(options)
        aligns = chosen.align_content and chosen.index_rate > 0
        offset = self._offset(source) if aligns else np.float32(0)
        known = np.empty((0, engine.content_dim), np.float32)  # content of `known_from`..`known_until`
        known_from = known_until = 0
        for piece in engine.pieces(source, chosen.chunk_s):
            begun, frames = piece.start - source.pad_frames, piece.stop - piece.start
            if not engine.reuses_content:
                known, known_from, known_until = known[:0], piece.first, piece.first
            known, known_from = known[piece.first - known_from :], piece.first
            if known_until < piece.last:
                fresh = engine.content(source, piece, known_until) + offset
                yield Chunk(done_frames=begun + frames / 6)
                voiced = source.voiced[known_until : piece.last]
                known = np.concatenate([known, self._drawn(fresh, voiced, chosen.index_rate, chosen.protect)])
                known_until = piece.last
            sign = partial(_within, begun, frames)
            yield sign(0.0)
            steps = engine.speak(known[: piece.last - piece.first], source, piece)
            wav = yield from relay(steps, sign)
            yield Chunk(done_frames=piece.stop - source.pad_frames, wav=wav)

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
        self, content: NDArray[np.float32], voiced: NDArray[np.float32], index_rate: float, protect: float
    ) -> NDArray[np.float32]:
        """Draw content towards the voice's own, unvoiced frames less."""
        if self.index is None or index_rate == 0.0:
            return content
        return self.index.blend(content, self.engine.retrieval_weights(voiced, index_rate, protect))


def _within(begun: int, frames: int, share: float) -> Chunk:
    """Say how far a piece is; its content took a third of the time."""
    return Chunk(done_frames=begun + frames * (1 + 2 * share) / 3)


def engine_loader(engine: str) -> EngineLoader:
    """Import an engine, and torch with it, only when a voice wants it."""
    return cast("EngineLoader", resolve_name(engine_defaults(engine).loader)())
