"""Losses of the built-in synthesizer: spectra at several resolutions, and a discriminator's opinion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MAGNITUDE_FLOOR = 1e-4


def magnitude(wav: Tensor, fft_samples: int, hop_samples: int) -> Tensor:
    """Magnitudes of whole windows only, (B, N) -> (B, fft_samples // 2 + 1, frames)."""
    window = torch.hann_window(fft_samples, device=wav.device)
    spectrum = torch.stft(
        wav, fft_samples, hop_samples, fft_samples, window, center=False, return_complex=True
    )
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-12).sqrt()


def spectral_loss(made: Tensor, real: Tensor, sizes: Sequence[int]) -> Tensor:
    """Distance of log-magnitudes plus spectral convergence, the mean over window sizes.

    Args:
        made: Audio, (B, N).
        real: What it should be, (B, N).
        sizes: Windows in samples, each with a hop of a quarter. Sizes drawn anew every step leave no seam
            between bands and frames in which an artefact could hide.
    """
    losses = []
    for size in sizes:
        a, b = magnitude(made, size, size // 4), magnitude(real, size, size // 4)
        floor = MAGNITUDE_FLOOR * size**0.5
        log_distance = F.l1_loss((a + floor).log(), (b + floor).log())
        losses.append(log_distance + (a - b).norm() / (b.norm() + 1e-3))
    return torch.stack(losses).mean()


def random_sizes(generator: torch.Generator) -> tuple[int, int, int]:
    """A long window for pitch, a middle one, and a short one for onsets; of lengths that transform fast."""
    draw = torch.rand(2, generator=generator, device=generator.device).tolist()
    return 2048, 700 + 20 * int(26 * draw[0]), 160 + 20 * int(14 * draw[1])


def real_loss(scores: Sequence[Tensor]) -> Tensor:
    """Least-squares distance of the discriminators' scores from "real"."""
    return torch.stack([(score.float() - 1).square().mean() for score in scores]).mean()


def fake_loss(scores: Sequence[Tensor]) -> Tensor:
    """Least-squares distance of the discriminators' scores from "made"."""
    return torch.stack([score.float().square().mean() for score in scores]).mean()


def feature_loss(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """How differently the discriminators' layers see two recordings."""
    return torch.stack(
        [F.l1_loss(a.float(), b.float().detach()) for a, b in zip(made, real, strict=True)]
    ).mean()
