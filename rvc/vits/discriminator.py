"""Discriminators: judges of audio, one on the raw wave and one for each of several periods.

Shapes:  B = batch, N = samples, p = a period in samples.
Source:  HiFi-GAN (Kong et al. 2020): multi-period, and one scale of multi-scale.
Names:   attributes are the entries of published files.
Not here: losses (losses.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.vits.config import Version
from rvc.vits.weight_norm import weight_norm

SLOPE = 0.1
PERIODS = {"v1": (2, 3, 5, 7, 11, 17), "v2": (2, 3, 5, 7, 11, 17, 23, 37)}
_SCALE_LAYERS = (  # inputs, outputs, kernel, stride, groups
    (1, 16, 15, 1, 1),
    (16, 64, 41, 4, 4),
    (64, 256, 41, 4, 16),
    (256, 1024, 41, 4, 64),
    (1024, 1024, 41, 4, 256),
    (1024, 1024, 5, 1, 1),
)
_PERIOD_CHANNELS = (1, 32, 128, 512, 1024, 1024)
_PERIOD_KERNEL, _PERIOD_STRIDE = 5, 3


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one discriminator says of a batch.

    Attributes:
        score: 1 = real, 0 = made; (B, any).
        layers: Output of every layer, the last included; the first dimension is B.
    """

    score: Tensor
    layers: list[Tensor]


class ScaleDiscriminator(nn.Module):
    """Looks at the wave itself.

    Args:
        narrowing: Its layers have this many times fewer channels than published ones.
    """

    def __init__(self, narrowing: int = 1) -> None:
        super().__init__()
        layers = []
        for inputs, outputs, kernel, stride, groups in _SCALE_LAYERS:
            few, more = max(inputs // narrowing, 1), max(outputs // narrowing, 1)
            conv = nn.Conv1d(few, more, kernel, stride, kernel // 2, groups=gcd(few, more, groups))
            layers.append(weight_norm(conv))
        self.convs = nn.ModuleList(layers)
        self.conv_post = weight_norm(nn.Conv1d(_SCALE_LAYERS[-1][1] // narrowing, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Judgement:
        """Judge audio, (B, 1, N)."""
        return _judge(wave, self.convs, self.conv_post)


class PeriodDiscriminator(nn.Module):
    """Looks at every p-th sample.

    Args:
        period: p.
        narrowing: As the scale discriminator's.
    """

    def __init__(self, period: int, narrowing: int = 1) -> None:
        super().__init__()
        self.period = period
        last = len(_PERIOD_CHANNELS) - 2
        widths = [max(width // narrowing, 1) for width in _PERIOD_CHANNELS]
        self.convs = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    inputs,
                    outputs,
                    (_PERIOD_KERNEL, 1),
                    (1 if layer == last else _PERIOD_STRIDE, 1),
                    (_PERIOD_KERNEL // 2, 0),
                )
            )
            for layer, (inputs, outputs) in enumerate(pairwise(widths))
        )
        self.conv_post = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> Judgement:
        """Judge audio, (B, 1, N)."""
        missing = -wave.shape[-1] % self.period
        rows = torch.unflatten(
            F.pad(wave, (0, missing), "reflect"), -1, (-1, self.period)
        )  # (B, 1, N / p, p)
        return _judge(rows, self.convs, self.conv_post)


class Discriminators(nn.Module):
    """The scale discriminator, then one for each period of the version.

    Args:
        version: "v1" has six periods, "v2" eight.
        narrowing: Their layers have this many times fewer channels than published ones; 1, 2, 4, 8 or 16.
    """

    def __init__(self, version: Version, narrowing: int = 1) -> None:
        super().__init__()
        periods = (PeriodDiscriminator(period, narrowing) for period in PERIODS[version])
        self.discriminators = nn.ModuleList([ScaleDiscriminator(narrowing), *periods])

    def forward(self, wave: Tensor) -> list[Judgement]:
        """Judge audio, (B, 1, N)."""
        return [discriminator(wave) for discriminator in self.discriminators]


def _judge(x: Tensor, convs: nn.ModuleList, conv_post: nn.Module) -> Judgement:
    layers = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        layers.append(x)
    x = conv_post(x)
    return Judgement(score=x.flatten(1), layers=[*layers, x])
