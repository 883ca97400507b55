"""Log-mel: a tone lies in its band, silence at the floor, a warp moves the tone by its factor."""

from __future__ import annotations

import numpy as np
import torch

from rvc.lite.encoder import MEL_BANDS, POWER_FLOOR, log_mel, mel_bank, power_spectrum


def tone(hz: float, seconds: float = 0.5) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(int(16_000 * seconds)) / 16_000)[None]


def centre_hz(band: int) -> float:
    edges = np.linspace(2595 * np.log10(1 + 40 / 700), 2595 * np.log10(1 + 7600 / 700), MEL_BANDS + 2)
    return float(700 * (10 ** (edges[band + 1] / 2595) - 1))


def test_a_tone_is_loudest_in_the_band_around_it() -> None:
    for hz in (300.0, 1000.0, 3000.0):
        loudest = int(log_mel(power_spectrum(tone(hz)), mel_bank())[0, 25].argmax())
        assert abs(centre_hz(loudest) / hz - 1) < 0.12


def test_a_warp_moves_the_tone_by_its_factor() -> None:
    power = power_spectrum(tone(1200.0))
    plain = centre_hz(int(log_mel(power, mel_bank())[0, 25].argmax()))
    warped = centre_hz(int(log_mel(power, mel_bank(1.2))[0, 25].argmax()))
    assert abs(plain / warped - 1.2) < 0.08


def test_silence_is_the_floor() -> None:
    mel = log_mel(power_spectrum(torch.zeros(1, 1600)), mel_bank())
    torch.testing.assert_close(mel, torch.full_like(mel, float(np.log(POWER_FLOOR))))


def test_there_is_a_frame_every_160_samples_and_one_more() -> None:
    assert power_spectrum(torch.zeros(1, 1600)).shape == (1, 11, 257)
    assert power_spectrum(torch.zeros(1, 1759)).shape == (1, 11, 257)


def test_every_filter_sums_to_one_whatever_the_warp() -> None:
    for warp in (0.8, 1.0, 1.3):
        torch.testing.assert_close(mel_bank(warp).sum(1), torch.ones(MEL_BANDS))
