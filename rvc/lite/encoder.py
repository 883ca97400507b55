"""Content encoder of the built-in engine: what is said, without who says it.

16 kHz audio -> log-mel -> two frames stacked -> ConvNeXt blocks at 50 Hz -> two content vectors a block
frame, so that content comes at 100 Hz while the arithmetic runs at 50. Trained by `rvc.pretrain`.
N samples make T = N // 160 + 1 frames, frame i centred at sample 160 * i, beyond the ends is silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.audio.level import HOP_16K, RATE_16K_HZ

WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
MEL_BANDS = 80
LOW_HZ, HIGH_HZ = 40.0, 7600.0
KNEE_HZ, TOP_HZ = 6000.0, 7900.0  # between them a warped band is bent to stay inside
POWER_FLOOR = 1e-7


def power_spectrum(wav: Tensor) -> Tensor:
    """Short-time power, (B, N) -> (B, T, 257)."""
    window = torch.hann_window(WINDOW_SAMPLES, device=wav.device)
    spectrum = torch.stft(
        wav, FFT_SAMPLES, HOP_16K, WINDOW_SAMPLES, window, pad_mode="constant", return_complex=True
    )
    return torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)


def band_edges_hz() -> Tensor:
    """Where the bands begin, peak and end, (82,): each begins at the peak of the one before it."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    return 700 * (10 ** (torch.linspace(low, high, MEL_BANDS + 2, dtype=torch.float64) / 2595) - 1)


def mel_bank(warp: float = 1.0) -> Tensor:
    """Triangular mel filters of unit sum, (80, 257); `warp` > 1 is for a shorter vocal tract."""
    edges = band_edges_hz() * warp
    if warp > 1:
        bent = KNEE_HZ + (edges - KNEE_HZ) * (TOP_HZ - KNEE_HZ) / max(float(edges[-1]) - KNEE_HZ, 1.0)
        edges = torch.where(edges > KNEE_HZ, torch.minimum(edges, bent), edges)
    hz = torch.linspace(0, RATE_16K_HZ / 2, FFT_SAMPLES // 2 + 1, dtype=torch.float64)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (hz - low) / (centre - low).clamp(min=1e-9)
    falling = (high - hz) / (high - centre).clamp(min=1e-9)
    bank = torch.minimum(rising, falling).clamp(min=0) + 1e-6
    return (bank / bank.sum(1, keepdim=True)).float()


def log_mel(power: Tensor, bank: Tensor) -> Tensor:
    """Natural logarithm of band power: (B, T, 257) and (80, 257) or (B, 80, 257) -> (B, T, 80)."""
    return (power @ bank.transpose(-1, -2) + POWER_FLOOR).log()


class ConvNeXtBlock(nn.Module):
    """The layer that both networks are made of; frames (B, T, C) -> (B, T, C), as rows.

    Liu et al. 2022 in one dimension (Siuzdak's Vocos, 2023). The linear layers, which hold nearly all of the
    arithmetic, run without transposing. A condition, (B, 1, ...), shifts and scales after the norm.
    """

    def __init__(
        self, channels: int, kernel_frames: int, expansion: int, condition_channels: int = 0
    ) -> None:
        super().__init__()
        # A flat image with channels last is these rows as they lie in memory; a CPU runs it many times
        # faster than Conv1d.
        self.depthwise = nn.Conv2d(
            channels, channels, (1, kernel_frames), padding=(0, kernel_frames // 2), groups=channels
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fmt: skip
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, channels * expansion)
        self.narrow = nn.Linear(channels * expansion, channels)
        self.scale = nn.Parameter(0.3 * torch.ones(channels))
        self.condition = nn.Linear(condition_channels, 2 * channels) if condition_channels else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        h = self.depthwise(x.unsqueeze(1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).squeeze(1)
        h = self.norm(h)
        if self.condition is not None:
            scale, shift = self.condition(condition).chunk(2, dim=-1)
            h = h * (1 + scale) + shift
        h = self.narrow(F.gelu(self.widen(h), approximate="tanh"))
        return x + self.scale * h


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Sizes of one content encoder. Fixed by training; stored with the weights."""

    channels: int = 256
    blocks: int = 12
    kernel_frames: int = 7
    expansion: int = 2
    content_dim: int = 96

    @property
    def context_frames(self) -> int:
        """Frames of 10 ms on either side beyond which nothing changes a content vector."""
        return 2 * self.blocks * (self.kernel_frames // 2) + 4


class ContentEncoder(nn.Module):
    """Log-mel -> content at 100 Hz, normalised without a learned scale so that distances are comparable."""

    mel_filters: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mel_filters", mel_bank(), persistent=False)
        self.stack = nn.Linear(2 * MEL_BANDS, config.channels)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.channels, config.kernel_frames, config.expansion)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.bottleneck = nn.Linear(config.channels, 2 * config.content_dim)

    def from_mel(self, mel: Tensor) -> Tensor:
        """Content of a log-mel, (B, T, 80) -> (B, T, content_dim); an odd T repeats the last frame."""
        frames = mel.shape[1]
        if frames % 2:
            mel = torch.cat([mel, mel[:, -1:]], dim=1)
        x = self.stack(mel.reshape(mel.shape[0], -1, 2 * MEL_BANDS) / 4 + 1.2)
        for block in self.blocks:
            x = block(x)
        content = self.bottleneck(self.norm(x)).reshape(mel.shape[0], -1, self.config.content_dim)
        return F.layer_norm(content[:, :frames].float(), (self.config.content_dim,))

    def forward(self, wav: Tensor) -> Tensor:
        """Content of level-normalised 16 kHz audio: (B, N) -> (B, N // 160 + 1, content_dim)."""
        return self.from_mel(log_mel(power_spectrum(wav), self.mel_filters))
