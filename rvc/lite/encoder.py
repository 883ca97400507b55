"""Content encoder of the built-in engine: what is said, without who says it.

16 kHz audio -> log-mel -> two frames stacked -> ConvNeXt blocks at 50 Hz -> two content vectors a block
frame, so that content comes at 100 Hz while the arithmetic runs at 50. The content is normalised (no learned
scale), which bounds what it can carry and makes distances between frames comparable for retrieval. Trained by
`rvc.lite.pretrain.train_encoder`; its losses and its training-only heads live there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.lite.blocks import ConvNeXtBlock
from rvc.lite.mel import MEL_BANDS, log_mel, mel_bank, power_spectrum


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
    """16 kHz audio or its log-mel -> content vectors at 100 Hz."""

    mel_filters: Tensor

    def __init__(self, config: EncoderConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mel_filters", mel_bank(), persistent=False)
        self.stack = nn.Linear(2 * MEL_BANDS, config.channels)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.channels, config.kernel_frames, config.expansion, dropout=dropout)
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
