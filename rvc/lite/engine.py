"""The built-in engine at work: one loaded voice, from 16 kHz source audio to 24 kHz audio in that voice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from rvc.audio.level import frame_rms, loud_of
from rvc.audio.loudness import Contour, FrameLoudness, Gain
from rvc.engine.card import VoiceCard
from rvc.engine.interface import LocalEngine, Source
from rvc.engine.options import LITE_DEFAULTS
from rvc.errors import CheckpointError
from rvc.lite.encoder import ContentEncoder
from rvc.lite.synthesizer import Frames, Synthesizer, pulse_train
from rvc.lite.tone import retoned
from rvc.lite.weights import CONTENT_ENCODER_NAME, load_encoder, load_synthesizer
from rvc.noise import placed_noise


class LiteEngine(LocalEngine):
    """Encoder and synthesizer of one voice as `rvc.engine.interface.Engine`.

    Attributes:
        sample_rate_hz: Rate of what `speak` gives.
        content_dim: Length of a content vector.
        context_frames: Frames on either side of a chunk after which its samples no longer depend on what
            lies beyond; even, since the encoder takes frames in pairs and a chunk must begin on a pair.
        tone_db: The tone in which recordings are heard (see `tone.py`), shape (20,); None is their own.
    """

    def __init__(
        self, encoder: ContentEncoder, synthesizer: Synthesizer, tone_db: Sequence[float] | None = None
    ) -> None:
        self.encoder = encoder.eval()
        self.synthesizer = synthesizer.eval()
        self.tone_db = None if tone_db is None else np.array(tone_db)
        self.sample_rate_hz = synthesizer.config.sample_rate_hz
        self.content_dim = synthesizer.config.content_dim
        self.context_frames = (encoder.config.context_frames + synthesizer.config.context_frames + 1) // 2 * 2

    def source(self, heard16k: NDArray[np.float32], f0_hz: NDArray[np.float64]) -> Source:
        """Hear the recording in the tone of the voice's own; its F0 was found before, in its own tone."""
        if self.tone_db is not None:
            heard16k = self.hear(retoned(heard16k, self.tone_db))
        return super().source(heard16k, f0_hz)

    @torch.inference_mode()
    def encode(self, wav16k: NDArray[np.float32]) -> NDArray[np.float32]:
        """Content of level-normalised audio at 16 kHz: (N,) -> (N // 160 + 1, content_dim)."""
        return self.encoder(torch.from_numpy(wav16k)[None])[0].numpy()

    @torch.inference_mode()
    def utter(self, content: NDArray[np.float32], source: Source, first_frame: int) -> NDArray[np.float32]:
        """Speak frames of a recording; see `LocalEngine`."""
        part = slice(first_frame, first_frame + len(content))
        rows = {"content": content, "f0_hz": source.f0_hz, "voiced": source.voiced, "level": source.level}
        rows |= {name: row[part] for name, row in rows.items() if name != "content"}
        frames = Frames(
            **{
                name: torch.from_numpy(np.ascontiguousarray(row, dtype=np.float32))[None]
                for name, row in rows.items()
            }
        )
        # Content is normalised; a mean of several rows of the retrieval index no longer is.
        frames = replace(frames, content=F.layer_norm(frames.content, (self.content_dim,)))
        cycles = torch.from_numpy(np.ascontiguousarray(source.phase[part], dtype=np.float64))[None]
        pulses = pulse_train(frames.f0_hz, cycles, frames.voiced, self.sample_rate_hz)
        noise = placed_noise(first_frame, len(content), self.synthesizer.config.frame_samples)
        return self.synthesizer(frames, torch.zeros(1, dtype=torch.long), (pulses, noise))[0].numpy()

    def loudness(
        self, source: Source, source_rms: Contour, spoken: FrameLoudness, follow_loudness: float
    ) -> Gain:
        """Follow the recording as it was heard: an s that only its own tone makes sharp shall not be loud."""
        heard = np.append(frame_rms(source.wav16k), 0.0)[: source_rms.size]
        if self.tone_db is not None and (loud := loud_of(heard)) > 0.0:
            source_rms = np.where(source_rms > 0.0, heard * (loud_of(source_rms) / loud), 0.0)
        return super().loudness(source, source_rms, spoken, follow_loudness)


class LiteLoader:
    """Loads voices of the built-in engine; see `EngineLoader`."""

    defaults = LITE_DEFAULTS

    def weights(self, card: VoiceCard) -> Sequence[str]:
        """Name nothing: its content encoder ships with it."""
        return ()

    def __call__(self, folder: Path, card: VoiceCard, device: str, weights: Mapping[str, Path]) -> LiteEngine:
        """Load a voice, always for the CPU: it is made for it, and need not wait for the device.

        Raises:
            CheckpointError: The weights cannot be read, or the voice was trained on other content than
                ships here.
        """
        if card.content_encoder != CONTENT_ENCODER_NAME:
            raise CheckpointError(
                f"This voice was trained on the content encoder {card.content_encoder!r}, but this version "
                f"of Timbre has {CONTENT_ENCODER_NAME!r}: train the voice again here, or use the version "
                "that made it."
            )
        return LiteEngine(load_encoder(), load_synthesizer(folder / "model.safetensors"), card.tone_db)
