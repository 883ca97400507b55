"""Spectrograms, mel filters and losses equal those that published programs compute."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rvc.vits.discriminator import (
    DiscriminatorOutput,
    discriminator_loss,
    feature_loss,
    generator_loss,
    kl_loss,
)
from rvc.vits.features import linear_spectrogram, mel_bank, mel_spectrogram, published_spectrogram
from rvc.vits.synthesizer import TrainingOutput
from tests.golden_networks import arrays, names_in, stem, vectors_with
from tests.golden_spectrograms import multiscale_mel_distance, revised_2026

RATES = [
    (path, name.removesuffix(".wave"))
    for path in vectors_with()
    for name in names_in(path)
    if re.fullmatch(r"\d+k\.wave", name)
]


def ids(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("path", "rate"), RATES, ids=ids)
def test_spectrograms_are_those_that_published_weights_were_trained_on(path: Path, rate: str) -> None:
    given = {name.split(".", 1)[1]: tensor for name, tensor in arrays(path).items() if name.startswith(rate)}
    config = published_spectrogram(int(rate.removesuffix("k")) * 1_000)
    wave = given["wave"]
    made = linear_spectrogram(wave, config)
    torch.testing.assert_close(made, given["spec_classic"], rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(mel_spectrogram(wave, config), given["mel_classic"], rtol=0, atol=1e-3)
    revised = revised_2026(config)
    torch.testing.assert_close(mel_spectrogram(wave, revised), given["mel_2026"], rtol=0, atol=1e-3)
    middle = linear_spectrogram(wave, revised)[..., 25]
    torch.testing.assert_close(middle, given["spec_2026_frame25"], rtol=1e-4, atol=2e-5)
    bank = mel_bank(config.sample_rate_hz, config.fft_samples, config.mel_bands)
    torch.testing.assert_close(bank.sum(1), given["mel_basis_sum_rows"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(bank[40], given["mel_basis_row40"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("path", vectors_with("kl_mask", "feature_loss"), ids=stem)
def test_losses_are_those_of_published_programs(path: Path) -> None:
    given = arrays(path)
    count = sum(name.startswith("dr") for name in given)

    def judged(score: str, layers: str) -> list[DiscriminatorOutput]:
        return [
            DiscriminatorOutput(
                score=given[f"{score}{number}"],
                layers=[tensor for name, tensor in given.items() if name.startswith(f"{layers}{number}_")],
            )
            for number in range(count)
        ]

    real, made = judged("dr", "fr"), judged("dg", "fg")
    nothing = torch.empty(0)
    trained = TrainingOutput(
        prior_latent=given["z_p"],
        prior_mean=given["m_p"],
        prior_log_deviation=given["logs_p"],
        posterior_log_deviation=given["logs_q"],
        mask=given["kl_mask"],
        audio=nothing,
        latent=nothing,
        starts=nothing,
        posterior_mean=nothing,
    )
    for loss, name in (
        (discriminator_loss(real, made), "disc_loss"),
        (generator_loss(made), "gen_loss"),
        (feature_loss(real, made), "feature_loss"),
        (kl_loss(trained), "kl_loss"),
    ):
        assert float(loss) == pytest.approx(float(given[name]), rel=1e-5), name


def rate_of(name: str) -> int | None:
    found = re.fullmatch(r"loss_(\d+)", name)
    return int(found[1]) if found else None


@pytest.mark.parametrize("path", vectors_with("real", "fake"), ids=stem)
def test_the_multiscale_mel_distance_is_that_of_published_programs(path: Path) -> None:
    given = arrays(path)
    rates = {rate: given[name] for name in given if (rate := rate_of(name))}
    assert rates
    for rate, expected in rates.items():
        made: Tensor = multiscale_mel_distance(given["fake"], given["real"], rate)
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
