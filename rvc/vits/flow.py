"""The flow and the posterior encoder of VITS (Kim et al. 2021), and the gated convolutions inside both.

Shapes:  B = batch, C = latent channels, H = hidden channels, G = speaker channels, T = frames; latents are
         (B, C, T), masks (B, 1, T), speakers (B, G, 1).
Names:   attributes are the entries of published files (`flow`, `enc_q`): of `flow`, even numbers are
         couplings, odd ones the reversals between them. Voice models for use leave out `enc_q`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from rvc.vits.config import SynthesizerConfig

KERNEL_FRAMES = 5
COUPLINGS, LAYERS, POSTERIOR_LAYERS = 4, 3, 16
CONTEXT_FRAMES = COUPLINGS * LAYERS * 2  # on either side, that a frame of the latent depends on: 2 a layer


class WaveNet(nn.Module):
    """Gated layers with residual and skip paths (van den Oord et al. 2016), undilated, told the speaker."""

    def __init__(self, config: SynthesizerConfig, layers: int) -> None:
        super().__init__()
        self.hidden = hidden = config.hidden_channels
        self.in_layers = nn.ModuleList(
            weight_norm(nn.Conv1d(hidden, 2 * hidden, KERNEL_FRAMES, padding=KERNEL_FRAMES // 2))
            for _ in range(layers)
        )
        # The last layer has nothing after it to hand its input to.
        self.res_skip_layers = nn.ModuleList(
            weight_norm(nn.Conv1d(hidden, hidden if layer == layers - 1 else 2 * hidden, 1))
            for layer in range(layers)
        )
        self.cond_layer = weight_norm(nn.Conv1d(config.speaker_channels, 2 * hidden * layers, 1))

    def forward(self, x: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        """Sum all skip paths, (B, H, T) -> (B, H, T), zero in the padding."""
        skipped = torch.zeros_like(x)
        conditions = self.cond_layer(speaker).split(2 * self.hidden, dim=1)
        layers = zip(self.in_layers, self.res_skip_layers, conditions, strict=True)
        for in_layer, res_skip_layer, condition in layers:
            tangent, gate = (in_layer(x) + condition).chunk(2, dim=1)
            out = res_skip_layer(torch.tanh(tangent) * torch.sigmoid(gate))
            if out.shape[1] > self.hidden:
                x = (x + out[:, : self.hidden]) * mask
            skipped = skipped + out[:, -self.hidden :]
        return skipped * mask


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
        kept, moved = z.chunk(2, dim=1)
        return torch.cat([kept, self._shift(kept, mask, speaker) + moved * mask], dim=1)

    def inverse(self, z: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        kept, moved = z.chunk(2, dim=1)
        return torch.cat([kept, (moved - self._shift(kept, mask, speaker)) * mask], dim=1)

    def _shift(self, kept: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        return self.post(self.enc(self.pre(kept) * mask, mask, speaker)) * mask


class Reversal(nn.Module):
    """Turns the order of the channels round, so that the other half is shifted next."""

    def forward(self, z: Tensor, _mask: Tensor, _speaker: Tensor) -> Tensor:
        return z.flip(1)

    inverse = forward


class Flow(nn.Module):
    """Residual couplings, mean only (Dinh et al. 2017): the posterior's latent <-> the prior's."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleList(step for _ in range(COUPLINGS) for step in (Coupling(config), Reversal()))

    def forward(self, z: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        for step in self.flows:
            z = step(z, mask, speaker)
        return z

    def inverse(self, z: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        for step in reversed(self.flows):
            assert isinstance(step, Coupling | Reversal)
            z = step.inverse(z, mask, speaker)
        return z


class PosteriorEncoder(nn.Module):
    """Linear magnitudes (B, bins, T) -> mean and log-deviation of the posterior latent."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.pre = nn.Conv1d(config.spectrogram_bins, config.hidden_channels, 1)
        self.enc = WaveNet(config, POSTERIOR_LAYERS)
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.latent_channels, 1)

    def forward(self, spectrogram: Tensor, mask: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        x = self.enc(self.pre(spectrogram) * mask, mask, speaker)
        mean, log_deviation = torch.chunk(self.proj(x) * mask, 2, dim=1)
        return mean, log_deviation
