"""Slices of recordings -> what RVC's training wants to know of each, and batches of them.

Shapes:  F = content vectors (50 per second), T = frames of 10 ms, D = numbers per content vector,
         N = samples.
Source:  RVC's preparation: each slice nearly at one peak, content vectors repeated twice, F0 of 0 where
         unvoiced, linear spectrogram of the whole slice; everything cut to what all of them cover.
Cache:   content and spectrogram are kept in half precision: 290 kB per second of a v2 voice at 40 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.audio.level import RATE_16K_HZ
from rvc.audio.reader import resample
from rvc.pitch.f0 import F0Estimator, coarse_bins
from rvc.training.task import Features
from rvc.vits.content_encoder import ContentVec, HubertSizes
from rvc.vits.spectrogram import SpectrogramConfig, linear_spectrogram

FRAMES_PER_CONTENT = 2
LONGEST_FRAMES = 900
"""Of a longer slice a stretch is taken: more takes memory and teaches no more."""

PEAK, OWN_SHARE = 0.675, 0.25
"""A slice becomes this peak, and a quarter of itself is added: loud ones stay a little louder."""


class Listener:
    """Takes features from slices.

    Args:
        encoder: File of the content encoder's weights; read when first needed.
        sizes: Those of that encoder.
        version: Of the voice.
        spectrogram: What the posterior encoder sees.
        estimator: Who finds the melody.
        device: Where the encoder computes.
    """

    def __init__(  # noqa: PLR0913 -- the parts of listening, each named
        self,
        encoder: Path,
        sizes: HubertSizes,
        version: str,
        spectrogram: SpectrogramConfig,
        estimator: F0Estimator,
        device: torch.device,
    ) -> None:
        self._file, self._sizes, self._version = encoder, sizes, version
        self._spectrogram, self._estimator, self._device = spectrogram, estimator, device
        self._encoder: ContentVec | None = None

    @torch.no_grad()
    def extract(self, wav: NDArray[np.float32], rate_hz: int) -> dict[str, Tensor]:
        """Take the features of one slice.

        Args:
            wav: Shape (N,).
            rate_hz: Its rate.

        Returns:
            content (F, D) and spectrogram (bins, T), half; f0_hz (T,) and audio (T * hop,), float32; pitch
            (T,), bins in a byte. T is 2 F or less.

        Raises:
            CheckpointError: The encoder's weights cannot be read.
        """
        wav = levelled(wav)
        wav16k = resample(wav, rate_hz, RATE_16K_HZ)
        audio = torch.from_numpy(resample(wav, rate_hz, self._spectrogram.sample_rate_hz))
        magnitudes = linear_spectrogram(audio[None], self._spectrogram)[0]
        content = self._content(wav16k)
        f0_hz = self._estimator(wav16k).astype(np.float32)
        frames = min(FRAMES_PER_CONTENT * len(content), magnitudes.shape[1], len(f0_hz))
        f0_hz = f0_hz[:frames]
        return {
            "content": content[: -(-frames // FRAMES_PER_CONTENT)].half(),
            "f0_hz": torch.from_numpy(f0_hz),
            "pitch": torch.from_numpy(coarse_bins(f0_hz)).to(torch.uint8),
            "spectrogram": magnitudes[:, :frames].half(),
            "audio": audio[: frames * self._spectrogram.hop_samples],
        }

    def release(self) -> None:
        """Free the memory of the encoder; it is read again when it is needed again."""
        self._encoder = None

    def _content(self, wav16k: NDArray[np.float32]) -> Tensor:
        if self._encoder is None:
            self._encoder = ContentVec.load(self._file, self._sizes).to(self._device)
        content: Tensor = self._encoder(torch.from_numpy(wav16k)[None].to(self._device), self._version)
        return content[0].cpu()


def levelled(wav: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a slice nearly to one peak, as published preparations do; silence stays as it is."""
    peak = float(np.abs(wav).max(initial=0.0))
    return (wav * np.float32(PEAK / peak + OWN_SHARE)).astype(np.float32) if peak > 0.0 else wav


def batch_of(items: Sequence[Features], generator: torch.Generator, hop_samples: int) -> dict[str, Tensor]:
    """Put whole slices side by side, padded with zeros at their ends.

    Args:
        items: Features of B slices.
        generator: Chooses the stretch of a slice that is too long.
        hop_samples: Samples per frame.

    Returns:
        lengths (B,), content (B, T, D), pitch and f0_hz (B, T), spectrogram (B, bins, T), audio
        (B, 1, T * hop); T is the longest's.
    """
    stretches = [_stretch(item, generator, hop_samples) for item in items]
    lengths = torch.tensor([len(item["f0_hz"]) for item in stretches])
    longest = int(lengths.max())
    sizes = {"audio": longest * hop_samples}
    rows = {}
    for name in stretches[0]:
        # Time is the last dimension but for content.
        parts = [item[name].movedim(0, -1) if name == "content" else item[name] for item in stretches]
        rows[name] = torch.stack(
            [torch.nn.functional.pad(part, (0, sizes.get(name, longest) - part.shape[-1])) for part in parts]
        )
    rows["content"] = rows["content"].transpose(1, 2)
    rows["audio"] = rows["audio"][:, None]
    return rows | {"lengths": lengths}


def whole_frames(item: Features) -> Tensor:
    """Give a slice's content vectors frame by frame, float32, (T, D)."""
    return item["content"].float().repeat_interleave(FRAMES_PER_CONTENT, dim=0)[: len(item["f0_hz"])]


def _stretch(item: Features, generator: torch.Generator, hop_samples: int) -> dict[str, Tensor]:
    """Take all of a slice, or a stretch of 9 s from anywhere."""
    frames = len(item["f0_hz"])
    spare = max(frames - LONGEST_FRAMES, 0)
    # Drawn in any case, so that the next slice's draw does not depend on this one's length.
    start = int(torch.randint(spare + 1, (1,), generator=generator))
    stop = min(start + LONGEST_FRAMES, frames)
    return {
        "content": whole_frames(item)[start:stop],
        "pitch": item["pitch"][start:stop],
        "f0_hz": item["f0_hz"][start:stop],
        "spectrogram": item["spectrogram"][:, start:stop],
        "audio": item["audio"][start * hop_samples : stop * hop_samples],
    }
