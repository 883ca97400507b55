"""RVC's engine at work: one loaded voice of the kind that people share, from 16 kHz to the voice's rate.

Classic:  where RVC's programs differ, the older behaviour is kept, with which shared voices were made: F0
          stays 0 in unvoiced frames, so that the source is noise there and `protect` works.
Lossless: RVC's pieces end a frame or two early, and begin the source anew; here neither is so.
          `lossless=False` and `noise=` keep RVC's ways, for golden tests of equality with upstream.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import butter, filtfilt

from rvc.audio.level import FRAMES_PER_S, HOP_16K, RATE_16K_HZ, frame_rms, level_contour
from rvc.audio.loudness import MAX_CORRECTION, Contour, EnvelopeMix, FrameLoudness, Gain, slow_envelope
from rvc.engine.card import VoiceCard
from rvc.engine.interface import Piece, Source, frames_covering, placed_noise
from rvc.engine.options import RVC_DEFAULTS
from rvc.errors import CheckpointError
from rvc.pitch.f0 import coarse_bins
from rvc.vits.content_encoder import (
    BASE,
    FRAMES_PER_CONTENT,
    HOP_SAMPLES,
    WINDOW_SAMPLES,
    ContentVec,
    HubertSizes,
)
from rvc.vits.synthesizer import Noise, NoiseSource, VitsFrames, VitsSynthesizer, supports_fp16
from rvc.vits.voice_model import CONTENT_ENCODER, load_voice_file

Wave = NDArray[np.float32]
CEILING = 0.95
HIGH_PASS_HZ, HIGH_PASS_ORDER = 48.0, 5
_EDGE_SAMPLES = 18  # scipy's own choice for this order
# The filter forgets to a hundredth in 50 ms; after 2 s nothing is left that a double can hold.
_BLOCK_SAMPLES, _SETTLED_SAMPLES = 60 * RATE_16K_HZ, 2 * RATE_16K_HZ
PAD_FRAMES = 100  # of context at either end of each piece; at the recording's ends they are mirrored
# RVC's: as its transformers attend to all of a piece, a recording of more than MAX_S is cut, where it is
# quietest within QUERY_S of each multiple of CENTER_S. Other lengths of pieces scale all three.
CENTER_S, QUERY_S, MAX_S = 38.0, 6.0, 41.0
UNPROTECTED = 0.5  # from here on nothing is protected


def high_passed(wav16k: Wave) -> Wave:
    """Take out what lies below 48 Hz, without delay, and what exceeds a peak of 0.95 by a gain for all.

    In blocks, because the filter needs double precision; they overlap, so that they give what all would.
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


def cut_points(wav16k: Wave, chunk_s: float) -> list[int]:
    """Find where a recording without padding is quiet for 10 ms, about every `chunk_s`; ascending samples."""
    share = chunk_s / CENTER_S
    center, query, most = (
        round(RATE_16K_HZ * seconds) for seconds in (chunk_s, QUERY_S * share, MAX_S * share)
    )
    if wav16k.size + HOP_16K <= most:
        return []
    padded = np.pad(wav16k, HOP_16K // 2, mode="reflect")
    cuts = []
    for place in range(center, wav16k.size, center):
        around = np.abs(padded[place - query : place + query + HOP_16K - 1].astype(np.float64))
        sums = np.concatenate(([0.0], np.cumsum(around)))
        loudness = sums[HOP_16K:] - sums[:-HOP_16K]
        cuts.append(place - query + int(loudness[: wav16k.size - place + query].argmin()))
    return cuts


class RvcEngine:
    """A content encoder and a synthesizer made for inference; see `rvc.engine.interface.Engine`."""

    defaults = RVC_DEFAULTS
    reuses_content = False
    tone_db: NDArray[np.float64] | None = None

    def __init__(
        self,
        encoder: ContentVec,
        synthesizer: VitsSynthesizer,
        device: str = "cpu",
        *,
        lossless: bool = True,
        noise: NoiseSource = placed_noise,
    ) -> None:
        self.encoder = encoder.to(device)
        self.synthesizer = synthesizer.to(device)
        self.config = synthesizer.config
        given = encoder.content_dim(self.config.version)
        if given != self.config.content_dim:
            raise CheckpointError(
                f"The content encoder gives vectors of {given} numbers and a {self.config.version} voice "
                f"takes {self.config.content_dim}; use the weights that are published for RVC."
            )
        self.sample_rate_hz, self.content_dim = self.config.sample_rate_hz, self.config.content_dim
        self.uses_f0 = self.config.uses_f0
        self._device = torch.device(device)
        self._lossless, self._noise = lossless, noise

    def preprocess(self, wav16k: Wave) -> Wave:
        """Filter a recording and mirror its ends."""
        padding = PAD_FRAMES * HOP_16K
        if not wav16k.size:
            return np.zeros(2 * padding, np.float32)
        return np.pad(high_passed(wav16k), padding, mode="reflect")

    def source(self, heard16k: Wave, f0_hz: NDArray[np.float64]) -> Source:
        return replace(self.contours(heard16k, f0_hz), pad_frames=PAD_FRAMES)

    def contours(self, heard16k: Wave, f0_hz: NDArray[np.float64]) -> Source:
        """Keep F0 as it is, in steps."""
        passed = np.cumsum(f0_hz.astype(np.float32).astype(np.float64)) / FRAMES_PER_S
        return Source(
            wav16k=heard16k,
            f0_hz=f0_hz,
            voiced=(f0_hz > 0).astype(np.float32),
            level=level_contour(heard16k, frames_covering(heard16k, f0_hz)),
            phase=np.append(0.0, passed[:-1]) % 1.0,
        )

    def pieces(self, source: Source, chunk_s: float) -> list[Piece]:
        """Cut where it is quiet."""
        pad = source.pad_frames
        cuts = [cut // HOP_16K for cut in cut_points(_unpadded(source), chunk_s)]
        if not self._lossless:
            return _short_pieces(source, cuts)
        borders = [pad, *(pad + cut for cut in cuts), source.frames - pad]
        return [
            Piece(start=start, stop=stop, first=start - pad, last=stop + pad)
            for start, stop in pairwise(borders)
        ]

    def content(self, source: Source, piece: Piece, since: int) -> Wave:
        """Encode a whole piece, each vector twice."""
        frames = piece.last - since
        vectors = -(-frames // FRAMES_PER_CONTENT)
        samples = piece.heard_samples or (vectors - 1) * HOP_SAMPLES + WINDOW_SAMPLES
        heard = torch.from_numpy(source.wav16k[since * HOP_16K : since * HOP_16K + samples])[None]
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.float16, enabled=supports_fp16(self._device)),
        ):
            encoded = self.encoder(heard.to(self._device), self.config.version)
        content = encoded[0].float().cpu().numpy()
        # At the recording's very end, in what is mirrored, the last vector serves for a frame more.
        missing = max(vectors - len(content), 0)
        content = np.pad(content, ((0, missing), (0, 0)), mode="edge")
        return content.repeat(FRAMES_PER_CONTENT, axis=0)[:frames]

    def retrieval_weights(self, voiced: Wave, index_rate: float, protect: float) -> Wave:
        """Give unvoiced frames `protect` times the share of voiced ones, but all of it from 0.5 on."""
        if protect >= UNPROTECTED or not self.uses_f0:
            return np.full(voiced.shape, index_rate, np.float32)
        return (index_rate * np.where(voiced > 0, 1.0, protect)).astype(np.float32)

    def speak(self, content: Wave, source: Source, piece: Piece) -> Generator[float, None, Wave]:
        """Speak a piece, passage by passage."""
        f0_hz, device = source.f0_hz[piece.first : piece.last], self._device
        frames = VitsFrames.of_one_speaker(
            self.config,
            torch.from_numpy(content)[None].to(device),
            torch.tensor([len(content)], device=device),
            torch.from_numpy(coarse_bins(f0_hz))[None].to(device),
            torch.from_numpy(f0_hz.astype(np.float32))[None].to(device),
        )
        place = source.place + piece.first
        noise = Noise.placed(self.config, place, len(content), device, self._noise)
        phase = source.phase[piece.first] if self._lossless else 0.0  # other programs begin each piece anew
        noise = replace(noise, first_phase=torch.tensor([phase], device=device))
        spoken = (piece.start - piece.first, piece.stop - piece.first)
        samples = (piece.stop - piece.start) * self.config.hop_samples
        yield 0.0
        passages: list[Wave] = []
        for passage in self.synthesizer.speak(frames, noise, spoken):
            passages.append(passage.cpu().numpy())
            yield sum(map(len, passages)) / samples
        return np.concatenate(passages)

    def most_correction(self, source: Source) -> float:
        return MAX_CORRECTION

    def loudness(
        self, source: Source, source_rms: Contour, spoken: FrameLoudness, follow_loudness: float
    ) -> Gain:
        """Mix the envelopes of what was heard and what was spoken; see `EnvelopeMix`."""
        own = _unpadded(source)
        hop = self.sample_rate_hz // FRAMES_PER_S
        envelope = slow_envelope(frame_rms(own), own.size / HOP_16K)
        samples = min(round(own.size / HOP_16K * hop), spoken.rms.size * hop)
        return EnvelopeMix.of(envelope, spoken, follow_loudness, hop, max(samples, 1))


def _unpadded(source: Source) -> Wave:
    padding = source.pad_frames * HOP_16K
    return source.wav16k[padding : source.wav16k.size - padding]


def _short_pieces(source: Source, cuts: list[int]) -> list[Piece]:
    """Cut as RVC does, where content ends a little before the piece."""
    pad, size = source.pad_frames, source.wav16k.size
    pieces = []
    for first, cut in zip([0, *cuts], [*cuts, None], strict=True):
        end = size if cut is None else (cut + 2 * pad + 1) * HOP_16K
        samples = min(end, size) - first * HOP_16K
        encoded = FRAMES_PER_CONTENT * max((samples - WINDOW_SAMPLES) // HOP_SAMPLES + 1, 0)
        last = first + min(samples // HOP_16K, encoded)
        pieces.append(
            Piece(start=first + pad, stop=last - pad, first=first, last=last, heard_samples=samples)
        )
    return pieces


class RvcLoader:
    """Loads RVC's voices; see `EngineLoader`. `sizes` are those of the content encoder's weights."""

    defaults = RVC_DEFAULTS

    def __init__(self, sizes: HubertSizes = BASE) -> None:
        self._sizes = sizes

    def weights(self, card: VoiceCard) -> Sequence[str]:
        if card.content_encoder != CONTENT_ENCODER:
            raise CheckpointError(
                f"{card.name} was trained with the content encoder {card.content_encoder!r}, and voices of "
                f"the engine rvc are heard here by {CONTENT_ENCODER} only; train it again with one of these."
            )
        return (CONTENT_ENCODER,)

    def __call__(self, folder: Path, card: VoiceCard, device: str, weights: Mapping[str, Path]) -> RvcEngine:
        (name,) = self.weights(card)
        path = weights.get(name)
        if path is None:
            raise CheckpointError(
                f"{card.name} needs the weights of {card.content_encoder}, which were not given; "
                "fetch them before the voice is loaded."
            )
        model = load_voice_file(folder / "model.safetensors")
        synthesizer = VitsSynthesizer.for_inference(model.config, model.weights)
        encoder = _encoder(path, path.stat().st_mtime_ns, self._sizes)
        return RvcEngine(encoder, synthesizer, device)


@lru_cache(maxsize=1)
def _encoder(path: Path, mtime_ns: int, sizes: HubertSizes) -> ContentVec:
    """Load the encoder, or share the one that another voice uses; the time is part of the key only."""
    return ContentVec.load(path, sizes)
