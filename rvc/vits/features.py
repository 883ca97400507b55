"""What RVC's training sees of a slice of a recording: content, melody, spectrogram; and batches of them.

Shapes:  B = batch, N = samples, F = content vectors (50 per second), D = numbers per content vector,
         T = N // hop frames of 10 ms, bins = fft // 2 + 1.
Source:  RVC's preparation; spectrograms after HiFi-GAN's recipe: reflected edges, no centring, Hann window,
         librosa's mel filters. Published weights were trained on them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rvc.audio.level import RATE_16K_HZ
from rvc.audio.resampling import resample
from rvc.errors import ConfigError
from rvc.pitch.f0 import F0Estimator, coarse_bins
from rvc.training.task import Features
from rvc.vits.content_encoder import FRAMES_PER_CONTENT, ContentVec, HubertSizes

LONGEST_FRAMES = 900  # of a longer slice a stretch is taken: more takes memory and teaches no more
PEAK, OWN_SHARE = 0.675, 0.25  # a slice gets this peak and a quarter of itself: loud ones stay a bit louder
_BREAK_HZ, _BREAK_MEL = 1_000.0, 1_000.0 / (200.0 / 3.0)  # Slaney's scale: linear below, logarithmic above
_HZ_PER_MEL = 200.0 / 3.0
_LOG_STEP = np.log(6.4) / 27.0


@dataclass(frozen=True, kw_only=True)
class SpectrogramConfig:
    """How sound becomes a spectrogram: magnitudes of audio within -1..1; mel in natural logarithms."""

    sample_rate_hz: int
    fft_samples: int
    hop_samples: int
    mel_bands: int  # from 0 Hz to half the rate
    power_floor: float = 1e-6  # added to the power before the root
    mel_floor: float = 1e-5  # the least that enters the logarithm


def published_spectrogram(sample_rate_hz: int) -> SpectrogramConfig:
    """Give the settings that published models of a rate were trained with, v1 and v2 alike."""
    sizes = {32_000: (1_024, 80), 40_000: (2_048, 125), 48_000: (2_048, 128)}
    if sample_rate_hz not in sizes:
        raise ConfigError(f"No model was published at {sample_rate_hz} Hz; choose 32000, 40000 or 48000 Hz.")
    fft, bands = sizes[sample_rate_hz]
    hop = sample_rate_hz // 100
    return SpectrogramConfig(sample_rate_hz=sample_rate_hz, fft_samples=fft, hop_samples=hop, mel_bands=bands)


def linear_spectrogram(wave: Tensor, config: SpectrogramConfig) -> Tensor:
    """Magnitudes of each frame, (B, N) -> (B, bins, T); N is above half of the window's overlap."""
    fft, hop = config.fft_samples, config.hop_samples
    edge = (fft - hop) // 2
    padded = F.pad(wave.float()[:, None], (edge, edge), "reflect")[:, 0]
    window = torch.hann_window(fft, device=wave.device)
    spectrum = torch.stft(padded, fft, hop, fft, window, center=False, return_complex=True)
    return (torch.view_as_real(spectrum).square().sum(-1) + config.power_floor).sqrt()


def mel_of_linear(magnitudes: Tensor, config: SpectrogramConfig) -> Tensor:
    """Log-mel of magnitudes, (B, bins, T) -> (B, mel_bands, T)."""
    bank = mel_bank(config.sample_rate_hz, config.fft_samples, config.mel_bands).to(magnitudes.device)
    return (bank @ magnitudes.float()).clamp(min=config.mel_floor).log()


def mel_spectrogram(wave: Tensor, config: SpectrogramConfig) -> Tensor:
    """Log-mel of audio, (B, N) -> (B, mel_bands, T)."""
    return mel_of_linear(linear_spectrogram(wave, config), config)


@lru_cache(maxsize=32)
def mel_bank(sample_rate_hz: int, fft_samples: int, bands: int) -> Tensor:
    """Triangular filters on Slaney's mel scale, each of unit area, (bands, bins).

    `librosa.filters.mel` gives the same numbers, but takes longer to import than torch.
    """
    top_mel = _BREAK_MEL + np.log(sample_rate_hz / 2 / _BREAK_HZ) / _LOG_STEP
    mel = np.linspace(0.0, top_mel, bands + 2)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    edges_hz = np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)[:, None]
    bins_hz = np.linspace(0.0, sample_rate_hz / 2, fft_samples // 2 + 1)
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    bank = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (high - low)
    return torch.from_numpy(bank.astype(np.float32))


@dataclass
class FeatureExtractor:
    """Takes features from slices."""

    weights: Path  # the content encoder's; read when first needed
    sizes: HubertSizes  # those of that encoder
    version: str  # of the voice
    spectrogram: SpectrogramConfig
    estimator: F0Estimator
    device: torch.device  # where the encoder computes
    _encoder: ContentVec | None = None

    @torch.no_grad()
    def extract(self, wav: NDArray[np.float32], rate_hz: int) -> dict[str, Tensor]:
        """Take the features of one slice, (N,), cut to what all of them cover.

        content (F, D) and spectrogram (bins, T), half; f0_hz (T,) and audio (T * hop,), float32; pitch (T,),
        bins in a byte: 290 kB per second of a v2 voice at 40 kHz.
        """
        wav = peak_normalized(wav)
        wav16k = resample(wav, rate_hz, RATE_16K_HZ)
        audio = torch.from_numpy(resample(wav, rate_hz, self.spectrogram.sample_rate_hz))
        magnitudes = linear_spectrogram(audio[None], self.spectrogram)[0]
        if self._encoder is None:
            self._encoder = ContentVec.load(self.weights, self.sizes).to(self.device)
        content = self._encoder(torch.from_numpy(wav16k)[None].to(self.device), self.version)[0].cpu()
        f0_hz = self.estimator(wav16k).astype(np.float32)
        frames = min(FRAMES_PER_CONTENT * len(content), magnitudes.shape[1], len(f0_hz))
        f0_hz = f0_hz[:frames]
        return {
            "content": content[: -(-frames // FRAMES_PER_CONTENT)].half(),
            "f0_hz": torch.from_numpy(f0_hz),
            "pitch": torch.from_numpy(coarse_bins(f0_hz)).to(torch.uint8),
            "spectrogram": magnitudes[:, :frames].half(),
            "audio": audio[: frames * self.spectrogram.hop_samples],
        }

    def release(self) -> None:
        """Free the memory of the encoder; it is read again when it is needed again."""
        self._encoder = None


def peak_normalized(wav: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a slice nearly to one peak, as published preparations do; silence stays as it is."""
    peak = float(np.abs(wav).max(initial=0.0))
    return (wav * np.float32(PEAK / peak + OWN_SHARE)).astype(np.float32) if peak > 0.0 else wav


def batch_of(items: Sequence[Features], generator: torch.Generator, hop_samples: int) -> dict[str, Tensor]:
    """Put whole slices side by side, padded with zeros at their ends; of too long ones, drawn stretches.

    lengths (B,), content (B, T, D), pitch and f0_hz (B, T), spectrogram (B, bins, T), audio (B, 1, T * hop).
    """
    stretches = [_stretch(item, generator, hop_samples) for item in items]
    lengths = torch.tensor([len(item["f0_hz"]) for item in stretches])
    longest = int(lengths.max())
    rows = {}
    for name in stretches[0]:
        length = longest * hop_samples if name == "audio" else longest
        # Time is the last dimension but for content.
        parts = [item[name].movedim(0, -1) if name == "content" else item[name] for item in stretches]
        rows[name] = torch.stack([F.pad(part, (0, length - part.shape[-1])) for part in parts])
    rows["content"] = rows["content"].transpose(1, 2)
    rows["audio"] = rows["audio"][:, None]
    return rows | {"lengths": lengths}


def whole_frames(item: Features) -> Tensor:
    """Give a slice's content vectors frame by frame, float32, (T, D)."""
    return item["content"].float().repeat_interleave(FRAMES_PER_CONTENT, dim=0)[: len(item["f0_hz"])]


def _stretch(item: Features, generator: torch.Generator, hop_samples: int) -> dict[str, Tensor]:
    """Take all of a slice, or a stretch of 9 s from anywhere."""
    frames = len(item["f0_hz"])
    # Drawn in any case, so that the next slice's draw does not depend on this one's length.
    start = int(torch.randint(max(frames - LONGEST_FRAMES, 0) + 1, (1,), generator=generator))
    stop = min(start + LONGEST_FRAMES, frames)
    return {
        "content": whole_frames(item)[start:stop],
        "pitch": item["pitch"][start:stop],
        "f0_hz": item["f0_hz"][start:stop],
        "spectrogram": item["spectrogram"][:, start:stop],
        "audio": item["audio"][start * hop_samples : stop * hop_samples],
    }
