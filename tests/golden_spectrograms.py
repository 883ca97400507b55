"""What other RVC trainers compute and golden vectors hold: revised floors, a multi-scale mel distance."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from rvc.vits.features import SpectrogramConfig, mel_bank

SCALES = ((5, 32), (10, 64), (20, 128), (40, 256), (80, 512), (160, 1024), (320, 2048))  # bands, window


def revised_2026(config: SpectrogramConfig) -> SpectrogramConfig:
    """The same with the lower floors that RVC's own trainer has had since 2026.

    Weights trained with either are interchangeable; only losses differ, in near-silence.
    """
    return replace(config, power_floor=2e-7, mel_floor=2e-6)


def multiscale_mel_distance(made: Tensor, real: Tensor, sample_rate_hz: int) -> Tensor:
    """Distance of two signals (B, 1, N) at seven resolutions (Kumar et al. 2023), unweighted."""
    distances = []
    for bands, window in SCALES:
        config = SpectrogramConfig(
            sample_rate_hz=sample_rate_hz, fft_samples=window, hop_samples=window // 4, mel_bands=bands
        )
        distances.append(F.l1_loss(centred_log_mel(made[:, 0], config), centred_log_mel(real[:, 0], config)))
    return torch.stack(distances).sum()


def centred_log_mel(wave: Tensor, config: SpectrogramConfig) -> Tensor:
    """Decadic log-mel whose frames are centred on their samples, (B, N) -> (B, mel_bands, N // hop + 1)."""
    fft = config.fft_samples
    spectrum = torch.stft(
        wave.float(), fft, config.hop_samples, fft, torch.hann_window(fft), center=True, return_complex=True
    )
    power = torch.view_as_real(spectrum).square().sum(-1)
    bank = mel_bank(config.sample_rate_hz, fft, config.mel_bands)
    return (bank @ (power + config.power_floor).sqrt()).clamp(min=config.mel_floor).log10()
