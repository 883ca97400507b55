"""RMVPE's network: a U-Net over the log-mel, then a bidirectional GRU, give the salience of 360 pitches.

Shapes:  B = batch, F = frames of 10 ms (a multiple of 32), log-mel (B, 128, F), salience (B, F, 360) in 0..1.
Source:  Wei et al. 2023, "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music". Attributes
         are named as the keys of the published weights (741 of them).
Not here: the log-mel and what the salience means in Hz (rvc/rmvpe.py).
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise

import torch
from torch import Tensor, nn

MEL_BANDS = 128
PITCHES = 360
LEVELS = 5
GRID_FRAMES = 2**LEVELS
"""The U-Net halves the time that often; its input must be a whole number of these."""

GROUPS = 4
"""Groups of residual blocks at the bottom."""

STAGES = 2 * LEVELS + GROUPS
"""How often `RmvpeNetwork.stages` yields."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )
        if channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, F, M) -> (B, C_out, F, M)."""
        beside = self.shortcut(x) if hasattr(self, "shortcut") else x
        return self.conv(x) + beside


def _blocks(channels_in: int, channels_out: int, count: int) -> nn.ModuleList:
    rest = [ResidualBlock(channels_out, channels_out) for _ in range(count - 1)]
    return nn.ModuleList([ResidualBlock(channels_in, channels_out), *rest])


class Group(nn.Module):
    """Residual blocks in a row."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int) -> None:
        super().__init__()
        self.conv = _blocks(channels_in, channels_out, blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, F, M) -> (B, C_out, F, M)."""
        for block in self.conv:
            x = block(x)
        return x


class UpGroup(nn.Module):
    """Doubles time and frequency, joins what the encoder saw there, then residual blocks."""

    def __init__(self, channels_in: int, blocks: int) -> None:
        super().__init__()
        channels_out = channels_in // 2
        self.conv1 = nn.Sequential(
            nn.ConvTranspose2d(
                channels_in, channels_out, 3, stride=2, padding=1, output_padding=1, bias=False
            ),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )
        self.conv2 = _blocks(channels_in, channels_out, blocks)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, F, M) and (B, C / 2, 2 F, 2 M) -> (B, C / 2, 2 F, 2 M)."""
        x = torch.cat([self.conv1(x), skip], dim=1)
        for block in self.conv2:
            x = block(x)
        return x


class Encoder(nn.Module):
    """The way down: each level doubles the channels; its output is halved on the way to the next."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1)
        widths = [1, *(channels * 2**level for level in range(LEVELS))]
        self.layers = nn.ModuleList(Group(narrow, wide, blocks) for narrow, wide in pairwise(widths))
        self.pool = nn.AvgPool2d(2)


class Intermediate(nn.Module):
    """The bottom, at a 32nd of the time and frequency."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        first = Group(channels, 2 * channels, blocks)
        rest = [Group(2 * channels, 2 * channels, blocks) for _ in range(GROUPS - 1)]
        self.layers = nn.ModuleList([first, *rest])


class Decoder(nn.Module):
    """The way up: each level halves the channels."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(UpGroup(channels // 2**level, blocks) for level in range(LEVELS))


class UNet(nn.Module):
    """Encoder, bottom and decoder; `RmvpeNetwork` goes through them."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        bottom = channels * 2 ** (LEVELS - 1)
        self.encoder = Encoder(channels, blocks)
        self.intermediate = Intermediate(bottom, blocks)
        self.decoder = Decoder(2 * bottom, blocks)


class BiGRU(nn.Module):
    """One bidirectional layer."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) -> (B, F, 2 * hidden)."""
        return self.gru(x)[0]


class RmvpeNetwork(nn.Module):
    """Log-mel -> salience. The defaults are the published sizes.

    Args:
        channels: Width of the first level.
        blocks: Residual blocks per group.
        hidden: Units of the GRU in each direction.
    """

    def __init__(self, channels: int = 16, blocks: int = 4, hidden: int = 256) -> None:
        super().__init__()
        self.unet = UNet(channels, blocks)
        self.cnn = nn.Conv2d(channels, 3, 3, padding=1)
        self.fc = nn.Sequential(
            BiGRU(3 * MEL_BANDS, hidden), nn.Linear(2 * hidden, PITCHES), nn.Dropout(0.25), nn.Sigmoid()
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel (B, 128, F), F a multiple of 32 -> salience (B, F, 360)."""
        stages = self.stages(mel)
        while True:
            try:
                next(stages)
            except StopIteration as stop:
                salience: Tensor = stop.value
                return salience

    def stages(self, mel: Tensor) -> Generator[None, None, Tensor]:
        """Compute the same level by level, so that the caller may do other things in between.

        Yields:
            Nothing, after each of the levels and groups.
        """
        unet = self.unet
        x = unet.encoder.bn(mel.transpose(1, 2)[:, None])  # (B, 1, F, 128)
        skips: list[Tensor] = []
        for group in unet.encoder.layers:
            skips.append(group(x))
            x = unet.encoder.pool(skips[-1])
            yield
        for group in unet.intermediate.layers:
            x = group(x)
            yield
        for group in unet.decoder.layers:
            x = group(x, skips.pop())
            yield
        x = self.cnn(x).transpose(1, 2).flatten(2)  # (B, F, 3 * 128)
        return self.fc(x)
