"""The posterior encoder: a real spectrogram -> the latent that the generator must learn to speak.

Shapes:  B = batch, T = frames, C = latent channels, G = speaker channels.
Source:  VITS (Kim et al. 2021).
Names:   attributes are the entries of published files (`enc_q`); voice models for use leave them out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvc.nn.config import SynthesizerConfig
from rvc.nn.wavenet import WaveNet

LAYERS = 16


class PosteriorEncoder(nn.Module):
    """Linear spectrogram -> mean and log-deviation of the posterior latent."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.pre = nn.Conv1d(config.spectrogram_bins, config.hidden_channels, 1)
        self.enc = WaveNet(config, LAYERS)
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.latent_channels, 1)

    def forward(self, spectrogram: Tensor, mask: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            spectrogram: Linear magnitudes, (B, bins, T).
            mask: (B, 1, T).
            speaker: (B, G, 1).

        Returns:
            Mean and log-deviation, (B, C, T) each.
        """
        x = self.enc(self.pre(spectrogram) * mask, mask, speaker)
        mean, log_deviation = torch.chunk(self.proj(x) * mask, 2, dim=1)
        return mean, log_deviation
