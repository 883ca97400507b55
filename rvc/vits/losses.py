"""Losses that RVC's synthesizer and its discriminators are trained with; all are computed in float32.

Shapes:  B = batch, C = latent channels, T = frames, N = samples.
Source:  least squares and feature matching of HiFi-GAN (Kong et al. 2020), KL of VITS (Kim et al. 2021);
         the multi-scale mel distance of Descript's audio codec (Kumar et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from rvc.vits.discriminator import Judgement
from rvc.vits.spectrogram import SpectrogramConfig, centred_log_mel
from rvc.vits.synthesizer import Trained

MEL_WEIGHT = 45.0
MULTISCALE_MEL_WEIGHT = 15.0
KL_WEIGHT = 1.0
_FEATURE_WEIGHT = 2.0
_SCALES = ((5, 32), (10, 64), (20, 128), (40, 256), (80, 512), (160, 1024), (320, 2048))


def discriminator_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """How far the discriminators are from telling real (1) from made (0): a sum over them."""
    return torch.stack(
        [
            (1 - of_real.score.float()).square().mean() + of_made.score.float().square().mean()
            for of_real, of_made in zip(real, made, strict=True)
        ]
    ).sum()


def generator_loss(made: Sequence[Judgement]) -> Tensor:
    """How far the discriminators are from taking what was made for real: a sum over them."""
    return torch.stack([(1 - of_made.score.float()).square().mean() for of_made in made]).sum()


def feature_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """How differently the discriminators' layers see real and made audio; no gradient through the real."""
    distances = [
        F.l1_loss(of_made.float(), of_real.float().detach())
        for real_one, made_one in zip(real, made, strict=True)
        for of_real, of_made in zip(real_one.layers, made_one.layers, strict=True)
    ]
    return _FEATURE_WEIGHT * torch.stack(distances).sum()


def kl_loss(trained: Trained) -> Tensor:
    """Divergence of the posterior from the prior, by the one sample that was drawn.

    Summed over channels and averaged over the frames that are no padding.
    """
    return kl_divergence(
        trained.prior_latent,
        trained.posterior_log_deviation,
        (trained.prior_mean, trained.prior_log_deviation),
        trained.mask,
    )


def kl_divergence(
    prior_latent: Tensor, posterior_log_deviation: Tensor, prior: tuple[Tensor, Tensor], mask: Tensor
) -> Tensor:
    """`kl_loss` of plain tensors.

    Args:
        prior_latent: A draw of the posterior, through the flow, (B, C, T).
        posterior_log_deviation: (B, C, T).
        prior: Mean and log-deviation, (B, C, T) each.
        mask: (B, 1, T).
    """
    mean, log_deviation = (part.float() for part in prior)
    mask = mask.float()
    squared = (prior_latent.float() - mean).square() * (-2 * log_deviation).exp()
    divergence = log_deviation - posterior_log_deviation.float() - 0.5 + 0.5 * squared
    return (divergence * mask).sum() / mask.sum()


def mel_loss(made: Tensor, real: Tensor) -> Tensor:
    """Weighted distance of two log-mel spectrograms, (B, bands, T) each."""
    return MEL_WEIGHT * F.l1_loss(made.float(), real.float())


def multiscale_mel_distance(made: Tensor, real: Tensor, sample_rate_hz: int) -> Tensor:
    """Distance of log-mel spectrograms at seven resolutions, unweighted.

    Args:
        made: Audio, (B, 1, N); N above 1024 samples.
        real: What it should be, (B, 1, N).
        sample_rate_hz: Their rate.
    """
    distances = []
    for bands, window in _SCALES:
        config = SpectrogramConfig(
            sample_rate_hz=sample_rate_hz, fft_samples=window, hop_samples=window // 4, mel_bands=bands
        )
        distances.append(F.l1_loss(centred_log_mel(made[:, 0], config), centred_log_mel(real[:, 0], config)))
    return torch.stack(distances).sum()
