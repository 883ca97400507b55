"""The one layer that both built-in networks are made of: a ConvNeXt block over time.

Liu et al. 2022, in the one-dimensional form of Siuzdak's Vocos, 2023: depthwise convolution, layer norm, two
linear layers with GELU between, learned scale, residual. Frames are rows, so that the linear layers, which
hold nearly all of the arithmetic, run without transposing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNeXtBlock(nn.Module):
    """Frames (B, T, C) -> (B, T, C); a condition, (B, 1, ...), shifts and scales them after the norm."""

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
