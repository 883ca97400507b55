"""RVC's engine at work: one loaded voice of the kind that people share, from 16 kHz to the voice's rate.

Shapes:  T = frames of 10 ms, C = content channels, N = samples.
Classic: where RVC's programs differ, the older behaviour is kept, with which shared voices were made: F0
         stays 0 in unvoiced frames, so that the source is noise there and `protect` works.
Noise:   of latent and source, drawn by place, so that a conversion can be repeated.
Phase:   of the source runs through the whole recording; a piece goes on where the one before it ended.

What RVC hears of a recording, and where it may be cut.

Shapes:  N = samples at 16 kHz, T = frames of 10 ms.
Source:  RVC's own: a peak of at most 0.95, a zero-phase high-pass against rumble, the ends mirrored as
         context, and cuts at the quietest place near every 38th second, because its transformers attend to
         all of a piece.
Lossless: RVC's own pieces end a frame or two early, since its content encoder gives fewer frames than
         there are; here each piece is heard a little further. `lossless=False` keeps RVC's ends, for
         results that must equal those of other programs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import butter, filtfilt
from torch import Tensor

from rvc.audio.level import HOP_16K, RATE_16K_HZ, frame_rms, level_contour
from rvc.audio.loudness import Contour, EnvelopeMix, FrameLoudness, Gain, slow_envelope
from rvc.engine.card import VoiceCard
from rvc.engine.interface import Piece, Source, frames_covering
from rvc.engine.options import RVC_DEFAULTS
from rvc.errors import CheckpointError
from rvc.noise import placed_noise
from rvc.pitch.f0 import FRAMES_PER_S, coarse_bins
from rvc.vits.content_encoder import ContentVec, HubertSizes
from rvc.vits.synthesizer import Frames, Noise, Synthesizer
from rvc.vits.voice_model import load_voice_file
from rvc.vits.weight_norm import halves

Wave = NDArray[np.float32]
CEILING = 0.95
HIGH_PASS_HZ, HIGH_PASS_ORDER = 48.0, 5
_EDGE_SAMPLES = 18  # scipy's own choice for this order
_BLOCK_SAMPLES, _SETTLED_SAMPLES = 60 * RATE_16K_HZ, 2 * RATE_16K_HZ
"""The filter forgets to a hundredth in 50 ms; after 2 s nothing is left that a double can hold."""
ENCODER_WINDOW, ENCODER_HOP = 400, 320


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a recording is cut.

    Attributes:
        pad_s: Seconds of context at either end of each piece; at the recording's ends they are mirrored.
        center_s: A cut is looked for around each multiple of it.
        query_s: How far to either side.
        max_s: A recording up to this length is not cut.
        lossless: Whether no frame is lost.
    """

    pad_s: float = 1.0
    center_s: float = 38.0
    query_s: float = 6.0
    max_s: float = 41.0
    lossless: bool = True

    @property
    def pad_frames(self) -> int:
        """Context in frames."""
        return round(100 * self.pad_s)

    def scaled_to(self, center_s: float) -> Framing:
        """Cut more or less often, in the same proportions."""
        if center_s == self.center_s:
            return self
        share = center_s / self.center_s
        return Framing(
            pad_s=self.pad_s,
            center_s=center_s,
            query_s=self.query_s * share,
            max_s=self.max_s * share,
            lossless=self.lossless,
        )

    def pieces(self, source: Source) -> list[Piece]:
        """Cut a recording that `hear` has padded by `pad_frames`."""
        pad = self.pad_frames
        own = source.wav16k[pad * HOP_16K : source.wav16k.size - pad * HOP_16K]
        cuts = [cut // HOP_16K for cut in cut_points(own, self)]
        if not self.lossless:
            return self._short_pieces(source, cuts)
        borders = [pad, *(pad + cut for cut in cuts), source.frames - pad]
        return [
            Piece(start=start, stop=stop, first=start - pad, last=stop + pad)
            for start, stop in itertools.pairwise(borders)
        ]

    def _short_pieces(self, source: Source, cuts: list[int]) -> list[Piece]:
        """Cut as RVC does, where content ends a little before the piece."""
        pad, size = self.pad_frames, source.wav16k.size
        pieces = []
        for first, cut in zip([0, *cuts], [*cuts, None], strict=True):
            end = size if cut is None else (cut + 2 * pad + 1) * HOP_16K
            samples = min(end, size) - first * HOP_16K
            encoded = 2 * max((samples - ENCODER_WINDOW) // ENCODER_HOP + 1, 0)
            last = first + min(samples // HOP_16K, encoded)
            pieces.append(
                Piece(start=first + pad, stop=last - pad, first=first, last=last, heard_samples=samples)
            )
        return pieces


def heard(wav16k: Wave, pad_frames: int) -> Wave:
    """Bring a whole recording into the form that RVC hears.

    Args:
        wav16k: As it was recorded, shape (N,), 16 kHz.
        pad_frames: How many frames are mirrored at either end.

    Returns:
        Shape (N + 320 * pad_frames,).
    """
    padding = pad_frames * HOP_16K
    filtered = high_passed(wav16k)
    if not filtered.size:
        return np.zeros(2 * padding, np.float32)
    return np.pad(filtered, padding, mode="reflect")


def high_passed(wav16k: Wave) -> Wave:
    """Take out what lies below 48 Hz, without delay, and what exceeds a peak of 0.95 by a gain for all.

    In blocks, because the filter needs double precision, with an overlap after which a block gives what the
    whole gives.
    """
    peak = float(np.abs(wav16k).max(initial=0.0))
    gain = min(1.0, CEILING / peak) if peak > 0.0 else 1.0
    b, a = butter(HIGH_PASS_ORDER, HIGH_PASS_HZ, btype="high", fs=RATE_16K_HZ)
    result = np.empty(wav16k.size, np.float32)
    for start in range(0, wav16k.size, _BLOCK_SAMPLES):
        stop = min(start + _BLOCK_SAMPLES, wav16k.size)
        first = max(start - _SETTLED_SAMPLES, 0)
        part = gain * wav16k[first : stop + _SETTLED_SAMPLES].astype(np.float64)
        edge = min(_EDGE_SAMPLES, part.size - 1)
        result[start:stop] = filtfilt(b, a, part, padlen=edge)[start - first : stop - first]
    return result


def cut_points(wav16k: Wave, framing: Framing) -> list[int]:
    """Find where a recording is quiet for 10 ms.

    Args:
        wav16k: The recording without padding, shape (N,), 16 kHz.
        framing: Where to look.

    Returns:
        Samples, ascending; none for a recording that need not be cut.
    """
    half = HOP_16K // 2
    center, query = (round(RATE_16K_HZ * seconds) for seconds in (framing.center_s, framing.query_s))
    if wav16k.size + 2 * half <= round(RATE_16K_HZ * framing.max_s):
        return []
    padded = np.pad(wav16k, half, mode="reflect")
    cuts = []
    for place in range(center, wav16k.size, center):
        around = np.abs(padded[place - query : place + query + HOP_16K - 1].astype(np.float64))
        sums = np.concatenate(([0.0], np.cumsum(around)))
        loudness = sums[HOP_16K:] - sums[:-HOP_16K]
        cuts.append(place - query + int(loudness[: wav16k.size - place + query].argmin()))
    return cuts


CONTENT_ENCODERS = {"contentvec": "contentvec"}
"""What cards call a content encoder -> the published weights that it is."""
FRAMES_PER_CONTENT = 2
UNPROTECTED = 0.5
"""From here on nothing is protected."""
LATENT_NOISE, SOURCE_NOISE = 1, 2
SPEAKER = 0
NoiseSource = Callable[[int, int, int, int], Tensor]
"""First frame, frames, numbers per frame, stream -> (1, frames * numbers); `placed_noise` or its like."""


class RvcEngine:
    """A content encoder and a synthesizer; see `rvc.engine.interface.Engine`.

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
