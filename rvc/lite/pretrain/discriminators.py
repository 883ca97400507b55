"""The large discriminators that the base synthesizer is trained against, on a GPU, besides the small ones.

Multi-period after Kong et al. 2020 (HiFi-GAN): the waveform folded at prime periods. Multi-resolution after
Jang et al. 2021 (UnivNet), on complex spectra so that phase is judged too.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from rvc.lite.discriminator import SLOPE, gather

PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128))


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample."""

    def __init__(self, period: int, channels: int = 24) -> None:
        super().__init__()
        self.period = period
        widths = (1, channels, 2 * channels, 4 * channels, 8 * channels, 8 * channels)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3 if n < 4 else 1, 1), padding=(2, 0)))
            for n, (a, b) in enumerate(pairwise(widths))
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge audio, (B, N)."""
        usable = wav.shape[1] // self.period * self.period
        h = wav[:, :usable].reshape(wav.shape[0], 1, -1, self.period) * 5
        seen = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
            seen.append(h)
        return self.score(h), seen


class ResolutionDiscriminator(nn.Module):
    """Looks at real and imaginary parts of one short-time spectrum, compressed."""

    def __init__(self, fft_samples: int, hop_samples: int, channels: int = 24) -> None:
        super().__init__()
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        strides = ((2, 1), (2, 2), (2, 1), (2, 2))
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(2 if n == 0 else channels * 2 ** min(n - 1, 2), channels * 2 ** min(n, 2),
            (7, 3),
                                  stride, padding=(3, 1)))
            for n, stride in enumerate(strides)
        )  # fmt: skip
        self.score = weight_norm(nn.Conv2d(channels * 4, 1, 3, padding=1))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge audio, (B, N)."""
        window = torch.hann_window(self.fft_samples, device=wav.device)
        spectrum = torch.stft(
            wav,
            self.fft_samples,
            self.hop_samples,
            self.fft_samples,
            window,
            center=False,
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum).permute(0, 3, 1, 2)
        size = (parts.square().sum(1, keepdim=True) + 1e-6).sqrt()
        h = parts / size * size**0.3
        seen = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
            seen.append(h)
        return self.score(h), seen


class LargeDiscriminators(nn.Module):
    """All periods and all resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PeriodDiscriminator(period) for period in PERIODS)
        self.parts.extend(ResolutionDiscriminator(fft, hop) for fft, hop in RESOLUTIONS)

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Judge audio, (B, N): score maps, and all layers' outputs in one list."""
        return gather([part(wav) for part in self.parts])
