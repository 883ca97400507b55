"""The discriminators, judges of audio (one on the raw wave, one for each of several periods), and the losses.

Shapes:  B = batch, N = samples, p = a period in samples, C = latent channels, T = frames.
Source:  HiFi-GAN (Kong et al. 2020): multi-period, and one scale of multi-scale; least squares and feature
         matching. KL of VITS (Kim et al. 2021). Losses are computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from rvc.vits.config import Version
from rvc.vits.synthesizer import TrainingOutput

SLOPE = 0.1
PERIODS = {"v1": (2, 3, 5, 7, 11, 17), "v2": (2, 3, 5, 7, 11, 17, 23, 37)}
MEL_WEIGHT, KL_WEIGHT, _FEATURE_WEIGHT = 45.0, 1.0, 2.0
_SCALE_LAYERS = (  # inputs, outputs, kernel, stride, groups
    (1, 16, 15, 1, 1), (16, 64, 41, 4, 4), (64, 256, 41, 4, 16),
    (256, 1024, 41, 4, 64), (1024, 1024, 41, 4, 256), (1024, 1024, 5, 1, 1),
)  # fmt: skip
_PERIOD_CHANNELS = (1, 32, 128, 512, 1024, 1024)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorOutput:
    """What one discriminator says of a batch."""

    score: Tensor  # 1 = real, 0 = made; (B, any)
    layers: list[Tensor]  # output of every layer, the last included; the first dimension is B


class ScaleDiscriminator(nn.Module):
    """Looks at the wave itself, (B, 1, N); `narrowing` divides the channels that published ones have."""

    def __init__(self, narrowing: int = 1) -> None:
        super().__init__()
        layers = []
        for inputs, outputs, kernel, stride, groups in _SCALE_LAYERS:
            few, more = max(inputs // narrowing, 1), max(outputs // narrowing, 1)
            conv = nn.Conv1d(few, more, kernel, stride, kernel // 2, groups=gcd(few, more, groups))
            layers.append(weight_norm(conv))
        self.convs = nn.ModuleList(layers)
        self.conv_post = weight_norm(nn.Conv1d(_SCALE_LAYERS[-1][1] // narrowing, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> DiscriminatorOutput:
        return _judge(wave, self.convs, self.conv_post)


class PeriodDiscriminator(nn.Module):
    """Looks at every p-th sample of (B, 1, N)."""

    def __init__(self, period: int, narrowing: int = 1) -> None:
        super().__init__()
        self.period = period
        widths = [max(width // narrowing, 1) for width in _PERIOD_CHANNELS]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(inputs, outputs, (5, 1), (stride, 1), (2, 0)))
            for (inputs, outputs), stride in zip(pairwise(widths), (3, 3, 3, 3, 1), strict=True)
        )
        self.conv_post = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> DiscriminatorOutput:
        padded = F.pad(wave, (0, -wave.shape[-1] % self.period), "reflect")
        rows = torch.unflatten(padded, -1, (-1, self.period))  # (B, 1, N / p, p)
        return _judge(rows, self.convs, self.conv_post)


class Discriminators(nn.Module):
    """The scale discriminator, then one for each period of the version; `narrowing` is 1, 2, 4, 8 or 16."""

    def __init__(self, version: Version, narrowing: int = 1) -> None:
        super().__init__()
        periods = (PeriodDiscriminator(period, narrowing) for period in PERIODS[version])
        self.discriminators = nn.ModuleList([ScaleDiscriminator(narrowing), *periods])

    def forward(self, wave: Tensor) -> list[DiscriminatorOutput]:
        return [discriminator(wave) for discriminator in self.discriminators]


def _judge(x: Tensor, convs: nn.ModuleList, conv_post: nn.Module) -> DiscriminatorOutput:
    layers = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        layers.append(x)
    x = conv_post(x)
    return DiscriminatorOutput(score=x.flatten(1), layers=[*layers, x])


def discriminator_loss(real: Sequence[DiscriminatorOutput], made: Sequence[DiscriminatorOutput]) -> Tensor:
    """How far the discriminators are from telling real (1) from made (0): a sum over them."""
    distances = [
        (1 - of_real.score.float()).square().mean() + of_made.score.float().square().mean()
        for of_real, of_made in zip(real, made, strict=True)
    ]
    return torch.stack(distances).sum()


def generator_loss(made: Sequence[DiscriminatorOutput]) -> Tensor:
    """How far the discriminators are from taking what was made for real: a sum over them."""
    return torch.stack([(1 - of_made.score.float()).square().mean() for of_made in made]).sum()


def feature_loss(real: Sequence[DiscriminatorOutput], made: Sequence[DiscriminatorOutput]) -> Tensor:
    """How differently the discriminators' layers see real and made audio; no gradient through the real."""
    distances = [
        F.l1_loss(of_made.float(), of_real.float().detach())
        for real_one, made_one in zip(real, made, strict=True)
        for of_real, of_made in zip(real_one.layers, made_one.layers, strict=True)
    ]
    return _FEATURE_WEIGHT * torch.stack(distances).sum()


def kl_loss(trained: TrainingOutput) -> Tensor:
    """Divergence of the posterior from the prior by one sample, a sum over channels, a mean over frames."""
    mean, log_deviation = trained.prior_mean.float(), trained.prior_log_deviation.float()
    mask = trained.mask.float()
    squared = (trained.prior_latent.float() - mean).square() * (-2 * log_deviation).exp()
    divergence = log_deviation - trained.posterior_log_deviation.float() - 0.5 + 0.5 * squared
    return (divergence * mask).sum() / mask.sum()


def mel_loss(made: Tensor, real: Tensor) -> Tensor:
    """Weighted distance of two log-mel spectrograms, (B, bands, T) each."""
    return MEL_WEIGHT * F.l1_loss(made.float(), real.float())
