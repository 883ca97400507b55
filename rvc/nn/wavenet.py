"""Gated convolutions with residual and skip paths, told the speaker: inside posterior encoder and flow.

Shapes:  B = batch, H = hidden channels, G = speaker channels, T = frames.
Source:  WaveNet (van den Oord et al. 2016) without dilation, as in WaveGlow and VITS.
Names:   attributes are the entries of published files (`enc`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvc.nn.config import SynthesizerConfig
from rvc.nn.weight_norm import weight_norm

KERNEL_FRAMES = 5


class WaveNet(nn.Module):
    """A stack of gated layers.

    Args:
        config: Sizes of the synthesizer.
        layers: How many.
    """

    def __init__(self, config: SynthesizerConfig, layers: int) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.hidden = hidden
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
        """Run the stack.

        Args:
            x: (B, H, T).
            mask: (B, 1, T).
            speaker: (B, G, 1).

        Returns:
            The sum of all skip paths, (B, H, T), zero in the padding.
        """
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
