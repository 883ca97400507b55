"""Synthesizer of the built-in engine: content, pitch and level of every 10 ms -> 24 kHz audio in one voice.

Source and filter in the short-time Fourier domain. The source is exact: a band-limited pulse train that
follows F0 (closed-form Dirichlet kernel) and white noise. A ConvNeXt backbone predicts, for every half frame
(5 ms), the filter of each: log-magnitude and phase for the pulses, log-magnitude for the noise; the inverse
transform overlap-adds. Pitch is therefore what F0 says by construction, and an unvoiced frame has no pulses
that could buzz.

Shapes:  T frames of 10 ms; hop 240 samples; STFT window 512 samples, hop 120; frame i starts at sample
         240 * i.
Sources: source-filter with neural filters after Wang et al. 2019 (NSF); inverse-STFT head after Kaneko et al.
         2022 (iSTFTNet) and Siuzdak 2023 (Vocos).

What excites the synthesizer: phase that runs through a whole recording (its noise: rvc/noise.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rvc.lite.blocks import ConvNeXtBlock

HALVES = 2  # filters per 10 ms frame


@dataclass(frozen=True, kw_only=True)
class SynthesizerConfig:
    """Sizes of one synthesizer. Fixed by training; stored with the weights."""

    sample_rate_hz: int = 24_000
    fft_samples: int = 512
    content_dim: int = 96
    channels: int = 256
    blocks: int = 6
    kernel_frames: int = 7
    expansion: int = 2
    voice_dim: int = 64
    voices: int = 1

    @property
    def frame_samples(self) -> int:
        """Audio samples per 10 ms frame."""
        return self.sample_rate_hz // 100

    @property
    def hop_samples(self) -> int:
        """Audio samples between filters."""
        return self.frame_samples // HALVES

    @property
    def bins(self) -> int:
        """Frequencies of one filter."""
        return self.fft_samples // 2 + 1

    @property
    def context_frames(self) -> int:
        """Frames on either side beyond which nothing changes a sample."""
        return self.blocks * (self.kernel_frames // 2) + math.ceil(self.fft_samples / self.frame_samples) + 1


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What is to be said, every 10 ms.

    Attributes:
        content: Content vectors, (B, T, content_dim).
        f0_hz: Continuous through unvoiced frames, (B, T).
        voiced: 0..1, (B, T).
        level: Natural logarithm of RMS, (B, T).
    """

    content: Tensor
    f0_hz: Tensor
    voiced: Tensor
    level: Tensor


def pulse_train(f0_hz: Tensor, phase: Tensor, voiced: Tensor, sample_rate_hz: int) -> Tensor:
    """Band-limited pulses of unit RMS.

    Args:
        f0_hz: Positive everywhere, (B, T).
        phase: Cycles at the start of each frame, float64, (B, T).
        voiced: 0..1, (B, T); scales the pulses, linearly between frames.
        sample_rate_hz: Rate of the result.

    Returns:
        (B, T * sample_rate_hz // 100).
    """
    frame = sample_rate_hz // 100
    after = torch.cat([f0_hz[:, 1:], f0_hz[:, -1:]], 1)
    s = (
        torch.arange(frame, device=f0_hz.device, dtype=torch.float64) / frame
    )  # position inside the frame, 0..1
    f0, step = f0_hz.double()[..., None], (after - f0_hz).double()[..., None]
    cycles = phase[..., None] + 0.01 * (f0 * s + 0.5 * step * s * s)
    harmonics = torch.floor(0.485 * sample_rate_hz / (f0 + step * s))
    angle = (2 * math.pi * (cycles - cycles.round())).float()
    half = torch.sin(angle / 2)
    near_zero = half.abs() < 1e-5
    count = harmonics.float()
    kernel = torch.sin((count + 0.5) * angle) / torch.where(near_zero, torch.ones_like(half), half)
    kernel = torch.where(near_zero, 2 * count + 1, kernel)
    pulses = (kernel - 1) * 0.5 * torch.sqrt(2 / count)
    voiced_after = torch.cat([voiced[:, 1:], voiced[:, -1:]], 1)
    gate = voiced[..., None] + (voiced_after - voiced)[..., None] * s.float()
    return (pulses * gate).flatten(1)


class Synthesizer(nn.Module):
    """Content, F0, voicing and level -> audio."""

    window: Tensor

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.fft_samples), persistent=False)
        self.voice = nn.Embedding(config.voices, config.voice_dim)
        nn.init.normal_(self.voice.weight, std=0.3)
        self.input = nn.Linear(config.content_dim + 3, config.channels)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.channels, config.kernel_frames, config.expansion, config.voice_dim)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.head = nn.Linear(config.channels, HALVES * 3 * config.bins)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def filters(self, frames: Frames, voice: Tensor) -> Tensor:
        """Predict the filters of every half frame.

        Args:
            frames: T frames.
            voice: Number of the voice, (B,).

        Returns:
            Log-magnitude for the pulses, phase for the pulses (in half turns), log-magnitude for the noise,
            stacked: (B, 3, 2 * T, bins).
        """
        pitch, level = (frames.f0_hz.log() - 5.1) * 2, (frames.level + 4) / 2
        contours = torch.stack([pitch, frames.voiced, level], -1)
        x = self.input(torch.cat([frames.content, contours], -1))
        condition = self.voice(voice)[:, None]
        for block in self.blocks:
            x = block(x, condition)
        y = self.head(self.norm(x)).float()
        return y.reshape(y.shape[0], y.shape[1] * HALVES, 3, self.config.bins).transpose(1, 2)

    def forward(self, frames: Frames, voice: Tensor, source: tuple[Tensor, Tensor]) -> Tensor:
        """Synthesize.

        Args:
            frames: T frames.
            voice: Number of the voice, (B,).
            source: Pulse train and white noise of unit RMS, each (B, T * 240).

        Returns:
            Audio, (B, T * 240). The outermost 512 samples lack overlap unless the caller adds context.
        """
        magnitude, phase, noise = self.filters(frames, voice).unbind(1)
        pulses, hiss = (self._transform(signal) for signal in source)
        envelope = (magnitude.clamp(-9, 4) - 3).exp()
        spectrum = pulses * torch.polar(envelope, math.pi * phase) + hiss * (noise.clamp(-9, 4) - 3).exp()
        spectrum = torch.cat([spectrum, spectrum[:, -1:]], 1).transpose(1, 2)
        return torch.istft(
            spectrum,
            self.config.fft_samples,
            self.config.hop_samples,
            window=self.window,
            length=source[0].shape[1],
        )

    def _transform(self, signal: Tensor) -> Tensor:
        """Short-time spectrum, (B, N) -> (B, N // 120, bins)."""
        spectrum = torch.stft(
            signal, self.config.fft_samples, self.config.hop_samples, window=self.window,
            pad_mode="constant", return_complex=True,
        )  # fmt: skip
        return spectrum[..., : signal.shape[1] // self.config.hop_samples].transpose(1, 2)


def frame_phase(f0_hz: Tensor) -> Tensor:
    """Cycles passed at the start of each frame, F0 linear between frames; (B, T) -> float64, (B, T)."""
    after = torch.cat([f0_hz[:, 1:], f0_hz[:, -1:]], 1)
    step = 0.005 * (f0_hz.double() + after.double())
    return step.cumsum(1) - step
