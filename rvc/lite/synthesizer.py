"""Synthesizer of the built-in engine: content, pitch and level of every 10 ms -> 24 kHz audio in one voice.

Source and filter in the short-time Fourier domain (neural source-filter after Wang et al. 2019, NSF; head
after Kaneko et al. 2022, iSTFTNet, and Siuzdak 2023, Vocos). The source is exact: a band-limited pulse train
that follows F0 and white noise. A ConvNeXt backbone predicts the filters of both for every half frame. Pitch
is therefore what F0 says by construction, and an unvoiced frame has no pulses that could buzz.
T frames of 10 ms; hop 240 samples; STFT window 512 samples, hop 120; frame i starts at sample 240 * i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.lite.encoder import ConvNeXtBlock

HALVES = 2  # filters per 10 ms frame
PULSE_BAND = 0.485  # of the sample rate, up to which the pulses reach
STEADY_HALVES = 9  # over which the filters of a steady frame are averaged: 45 ms


@dataclass(frozen=True, kw_only=True)
class LiteSynthesizerConfig:
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
        return self.sample_rate_hz // 100

    @property
    def hop_samples(self) -> int:
        """Audio samples between filters."""
        return self.frame_samples // HALVES

    @property
    def bins(self) -> int:
        return self.fft_samples // 2 + 1

    @property
    def context_frames(self) -> int:
        """Frames on either side beyond which nothing changes a sample."""
        beside = math.ceil(self.fft_samples / self.frame_samples) + STEADY_HALVES // 2 // HALVES
        return self.blocks * (self.kernel_frames // 2) + beside + 1


@dataclass(frozen=True, kw_only=True)
class LiteFrames:
    """What is to be said, every 10 ms."""

    content: Tensor  # (B, T, content_dim)
    f0_hz: Tensor  # continuous through unvoiced frames, (B, T)
    voiced: Tensor  # 0..1, (B, T)
    level: Tensor  # natural logarithm of RMS, (B, T)


def frame_phase(f0_hz: Tensor) -> Tensor:
    """Cycles passed at the start of each frame, F0 linear between frames; (B, T) -> float64, (B, T)."""
    step = 0.005 * (f0_hz.double() + _next(f0_hz).double())
    return step.cumsum(1) - step


def random_source(
    f0_hz: Tensor, voiced: Tensor, sample_rate_hz: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pulses that begin anywhere in a cycle, and noise: what excites a crop in training."""
    start = torch.rand(len(f0_hz), 1, generator=generator, device=f0_hz.device, dtype=torch.float64)
    pulses = pulse_train(f0_hz, frame_phase(f0_hz) + start, voiced, sample_rate_hz)
    return pulses, torch.randn(pulses.shape, generator=generator, device=f0_hz.device)


def _next(row: Tensor) -> Tensor:
    """What the frame after each has; the last has no other than its own. (B, T)."""
    return torch.cat([row[:, 1:], row[:, -1:]], 1)


def pulse_train(f0_hz: Tensor, phase: Tensor, voiced: Tensor, sample_rate_hz: int) -> Tensor:
    """Band-limited pulses of unit RMS (closed-form Dirichlet kernel), (B, T * samples per frame).

    F0 must be positive everywhere; `phase` is cycles at the start of each frame, float64; `voiced` scales.
    """
    frame = sample_rate_hz // 100
    s = torch.arange(frame, device=f0_hz.device, dtype=torch.float64) / frame  # place in the frame, 0..1
    f0, step = f0_hz.double()[..., None], (_next(f0_hz) - f0_hz).double()[..., None]
    cycles = phase[..., None] + 0.01 * (f0 * s + 0.5 * step * s * s)
    harmonics = torch.floor(PULSE_BAND * sample_rate_hz / (f0 + step * s))
    angle = (2 * math.pi * (cycles - cycles.round())).float()
    half = torch.sin(angle / 2)
    near_zero = half.abs() < 1e-5
    count = harmonics.float()
    kernel = torch.sin((count + 0.5) * angle) / torch.where(near_zero, torch.ones_like(half), half)
    kernel = torch.where(near_zero, 2 * count + 1, kernel)
    pulses = (kernel - 1) * 0.5 * torch.sqrt(2 / count)
    gate = voiced[..., None] + (_next(voiced) - voiced)[..., None] * s.float()
    return (pulses * gate).flatten(1)


def steadied(values: Tensor, steady: Tensor) -> Tensor:
    """Average values of half frames, (B, 2 * T, bins), in the steady frames, (B, T), over those around."""
    weight = steady.repeat_interleave(HALVES, 1)[..., None].to(values.dtype)

    def mean(rows: Tensor) -> Tensor:
        return F.avg_pool1d(rows.transpose(1, 2), STEADY_HALVES, 1, STEADY_HALVES // 2).transpose(1, 2)

    return torch.where(weight > 0, mean(values * weight) / mean(weight).clamp(min=1 / STEADY_HALVES), values)


class LiteSynthesizer(nn.Module):
    """Content, F0, voicing and level -> audio."""

    window: Tensor

    def __init__(self, config: LiteSynthesizerConfig) -> None:
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

    def filters(self, frames: LiteFrames, voice: Tensor) -> Tensor:
        """Log-magnitude and phase (half turns) of pulses, log-magnitude of noise: (B, 3, 2 * T, bins)."""
        pitch, level = (frames.f0_hz.log() - 5.1) * 2, (frames.level + 4) / 2
        contours = torch.stack([pitch, frames.voiced, level], -1)
        x = self.input(torch.cat([frames.content, contours], -1))
        condition = self.voice(voice)[:, None]
        for block in self.blocks:
            x = block(x, condition)
        y = self.head(self.norm(x)).float()
        return y.reshape(y.shape[0], y.shape[1] * HALVES, 3, self.config.bins).transpose(1, 2)

    def forward(
        self,
        frames: LiteFrames,
        voice: Tensor,
        source: tuple[Tensor, Tensor],
        steady: Tensor | None = None,
    ) -> Tensor:
        """Synthesize audio, (B, T * 240), in voices by number, (B,).

        `source` is a pulse train and white noise of unit RMS, each (B, T * 240); `steady`, bool, (B, T), says
        in which frames the filter of the pulses shall not waver. The outermost 512 samples lack overlap
        unless the caller adds context.
        """
        magnitude, phase, noise = self.filters(frames, voice).unbind(1)
        pulses, hiss = (self._transform(signal) for signal in source)
        if steady is not None and steady.any():
            cos, sin = (steadied(part(math.pi * phase), steady) for part in (torch.cos, torch.sin))
            of_steady = steady.repeat_interleave(HALVES, 1)[..., None]
            phase = torch.where(of_steady, torch.atan2(sin, cos) / math.pi, phase)
            magnitude = steadied(magnitude, steady)
        envelope = (magnitude.clamp(-9, 4) - 3).exp()
        spectrum = pulses * torch.polar(envelope, math.pi * phase) + hiss * (noise.clamp(-9, 4) - 3).exp()
        spectrum = torch.cat([spectrum, spectrum[:, -1:]], 1).transpose(1, 2)
        sizes, samples = (self.config.fft_samples, self.config.hop_samples), source[0].shape[1]
        return torch.istft(spectrum, *sizes, window=self.window, length=samples)

    def _transform(self, signal: Tensor) -> Tensor:
        """Short-time spectrum, (B, N) -> (B, N // 120, bins)."""
        sizes = self.config.fft_samples, self.config.hop_samples
        spectrum = torch.stft(signal, *sizes, window=self.window, pad_mode="constant", return_complex=True)
        return spectrum[..., : signal.shape[1] // self.config.hop_samples].transpose(1, 2)
