"""The generator: latent, speaker and excitation -> audio (HiFi-GAN, Kong et al. 2020).

Shapes:  B = batch, C = latent channels, T = frames of 10 ms, G = speaker channels, N = T * hop samples.
Units:   F0 in Hz, 0 where unvoiced; phase in cycles; audio and excitation within -1..1.
Names:   attributes are the entries of published files (`dec`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from rvc.errors import ConfigError
from rvc.vits.config import SynthesizerConfig

SINE_AMPLITUDE, VOICED_NOISE = 0.1, 0.003
UNVOICED_NOISE = SINE_AMPLITUDE / 3
SLOPE, LAST_SLOPE = 0.1, 0.01  # published models were trained with another slope before the last layer
INITIAL_DEVIATION = 0.01


class HarmonicSource(nn.Module):
    """F0 -> a sine that follows it, a little noise, and only noise where unvoiced (Wang et al. 2019)."""

    def __init__(self, sample_rate_hz: int, hop_samples: int) -> None:
        super().__init__()
        self.sample_rate_hz, self.hop_samples = sample_rate_hz, hop_samples
        self.l_linear = nn.Linear(1, 1)

    def forward(
        self, f0_hz: Tensor, noise: Tensor | None = None, first_phase: Tensor | None = None
    ) -> Tensor:
        """Make it, (B, T) -> (B, 1, N), of white noise (B, 1, N) and cycles that passed before (B,)."""
        f0 = f0_hz.float()
        sine = torch.sin(self._phase(f0, first_phase))
        voiced = (f0 > 0).float().repeat_interleave(self.hop_samples, dim=1)
        if noise is None:
            noise = torch.randn_like(sine)[:, None]
        strength = UNVOICED_NOISE + (VOICED_NOISE - UNVOICED_NOISE) * voiced
        excitation = SINE_AMPLITUDE * sine * voiced + strength * noise[:, 0]
        # Written out: half precision, which autocast would choose for a linear layer, is audible here.
        return torch.tanh(self.l_linear.weight * excitation + self.l_linear.bias)[:, None]

    def _phase(self, f0: Tensor, first_phase: Tensor | None) -> Tensor:
        """Radians at every sample, (B, T) -> (B, N).

        Summed over frames in float64 and wrapped there: a float32 sum over samples drifts within a minute.
        """
        step = f0.double() / self.sample_rate_hz  # cycles per sample
        passed = (step * self.hop_samples).cumsum(1)
        before = torch.cat([torch.zeros_like(passed[:, :1]), passed[:, :-1]], dim=1)
        if first_phase is not None:
            before = before + first_phase.double()[:, None]
        inside = torch.arange(1, self.hop_samples + 1, device=f0.device)
        cycles = before.frac().float()[..., None] + step.float()[..., None] * inside
        return (2 * pi * cycles).flatten(1)


def _same_conv(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    conv = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
    nn.init.normal_(conv.weight, 0.0, INITIAL_DEVIATION)
    return weight_norm(conv)


class PairedResBlock(nn.Module):
    """Type "1": for each dilation a dilated convolution and a plain one, added to the input."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_same_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_same_conv(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class SingleResBlock(nn.Module):
    """Type "2": one dilated convolution for each dilation, added to the input."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_same_conv(channels, kernel, dilation) for dilation in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, SLOPE))
        return x


class Generator(nn.Module):
    """Upsamples the latent step by step to audio."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.gradient_checkpointing = False  # the same gradients, less memory, more time
        rates, kernels, width = config.upsample_rates, config.upsample_kernels, config.upsample_channels
        stages = range(len(rates))
        self.blocks_per_stage = len(config.resblock_kernels)
        self.m_source: HarmonicSource | None = None
        self.noise_convs: nn.ModuleList | None = None
        if config.uses_f0:
            self.m_source = HarmonicSource(config.sample_rate_hz, config.hop_samples)
            self.noise_convs = nn.ModuleList(
                _source_conv(width >> (stage + 1), prod(rates[stage + 1 :])) for stage in stages
            )
        self.conv_pre = nn.Conv1d(config.latent_channels, width, 7, padding=3)
        self.ups = nn.ModuleList(
            _upsampling(width >> stage, rates[stage], kernels[stage]) for stage in stages
        )
        block = PairedResBlock if config.resblock_type == "1" else SingleResBlock
        self.resblocks = nn.ModuleList(
            block(width >> (stage + 1), kernel, dilations)
            for stage in stages
            for kernel, dilations in zip(config.resblock_kernels, config.resblock_dilations, strict=True)
        )
        self.conv_post = nn.Conv1d(width >> len(rates), 1, 7, padding=3, bias=False)
        self.cond = nn.Conv1d(config.speaker_channels, width, 1)

    def forward(self, latent: Tensor, speaker: Tensor, excitation: Tensor | None = None) -> Tensor:
        """Speak (B, C, T) for speakers (B, G, 1), -> (B, 1, N), with what `m_source` gave if there is one."""
        if (excitation is None) != (self.noise_convs is None):
            raise ConfigError("A voice model with F0 takes an F0 contour, one without takes none.")
        x = self.conv_pre(latent) + self.cond(speaker)
        for stage in range(len(self.ups)):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(
                    self._stage, stage, x, excitation, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x = self._stage(stage, x, excitation)
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE)))

    def _stage(self, stage: int, x: Tensor, excitation: Tensor | None) -> Tensor:
        x = self.ups[stage](F.leaky_relu(x, SLOPE))
        if self.noise_convs is not None:
            x = x + self.noise_convs[stage](excitation)
        summed: Tensor = sum(block(x) for block in self.blocks_of(stage))
        return summed / self.blocks_per_stage

    def blocks_of(self, stage: int) -> nn.ModuleList:
        """Give the residual blocks that follow a stage's upsampling."""
        first = stage * self.blocks_per_stage
        return self.resblocks[first : first + self.blocks_per_stage]


def _upsampling(channels: int, rate: int, kernel: int) -> nn.ConvTranspose1d:
    conv = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
    nn.init.normal_(conv.weight, 0.0, INITIAL_DEVIATION)
    return weight_norm(conv)


def _source_conv(channels: int, stride: int) -> nn.Conv1d:
    """Bring the excitation down to a stage's rate; at the last stage it has it already."""
    if stride == 1:
        return nn.Conv1d(1, channels, 1)
    return nn.Conv1d(1, channels, 2 * stride, stride, padding=stride // 2)
