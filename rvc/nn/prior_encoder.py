"""The prior encoder: what is said, and at which pitch -> where the latent is expected.

Shapes:  B = batch, T = frames of 10 ms, C = latent channels.
Units:   pitch in coarse bins, 1..255, 0 only in padding.
Source:  VITS (Kim et al. 2021), whose text is here the content vectors.
Names:   attributes are the entries of published files (`enc_p`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.errors import ConfigError
from rvc.nn.config import PITCH_BINS, SynthesizerConfig
from rvc.nn.frames import frame_mask
from rvc.nn.transformer import Transformer


class PriorEncoder(nn.Module):
    """Content vectors and coarse pitch -> mean and log-deviation of the prior latent."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.scale = math.sqrt(config.hidden_channels)
        self.emb_phone = nn.Linear(config.content_dim, config.hidden_channels)
        self.emb_pitch = nn.Embedding(PITCH_BINS, config.hidden_channels) if config.uses_f0 else None
        self.encoder = Transformer(config)
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.latent_channels, 1)

    def forward(
        self, content: Tensor, lengths: Tensor, pitch: Tensor | None = None, dropped_frames: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode.

        Args:
            content: Content vectors, (B, T, content_dim).
            lengths: Frames of each item, (B,).
            pitch: Coarse bins, (B, T); None exactly for models without F0.
            dropped_frames: Leading frames that only serve as context; not part of the result.

        Returns:
            Mean and log-deviation, (B, C, T - dropped_frames) each, and the mask, (B, 1, T - dropped_frames).

        Raises:
            ConfigError: Pitch is missing or superfluous.
        """
        if (pitch is None) != (self.emb_pitch is None):
            raise ConfigError("A voice model with F0 takes a pitch contour, one without takes none.")
        x = self.emb_phone(content)
        if self.emb_pitch is not None:
            x = x + self.emb_pitch(pitch)
        mask = frame_mask(lengths, content.shape[1])
        x = F.leaky_relu(x * self.scale, 0.1).transpose(1, 2) * mask  # (B, H, T)
        x = self.encoder(x, mask)[..., dropped_frames:]
        mask = mask[..., dropped_frames:]
        mean, log_deviation = torch.chunk(self.proj(x) * mask, 2, dim=1)
        return mean, log_deviation, mask
