"""RVC's engine at work: one loaded voice of the kind that people share, from 16 kHz to the voice's rate.

Shapes:  T = frames of 10 ms, C = content channels, N = samples.
Classic: where RVC's programs differ, the older behaviour is kept, with which shared voices were made: F0
         stays 0 in unvoiced frames, so that the source is noise there and `protect` works.
Noise:   of latent and source, drawn by place, so that a conversion can be repeated.
Phase:   of the source runs through the whole recording; a piece goes on where the one before it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.card import VoiceCard
from rvc.content_encoder import ContentVec, HubertSizes
from rvc.engine import Piece, Source, frames_covering
from rvc.errors import CheckpointError
from rvc.f0 import FRAMES_PER_S
from rvc.f0_bins import coarse_bins
from rvc.half_precision import halves
from rvc.level import HOP_16K, frame_rms, level_contour
from rvc.loudness import Contour, EnvelopeMix, FrameLoudness, Gain, slow_envelope
from rvc.noise import placed_noise
from rvc.rvc_framing import ENCODER_HOP, ENCODER_WINDOW, Framing, heard
from rvc.speak_options import RVC_DEFAULTS
from rvc.synthesizer import Frames, Noise, Synthesizer
from rvc.voice_file import load_voice_file

CONTENT_ENCODERS = {"contentvec": "contentvec"}
"""What cards call a content encoder -> the published weights that it is."""

FRAMES_PER_CONTENT = 2
UNPROTECTED = 0.5
"""From here on nothing is protected."""

LATENT_NOISE, SOURCE_NOISE = 1, 2
SPEAKER = 0

Wave = NDArray[np.float32]
NoiseSource = Callable[[int, int, int, int], Tensor]
"""First frame, frames, numbers per frame, stream -> (1, frames * numbers); `placed_noise` or its like."""


class RvcEngine:
    """A content encoder and a synthesizer; see `rvc.engine.Engine`.

    Args:
        encoder: Hears what is said.
        synthesizer: Made for inference.
        device: Where both compute; on a GPU that is fast at it in half precision, but for what is
            heard of it.
        framing: How recordings are cut.
        noise: Where noise comes from.

    Raises:
        CheckpointError: The encoder gives other content than the voice was trained with.
    """

    defaults = RVC_DEFAULTS
    reuses_content = False

    def __init__(
        self,
        encoder: ContentVec,
        synthesizer: Synthesizer,
        device: str = "cpu",
        framing: Framing | None = None,
        noise: NoiseSource = placed_noise,
    ) -> None:
        self.encoder = encoder.to(device)
        self.synthesizer = synthesizer.to(device)
        self.framing = framing or Framing()
        self.config = synthesizer.config
        given = encoder.content_dim(self.config.version)
        if given != self.config.content_dim:
            raise CheckpointError(
                f"The content encoder gives vectors of {given} numbers and a {self.config.version} voice "
                f"takes {self.config.content_dim}; use the weights that are published for RVC."
            )
        self.sample_rate_hz = self.config.sample_rate_hz
        self.content_dim = self.config.content_dim
        self.uses_f0 = self.config.uses_f0
        self._device = torch.device(device)
        self._noise = noise

    def hear(self, wav16k: Wave) -> Wave:
        """Filter a recording and mirror its ends; see `heard`."""
        return heard(wav16k, self.framing.pad_frames)

    def source(self, heard16k: Wave, f0_hz: NDArray[np.float64]) -> Source:
        """Keep F0 as it is, in steps; see `Engine`."""
        frames = frames_covering(heard16k, f0_hz)
        passed = np.cumsum(f0_hz.astype(np.float32).astype(np.float64)) / FRAMES_PER_S
        return Source(
            wav16k=heard16k,
            f0_hz=f0_hz,
            voiced=(f0_hz > 0).astype(np.float32),
            level=level_contour(heard16k, frames),
            phase=np.append(0.0, passed[:-1]) % 1.0,
            pad_frames=self.framing.pad_frames,
        )

    def pieces(self, source: Source, chunk_s: float) -> list[Piece]:
        """Cut where it is quiet; see `Framing`."""
        return self.framing.scaled_to(chunk_s).pieces(source)

    def content(self, source: Source, piece: Piece, since: int) -> NDArray[np.float32]:
        """Encode a whole piece, each vector twice; see `Engine`."""
        frames = piece.last - since
        vectors = -(-frames // FRAMES_PER_CONTENT)
        samples = piece.heard_samples or (vectors - 1) * ENCODER_HOP + ENCODER_WINDOW
        content = self._encoded(source.wav16k[since * HOP_16K : since * HOP_16K + samples])
        # At the recording's very end, in what is mirrored, the last vector serves for a frame more.
        missing = max(vectors - len(content), 0)
        content = np.pad(content, ((0, missing), (0, 0)), mode="edge")
        return content.repeat(FRAMES_PER_CONTENT, axis=0)[:frames]

    def shares(self, voiced: NDArray[np.float32], index_rate: float, protect: float) -> NDArray[np.float32]:
        """Give unvoiced frames `protect` times the share of voiced ones, but all of it from 0.5 on."""
        if protect >= UNPROTECTED or not self.uses_f0:
            return np.full(voiced.shape, index_rate, np.float32)
        return (index_rate * np.where(voiced > 0, 1.0, protect)).astype(np.float32)

    def speak(
        self, content: NDArray[np.float32], source: Source, piece: Piece
    ) -> Generator[float, None, NDArray[np.float32]]:
        """Speak a piece; see `Engine`."""
        frames = self._frames(content, source.f0_hz[piece.first : piece.last])
        noise = self._placed(piece.first, len(content), source.phase[piece.first])
        spoken = (piece.start - piece.first, piece.stop - piece.first)
        samples = (spoken[1] - spoken[0]) * self.config.hop_samples
        yield 0.0
        passages: list[NDArray[np.float32]] = []
        done = 0
        for passage in self.synthesizer.speak(frames, noise, spoken):
            passages.append(passage.cpu().numpy())
            done += passage.shape[0]
            yield done / samples
        return np.concatenate(passages)

    def loudness(
        self, source: Source, source_rms: Contour, spoken: FrameLoudness, follow_loudness: float
    ) -> Gain:
        """Mix the envelopes of what was heard and what was spoken; see `EnvelopeMix`."""
        padding = source.pad_frames * HOP_16K
        own = source.wav16k[padding : source.wav16k.size - padding]
        hop = self.sample_rate_hz // FRAMES_PER_S
        envelope = slow_envelope(frame_rms(own), own.size / HOP_16K)
        samples = min(round(own.size / HOP_16K * hop), spoken.rms.size * hop)
        return EnvelopeMix.of(envelope, spoken, follow_loudness, hop, max(samples, 1))

    def _half(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.float16, enabled=halves(self._device))

    @torch.inference_mode()
    def _encoded(self, wav16k: Wave) -> NDArray[np.float32]:
        with self._half():
            content = self.encoder(torch.from_numpy(wav16k)[None].to(self._device), self.config.version)
        return content[0].float().cpu().numpy()

    def _frames(self, content: NDArray[np.float32], f0_hz: NDArray[np.floating[Any]]) -> Frames:
        pitch = torch.from_numpy(coarse_bins(f0_hz))[None].to(self._device)
        follows = self.uses_f0
        return Frames(
            content=torch.from_numpy(content)[None].to(self._device),
            lengths=torch.tensor([len(content)], device=self._device),
            speaker=torch.tensor([SPEAKER], device=self._device),
            pitch=pitch if follows else None,
            f0_hz=torch.from_numpy(f0_hz.astype(np.float32))[None].to(self._device) if follows else None,
        )

    def _placed(self, first_frame: int, frames: int, phase: float) -> Noise:
        channels, hop = self.config.latent_channels, self.config.hop_samples
        latent = self._noise(first_frame, frames, channels, LATENT_NOISE).reshape(1, frames, channels)
        source = self._noise(first_frame, frames, hop, SOURCE_NOISE)[:, None] if self.uses_f0 else None
        return Noise(
            latent=latent.transpose(1, 2).to(self._device),
            source=None if source is None else source.to(self._device),
            # Other programs begin each piece anew.
            first_phase=torch.tensor([phase if self.framing.lossless else 0.0], device=self._device),
        )


class RvcLoader:
    """Loads RVC's voices; see `EngineLoader`.

    Args:
        sizes: Those of the content encoder's weights; by default the published ones.
    """

    defaults = RVC_DEFAULTS

    def __init__(self, sizes: HubertSizes | None = None) -> None:
        self._sizes = sizes or HubertSizes()

    def weights(self, card: VoiceCard) -> Sequence[str]:
        """Name the content encoder's weights; see `EngineLoader`."""
        return (_encoder_weights(card),)

    def __call__(self, folder: Path, card: VoiceCard, device: str, weights: Mapping[str, Path]) -> RvcEngine:
        """Load a voice; see `EngineLoader`."""
        path = weights.get(_encoder_weights(card))
        if path is None:
            raise CheckpointError(
                f"{card.name} needs the weights of {card.content_encoder}, which were not given; "
                "fetch them before the voice is loaded."
            )
        model = load_voice_file(folder / "model.safetensors")
        synthesizer = Synthesizer.for_inference(model.config, model.weights)
        encoder = _encoder(path, path.stat().st_mtime_ns, self._sizes)
        return RvcEngine(encoder, synthesizer, device)


def _encoder_weights(card: VoiceCard) -> str:
    if card.content_encoder not in CONTENT_ENCODERS:
        known = ", ".join(CONTENT_ENCODERS)
        raise CheckpointError(
            f"{card.name} was trained with the content encoder {card.content_encoder!r}, and voices of the "
            f"engine rvc are heard here by {known} only; train it again with one of these."
        )
    return CONTENT_ENCODERS[card.content_encoder]


@lru_cache(maxsize=1)
def _encoder(path: Path, mtime_ns: int, sizes: HubertSizes) -> ContentVec:
    """Load the encoder, or share the one that another voice uses; the time is part of the key only."""
    return ContentVec.load(path, sizes)
