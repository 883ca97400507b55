"""Spectrograms that RVC's training sees: linear for the posterior encoder, mel for the loss.

Shapes:  B = batch, N = samples, T = N // hop frames, bins = fft // 2 + 1.
Units:   magnitudes of audio within -1..1; mel in natural logarithms.
Source:  HiFi-GAN's recipe: reflected edges, no centring, Hann window, and librosa's mel filters (Slaney's
         scale, area of one). They must stay as they are: published weights were trained on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rvc.errors import ConfigError

_BREAK_HZ = 1_000.0
_HZ_PER_MEL = 200.0 / 3.0
_LOG_STEP = np.log(6.4) / 27.0


@dataclass(frozen=True, kw_only=True)
class SpectrogramConfig:
    """How sound becomes a spectrogram.

    Attributes:
        sample_rate_hz: Rate of the audio.
        fft_samples: Window and transform.
        hop_samples: Samples between frames.
        mel_bands: Filters from 0 Hz to half the rate.
        power_floor: Added to the power before the root.
        mel_floor: The least that enters the logarithm.
    """

    sample_rate_hz: int
    fft_samples: int
    hop_samples: int
    mel_bands: int
    power_floor: float = 1e-6
    mel_floor: float = 1e-5

    @property
    def bins(self) -> int:
        """Frequencies of the linear spectrogram."""
        return self.fft_samples // 2 + 1


def published_spectrogram(sample_rate_hz: int) -> SpectrogramConfig:
    """Give the settings that published models of a rate were trained with, v1 and v2 alike.

    Args:
        sample_rate_hz: 32 000, 40 000 or 48 000.

    Raises:
        ConfigError: No model of that rate was published.
    """
    sizes = {32_000: (1_024, 80), 40_000: (2_048, 125), 48_000: (2_048, 128)}
    if sample_rate_hz not in sizes:
        raise ConfigError(f"No model was published at {sample_rate_hz} Hz; choose 32000, 40000 or 48000 Hz.")
    fft_samples, mel_bands = sizes[sample_rate_hz]
    return SpectrogramConfig(
        sample_rate_hz=sample_rate_hz,
        fft_samples=fft_samples,
        hop_samples=sample_rate_hz // 100,
        mel_bands=mel_bands,
    )


def revised_2026(config: SpectrogramConfig) -> SpectrogramConfig:
    """Give the same with the lower floors that RVC's own trainer has had since 2026.

    Weights trained with either are interchangeable; only losses differ, in near-silence.
    """
    return replace(config, power_floor=2e-7, mel_floor=2e-6)


def linear_spectrogram(wave: Tensor, config: SpectrogramConfig) -> Tensor:
    """Magnitudes of each frame.

    Args:
        wave: (B, N); longer than half of the window's overlap.
        config: How.

    Returns:
        (B, bins, N // hop).
    """
    edge = (config.fft_samples - config.hop_samples) // 2
    padded = F.pad(wave.float()[:, None], (edge, edge), "reflect")[:, 0]
    power = _power(padded, config.fft_samples, config.hop_samples, center=False)
    return (power + config.power_floor).sqrt()


def mel_of_linear(magnitudes: Tensor, config: SpectrogramConfig) -> Tensor:
    """Log-mel of magnitudes, (B, bins, T) -> (B, mel_bands, T)."""
    bank = _mel_bank_on(magnitudes, config.sample_rate_hz, config.fft_samples, config.mel_bands)
    return (bank @ magnitudes.float()).clamp(min=config.mel_floor).log()


def mel_spectrogram(wave: Tensor, config: SpectrogramConfig) -> Tensor:
    """Log-mel of audio, (B, N) -> (B, mel_bands, N // hop)."""
    return mel_of_linear(linear_spectrogram(wave, config), config)


def centred_log_mel(wave: Tensor, config: SpectrogramConfig) -> Tensor:
    """Decadic log-mel whose frames are centred on their samples, as the multi-scale loss takes it.

    Args:
        wave: (B, N).
        config: How.

    Returns:
        (B, mel_bands, N // hop + 1).
    """
    power = _power(wave.float(), config.fft_samples, config.hop_samples, center=True)
    bank = _mel_bank_on(power, config.sample_rate_hz, config.fft_samples, config.mel_bands)
    return (bank @ (power + config.power_floor).sqrt()).clamp(min=config.mel_floor).log10()


@lru_cache(maxsize=32)
def mel_bank(sample_rate_hz: int, fft_samples: int, bands: int) -> Tensor:
    """Triangular filters on Slaney's mel scale, each of unit area; float32, (bands, bins)."""
    top_mel = _mel(np.array(sample_rate_hz / 2))
    edges_hz = _hz(np.linspace(0.0, top_mel, bands + 2))[:, None]
    bins_hz = np.linspace(0.0, sample_rate_hz / 2, fft_samples // 2 + 1)
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    bank = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (high - low)
    return torch.from_numpy(bank.astype(np.float32))


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ / _HZ_PER_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    break_mel = _BREAK_HZ / _HZ_PER_MEL
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, break_mel) - break_mel))
    return np.where(mel < break_mel, mel * _HZ_PER_MEL, above)


def _mel_bank_on(like: Tensor, sample_rate_hz: int, fft_samples: int, bands: int) -> Tensor:
    return mel_bank(sample_rate_hz, fft_samples, bands).to(like.device)


def _power(wave: Tensor, fft_samples: int, hop_samples: int, *, center: bool) -> Tensor:
    window = torch.hann_window(fft_samples, device=wave.device)
    spectrum = torch.stft(
        wave, fft_samples, hop_samples, fft_samples, window, center=center, return_complex=True
    )
    return torch.view_as_real(spectrum).square().sum(-1)
