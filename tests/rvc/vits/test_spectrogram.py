"""Training's spectrograms: a tone lies in its place, silence at the floor, a frame every hop."""

from __future__ import annotations

import math

import pytest
import torch

from rvc.errors import ConfigError
from rvc.vits.discriminator import mel_loss
from rvc.vits.features import linear_spectrogram, mel_bank, mel_spectrogram, published_spectrogram
from tests.golden_spectrograms import multiscale_mel_distance, revised_2026

RATES = (32_000, 40_000, 48_000)


def tone(hz: float, rate_hz: int) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hz * torch.arange(rate_hz // 4) / rate_hz)[None]


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_tone_is_loudest_at_its_frequency(rate_hz: int) -> None:
    config = published_spectrogram(rate_hz)
    magnitudes = linear_spectrogram(tone(1_000.0, rate_hz), config)
    assert magnitudes.shape == (1, config.fft_samples // 2 + 1, 25)
    loudest = int(magnitudes[0, :, 12].argmax())
    assert abs(loudest * rate_hz / config.fft_samples - 1_000.0) <= rate_hz / config.fft_samples


def test_silence_is_the_floor_of_its_convention() -> None:
    classic = published_spectrogram(40_000)
    for config, floor in ((classic, 1e-5), (revised_2026(classic), 2e-6)):
        mel = mel_spectrogram(torch.zeros(1, 8_000), config)
        lowest = max(floor, float(mel_bank(40_000, 2_048, 125).sum(1).max()) * config.power_floor**0.5)
        assert float(mel.max()) <= math.log(lowest) + 1e-4
        assert float(mel.min()) >= math.log(floor) - 1e-4


def test_every_mel_filter_has_unit_area() -> None:
    bank = mel_bank(48_000, 2**14, 40)
    torch.testing.assert_close(bank.sum(1) * 48_000 / 2**14, torch.ones(40), rtol=0.02, atol=0)


def test_equal_audio_is_at_no_distance_and_louder_noise_is_farther() -> None:
    wave = tone(300.0, 32_000)[None]
    noise = torch.randn(wave.shape, generator=torch.Generator().manual_seed(0))
    assert float(multiscale_mel_distance(wave, wave, 32_000)) == 0.0
    near, far = (float(multiscale_mel_distance(wave + 0.1**n * noise, wave, 32_000)) for n in (3, 1))
    assert 0 < near < far
    assert float(mel_loss(wave, wave + 1)) == pytest.approx(45.0, rel=1e-5)


def test_a_rate_at_which_nothing_was_published_is_refused() -> None:
    with pytest.raises(ConfigError, match="44100"):
        published_spectrogram(44_100)
