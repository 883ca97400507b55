"""The built-in engine at work: one loaded voice, from 16 kHz source audio to 24 kHz audio in that voice.

A frame of content or of sound depends on a few neighbours only, so that pieces, computed with so much
context, give the very samples of the whole.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from rvc.audio.level import frame_rms, loud_of
from rvc.audio.loudness import MAX_CORRECTION, Contour, FrameLoudness, Gain, KnotGain, gain_contour
from rvc.engine.card import VoiceCard
from rvc.engine.interface import (
    Piece,
    Source,
    at_one_level,
    even_shares,
    pieces_anywhere,
    placed_noise,
    with_context,
)
from rvc.engine.options import LITE_DEFAULTS
from rvc.errors import CheckpointError
from rvc.lite.encoder import ContentEncoder
from rvc.lite.synthesizer import LiteFrames, LiteSynthesizer, pulse_train
from rvc.lite.tone import match_tone
from rvc.lite.weights import CONTENT_ENCODER_NAME, load_encoder, load_synthesizer
from rvc.pitch.f0 import F0Statistics

Wave = NDArray[np.float32]

TOLD_MARGIN = 1.15  # beyond the range in which all but a tenth of the voice lies
UNKNOWN_RANGE_HZ = (80.0, 260.0)
HIGH_NOTE_CORRECTION, HIGH_NOTE_BREATH = 30.0, 0.2  # +30 dB, -14 dB


class LiteEngine:
    """Encoder and synthesizer of one voice as `rvc.engine.interface.Engine`.

    `tone_db`, shape (20,), is the tone in which recordings are heard (see `tone.py`); None is their own.
    `f0` is where the voice lies in its own recordings.
    """

    defaults = LITE_DEFAULTS
    uses_f0 = True
    reuses_content = True
    preprocess = staticmethod(at_one_level)
    retrieval_weights = staticmethod(even_shares)
    contours = staticmethod(Source.of)

    def __init__(
        self,
        encoder: ContentEncoder,
        synthesizer: LiteSynthesizer,
        tone_db: Sequence[float] | None = None,
        f0: F0Statistics | None = None,
    ) -> None:
        self.encoder = encoder.eval()
        self.synthesizer = synthesizer.eval()
        self.tone_db = None if tone_db is None else np.array(tone_db)
        self._told_hz = told_range(f0)
        self.sample_rate_hz = synthesizer.config.sample_rate_hz
        self.content_dim = synthesizer.config.content_dim
        # Even, since the encoder takes frames in pairs and a piece must begin on a pair.
        self.context_frames = (encoder.config.context_frames + synthesizer.config.context_frames + 1) // 2 * 2

    def source(self, heard16k: Wave, f0_hz: NDArray[np.float64]) -> Source:
        """Hear the recording in the tone of the voice's own; its F0 was found before, in its own tone."""
        if self.tone_db is not None:
            heard16k = at_one_level(match_tone(heard16k, self.tone_db))
        return self.contours(heard16k, f0_hz)

    def pieces(self, source: Source, chunk_s: float) -> list[Piece]:
        return pieces_anywhere(source.frames, chunk_s, self.context_frames)

    @torch.inference_mode()
    def content(self, source: Source, piece: Piece, since: int) -> NDArray[np.float32]:
        first, wav16k = with_context(source, since, piece.last, self.context_frames)
        encoded: NDArray[np.float32] = self.encoder(torch.from_numpy(wav16k)[None])[0].numpy()
        return encoded[since - first : piece.last - first]

    def speak(
        self, content: NDArray[np.float32], source: Source, piece: Piece
    ) -> Generator[float, None, Wave]:
        """Speak a piece and its context in one step, and drop the context."""
        yield 0.0
        hop = self.sample_rate_hz // 100
        wav = self.utter(content, source, piece.first)
        return wav[(piece.start - piece.first) * hop : (piece.stop - piece.first) * hop]

    @torch.inference_mode()
    def utter(self, content: NDArray[np.float32], source: Source, first_frame: int) -> Wave:
        """Speak content, shape (T, C), along the source's contours from `first_frame` on: T hops."""
        part = slice(first_frame, first_frame + len(content))

        def row(values: NDArray[Any], dtype: type[np.generic] = np.float32) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, dtype=dtype))[None]

        frames = LiteFrames(
            # Content is normalised; a mean of several rows of the retrieval index no longer is.
            content=F.layer_norm(row(content), (self.content_dim,)),
            f0_hz=row(source.f0_hz[part].clip(*self._told_hz)),
            voiced=row(source.voiced[part]),
            level=row(source.level[part]),
        )
        cycles = row(source.phase[part], np.float64)
        pulses = pulse_train(row(source.f0_hz[part]), cycles, frames.voiced, self.sample_rate_hz)
        frame_samples = self.synthesizer.config.frame_samples
        high = self._is_high(source)[part]
        breath = np.where(high, HIGH_NOTE_BREATH, 1.0)
        noise = placed_noise(source.place + first_frame, len(content), frame_samples)
        noise *= row(breath.repeat(frame_samples))
        voice = torch.zeros(1, dtype=torch.long)
        # Of few harmonics one hears, as roughness, how the filters of speech waver.
        return self.synthesizer(frames, voice, (pulses, noise), row(high, np.bool_))[0].numpy()

    def _is_high(self, source: Source) -> NDArray[np.bool_]:
        """Tell which frames are sung above what the voice has learned, (T,)."""
        high: NDArray[np.bool_] = (source.voiced > 0) & (source.f0_hz > self._told_hz[1])
        return high

    def most_correction(self, source: Source) -> Contour:
        """Allow more for a note above the voice's own, of which its filters may leave little."""
        return np.where(self._is_high(source), HIGH_NOTE_CORRECTION, MAX_CORRECTION)

    def loudness(
        self, source: Source, source_rms: Contour, spoken: FrameLoudness, follow_loudness: float
    ) -> Gain:
        """Follow the recording as it was heard: an s that only its own tone makes sharp shall not be loud."""
        heard = np.append(frame_rms(source.wav16k), 0.0)[: source_rms.size]
        if self.tone_db is not None and (loud := loud_of(heard)) > 0.0:
            source_rms = np.where(source_rms > 0.0, heard * (loud_of(source_rms) / loud), 0.0)
        knots = gain_contour(source_rms, spoken, follow_loudness, self.most_correction(source))
        return KnotGain(knots=knots, hop=self.sample_rate_hz // 100)


def told_range(f0: F0Statistics | None) -> tuple[float, float]:
    """Choose between which pitches the network is told the true one: those whose filters it has learned.

    Beyond, the pulses alone follow the melody; told 500 Hz, a voice that never spoke there falls apart.
    """
    return (f0.low_hz / TOLD_MARGIN, f0.high_hz * TOLD_MARGIN) if f0 else UNKNOWN_RANGE_HZ


class LiteLoader:
    """Loads voices of the built-in engine; see `EngineLoader`."""

    def weights(self, card: VoiceCard) -> Sequence[str]:
        """Name nothing: its content encoder ships with it."""
        return ()

    def __call__(self, folder: Path, card: VoiceCard, device: str, weights: Mapping[str, Path]) -> LiteEngine:
        """Load a voice, always for the CPU: it is made for it, and need not wait for the device."""
        if card.content_encoder != CONTENT_ENCODER_NAME:
            raise CheckpointError(
                f"This voice was trained on the content encoder {card.content_encoder!r}, but this version "
                f"of Timbre has {CONTENT_ENCODER_NAME!r}: train the voice again here, or use the version "
                "that made it."
            )
        return LiteEngine(
            load_encoder(), load_synthesizer(folder / "model.safetensors"), card.tone_db, card.f0
        )
