"""The flow: an invertible map between what content and pitch foretell and what a voice's latent is.

Shapes:  B = batch, C = latent channels, T = frames, G = speaker channels.
Source:  residual coupling of VITS (Kim et al. 2021), mean only; Dinh et al. 2017.
Names:   attributes are the entries of published files (`flow`): even numbers are couplings, odd ones the
         reversals between them, which have no weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvc.nn.config import SynthesizerConfig
from rvc.nn.wavenet import WaveNet

COUPLINGS = 4
LAYERS = 3
CONTEXT_FRAMES = COUPLINGS * LAYERS * 2
"""Frames on either side that a frame of the latent depends on: 2 for each layer."""


class Coupling(nn.Module):
    """Shifts one half of the channels by what the other half and the speaker say."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        half = config.latent_channels // 2
        self.pre = nn.Conv1d(half, config.hidden_channels, 1)
        self.enc = WaveNet(config, LAYERS)
        self.post = nn.Conv1d(config.hidden_channels, half, 1)
        # A new flow changes nothing, so that training begins at the identity.
        nn.init.zeros_(self.post.weight)
        nn.init.zeros_(self.post.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        """Shift, (B, C, T) -> (B, C, T)."""
        kept, moved = z.chunk(2, dim=1)
        return torch.cat([kept, self._shift(kept, mask, speaker) + moved * mask], dim=1)

    def inverse(self, z: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        """Undo `forward`."""
        kept, moved = z.chunk(2, dim=1)
        return torch.cat([kept, (moved - self._shift(kept, mask, speaker)) * mask], dim=1)

    def _shift(self, kept: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        return self.post(self.enc(self.pre(kept) * mask, mask, speaker)) * mask


class Reversal(nn.Module):
    """Turns the order of the channels round, so that the other half is shifted next."""

    def forward(self, z: Tensor, _mask: Tensor, _speaker: Tensor) -> Tensor:
        """Reverse, (B, C, T) -> (B, C, T)."""
        return z.flip(1)

    def inverse(self, z: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        """Undo `forward`, which is the same again."""
        return self.forward(z, mask, speaker)


class Flow(nn.Module):
    """Couplings with reversals between."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleList(step for _ in range(COUPLINGS) for step in (Coupling(config), Reversal()))

    def forward(self, z: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        """Map the posterior latent to the prior's.

        Args:
            z: (B, C, T).
            mask: (B, 1, T).
            speaker: (B, G, 1).

        Returns:
            (B, C, T).
        """
        for step in self.flows:
            z = step(z, mask, speaker)
        return z

    def inverse(self, z: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        """Map the prior latent to the posterior's: undo `forward`."""
        for step in reversed(self.flows):
            assert isinstance(step, Coupling | Reversal)
            z = step.inverse(z, mask, speaker)
        return z
