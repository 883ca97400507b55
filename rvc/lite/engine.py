"""The built-in engine at work: one loaded voice, from 16 kHz source audio to 24 kHz audio in that voice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from rvc.errors import CheckpointError
from rvc.lite.encoder import ContentEncoder
from rvc.lite.source import placed_noise
from rvc.lite.synthesizer import Frames, Synthesizer, pulse_train
from rvc.lite.weights import CONTENT_ENCODER_NAME, load_encoder, load_synthesizer


class LiteEngine:
    """Encoder and synthesizer of one voice behind the interface that conversion uses (`rvc.voice.Engine`).

    Attributes:
        sample_rate_hz: Rate of what `speak` gives.
        content_dim: Length of a content vector.
        context_frames: Frames on either side of a chunk after which its samples no longer depend on what
            lies beyond; even, since the encoder takes frames in pairs and a chunk must begin on a pair.
    """

    def __init__(self, encoder: ContentEncoder, synthesizer: Synthesizer) -> None:
        self.encoder = encoder.eval()
        self.synthesizer = synthesizer.eval()
        self.sample_rate_hz = synthesizer.config.sample_rate_hz
        self.content_dim = synthesizer.config.content_dim
        self.context_frames = (encoder.config.context_frames + synthesizer.config.context_frames + 1) // 2 * 2

    @torch.inference_mode()
    def encode(self, wav16k: NDArray[np.float32]) -> NDArray[np.float32]:
        """Content of level-normalised audio at 16 kHz: (N,) -> (N // 160 + 1, content_dim)."""
        return self.encoder(torch.from_numpy(wav16k)[None])[0].numpy()

    @torch.inference_mode()
    def speak(  # noqa: PLR0913 -- the contours of one chunk, each named
        self,
        content: NDArray[np.float32],
        f0_hz: NDArray[np.float32],
        voiced: NDArray[np.float32],
        level: NDArray[np.float32],
        phase: NDArray[np.float64],
        first_frame: int,
    ) -> NDArray[np.float32]:
        """Speak a chunk in this voice.

        Args:
            content: (T, content_dim).
            f0_hz: Hz, positive through unvoiced frames, (T,).
            voiced: 0..1, (T,).
            level: Natural logarithm of RMS, (T,).
            phase: Cycles passed at the start of each frame since the recording began, (T,).
            first_frame: Place of the chunk in the recording, so that its noise is the same however it is cut.

        Returns:
            Audio, (T * sample_rate_hz // 100,).
        """
        names = ("content", "f0_hz", "voiced", "level")
        rows = (np.ascontiguousarray(row, dtype=np.float32) for row in (content, f0_hz, voiced, level))
        frames = Frames(**{name: torch.from_numpy(row)[None] for name, row in zip(names, rows, strict=True)})
        # Content is normalised; a mean of several rows of the retrieval index no longer is.
        frames = replace(frames, content=F.layer_norm(frames.content, (self.content_dim,)))
        cycles = torch.from_numpy(np.ascontiguousarray(phase, dtype=np.float64))[None]
        pulses = pulse_train(frames.f0_hz, cycles, frames.voiced, self.sample_rate_hz)
        noise = placed_noise(first_frame, len(f0_hz), self.synthesizer.config.frame_samples)
        return self.synthesizer(frames, torch.zeros(1, dtype=torch.long), (pulses, noise))[0].numpy()


def load_engine(folder: Path, content_encoder: str) -> LiteEngine:
    """Load a voice of the built-in engine from its bundle.

    Args:
        folder: Holds `model.safetensors`.
        content_encoder: Name of the content that the voice was trained on, from its card.

    Raises:
        CheckpointError: The weights cannot be read, or the voice was trained on other content than ships
            here.
    """
    if content_encoder != CONTENT_ENCODER_NAME:
        raise CheckpointError(
            f"This voice was trained on the content encoder {content_encoder!r}, but this version "
            f"of Timbre has {CONTENT_ENCODER_NAME!r}: train the voice again here, or use the version that "
            "made it."
        )
    return LiteEngine(load_encoder(), load_synthesizer(folder / "model.safetensors"))
