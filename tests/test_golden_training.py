"""Discriminators and one whole step of training equal those of published programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rvc.torch_file import load_published_state, published_name, published_state
from rvc.training.group import Group
from rvc.vits.config import SynthesizerConfig, Version
from rvc.vits.discriminator import (
    KL_WEIGHT,
    DiscriminatorOutput,
    Discriminators,
    discriminator_loss,
    feature_loss,
    generator_loss,
    kl_loss,
    mel_loss,
)
from rvc.vits.features import SpectrogramConfig, linear_spectrogram, mel_of_linear, mel_spectrogram
from rvc.vits.prior_encoder import segments
from rvc.vits.sizes import synthesizer_shapes
from rvc.vits.step import Precision, Trainer, TrainingBatch
from rvc.vits.synthesizer import Noise, Target, TrainingOutput, VitsFrames, VitsSynthesizer
from tests.golden_files import recipe_weights
from tests.golden_networks import arrays, assert_near, folder, stem, vectors_with, voice_config, voices

ACTIVATIONS = (2e-4, 1e-4)
SCORES = (0.0, 1e-4)
LOSSES = 1e-3
GRADIENTS = 2e-3
PARAMETERS = 2e-6
SIGN_FLIP = 2.1e-4  # AdamW's first step has its full length also where a gradient is nearly zero


def discriminators(version: Version) -> Discriminators:
    judges = Discriminators(version)
    load_published_state(judges, recipe_weights(published_state(judges), f"mpd_{version}/"))
    return judges


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("path", vectors_with("y", "y_hat"), ids=stem)
@torch.no_grad()
def test_discriminators_judge_as_published_programs_do(path: Path, version: Version) -> None:
    given = arrays(path)
    if f"{version}.d0.real" not in given:
        pytest.skip(f"{path.stem} has no {version}")
    judges = discriminators(version)
    real, made = judges(given["y"]), judges(given["y_hat"])
    for number, (of_real, of_made) in enumerate(zip(real, made, strict=True)):
        name = f"{version}.d{number}"
        assert_near(of_real.score, given[f"{name}.real"], SCORES, f"{name}.real")
        assert_near(of_made.score, given[f"{name}.gen"], SCORES, f"{name}.gen")
        means = torch.stack([layer.abs().mean() for layer in of_real.layers])
        assert_near(means, given[f"{name}.fmap_real_meanabs"], SCORES, f"{name}.layers")
        shapes = [[*layer.shape, 0][:4] for layer in of_real.layers]
        assert shapes == given[f"{name}.fmap_shapes"].tolist()
    for loss, name in (
        (discriminator_loss(real, made), "disc_loss"),
        (generator_loss(made), "gen_loss"),
        (feature_loss(real, made), "fm_loss"),
    ):
        torch.testing.assert_close(loss, given[f"{version}.{name}"], rtol=1e-4, atol=0)


@dataclass
class Step:
    """One golden step: what is given, the networks, and how sound becomes a spectrogram."""

    given: dict[str, Tensor]
    synthesizer: VitsSynthesizer
    judges: Discriminators
    spectrogram: SpectrogramConfig

    @property
    def segment_frames(self) -> int:
        return self.given["y_mel"].shape[-1]

    def optimizer(self, network: nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            network.parameters(), lr=1e-4, betas=(0.8, 0.99), eps=1e-9, weight_decay=0.01
        )


def takes(config: SynthesizerConfig, given: dict[str, Tensor]) -> bool:
    """Whether a synthesizer of these sizes could be given these inputs."""
    sizes = (config.content_dim, config.latent_channels, config.uses_f0)
    return sizes == (given["phone"].shape[-1], given["noise_q"].shape[1], "pitch" in given)


def weights_with_posterior(
    given: dict[str, Tensor],
) -> tuple[SynthesizerConfig, dict[str, Tensor]] | None:
    """The weights of a synthesizer in training, and the sizes of the voice model that it gave."""
    for path in sorted(folder().glob("*.safetensors")):
        weights = load_file(path)
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        for voice in voices():
            config = voice_config(voice)
            if takes(config, given) and synthesizer_shapes(config, with_posterior=True) == shapes:
                return config, weights
    return None


def load_step(path: Path) -> Step:
    found = weights_with_posterior(arrays(path))
    if found is None:
        pytest.skip("no weights with posterior encoder and no voice model of the same sizes")
    config, weights = found
    synthesizer = VitsSynthesizer(config)
    load_published_state(synthesizer, weights)
    spectrogram = SpectrogramConfig(
        sample_rate_hz=config.sample_rate_hz,
        fft_samples=2 * (config.spectrogram_bins - 1),
        hop_samples=config.hop_samples,
        mel_bands=arrays(path)["y_mel"].shape[1],
    )
    return Step(
        given=arrays(path),
        synthesizer=synthesizer,
        judges=discriminators(config.version),
        spectrogram=spectrogram,
    )


def asked_of(given: dict[str, Tensor]) -> tuple[VitsFrames, Noise]:
    frames = VitsFrames(
        content=given["phone"],
        lengths=given["phone_lengths"],
        speaker=given["sid"],
        pitch=given.get("pitch"),
        f0_hz=given.get("pitchf"),
    )
    source = given.get("noise_sine")
    noise = Noise(
        latent=given["noise_q"],
        source=None if source is None else source.transpose(1, 2),
        starts=given["rand_slice_u"],
    )
    return frames, noise


def generate(step: Step, spectrogram: Tensor) -> TrainingOutput:
    frames, noise = asked_of(step.given)
    lengths = step.given["spec_lengths"]
    target = Target(spectrogram=spectrogram, lengths=lengths, segment_frames=step.segment_frames)
    made: TrainingOutput = step.synthesizer(frames, target, noise)
    return made


def masked_spectrogram(step: Step) -> Tensor:
    made = linear_spectrogram(step.given["wave"][:, 0], step.spectrogram)
    for item, length in enumerate(step.given["spec_lengths"].tolist()):
        made[item, :, length:] = 0
    assert_near(made, step.given["spec"], (2e-3, 1e-3), "spec, which is kept in half precision")
    return made


def assert_activations(made: TrainingOutput, given: dict[str, Tensor]) -> None:
    assert torch.equal(made.starts, given["ids_slice"])
    for tensor, name in (
        (made.audio, "y_hat"),
        (made.latent, "z"),
        (made.prior_latent, "z_p"),
        (made.prior_mean, "m_p"),
        (made.prior_log_deviation, "logs_p"),
        (made.posterior_mean, "m_q"),
        (made.posterior_log_deviation, "logs_q"),
    ):
        assert_near(tensor.detach(), given[name], ACTIVATIONS, name)


def gradient_norm(network: nn.Module) -> float:
    return float(
        torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).double().norm()
    )


def assert_loss(loss: Tensor, given: dict[str, Tensor], name: str) -> None:
    assert float(loss.detach()) == pytest.approx(float(given[name]), rel=LOSSES), name


def assert_gradients(step: Step, path: Path) -> None:
    with np.load(path, allow_pickle=False) as file:
        expected = dict(zip(file["grad_keys"].tolist(), file["grad_norms"].tolist(), strict=True))
    made = {
        published_name(name): 0.0 if parameter.grad is None else float(parameter.grad.double().norm())
        for name, parameter in step.synthesizer.named_parameters()
    }
    assert set(made) == set(expected)
    total = float(step.given["grad_norm_g"])
    assert gradient_norm(step.synthesizer) == pytest.approx(total, rel=GRADIENTS)
    for name, norm in expected.items():
        # Where the exact gradient is zero (keys' biases) both have only rounding.
        assert made[name] == pytest.approx(norm, rel=GRADIENTS, abs=1e-7 * total), name


def assert_parameters(step: Step) -> None:
    after = published_state(step.synthesizer)
    names = [name for name in step.given if name.startswith("after_step.")]
    assert names
    for name in names:
        difference = (after[name.removeprefix("after_step.")] - step.given[name]).abs()
        assert float(difference.max()) <= SIGN_FLIP, name
        assert float((difference > PARAMETERS).float().mean()) <= 0.005, name


@pytest.mark.timeout(1_800)  # published discriminators at full size, forwards and backwards
@pytest.mark.parametrize("path", vectors_with("grad_keys", "rand_slice_u"), ids=stem)
def test_one_step_of_training_is_that_of_published_programs(path: Path) -> None:
    step = load_step(path)
    given, hop = step.given, step.spectrogram.hop_samples
    optimizer_g, optimizer_d = step.optimizer(step.synthesizer), step.optimizer(step.judges)
    spectrogram = masked_spectrogram(step)
    made = generate(step, spectrogram)
    assert_activations(made, given)
    wave = segments(given["wave"], made.starts * hop, step.segment_frames * hop)
    assert torch.equal(wave, given["wave_slice"])

    loss_d = discriminator_loss(step.judges(wave), step.judges(made.audio.detach()))
    assert_loss(loss_d, given, "loss_disc")
    loss_d.backward()  # type: ignore[no-untyped-call]
    assert gradient_norm(step.judges) == pytest.approx(float(given["grad_norm_d"]), rel=GRADIENTS)
    optimizer_d.step()

    of_real: list[DiscriminatorOutput] = step.judges(wave)
    of_made: list[DiscriminatorOutput] = step.judges(made.audio)
    real_mel = segments(mel_of_linear(spectrogram, step.spectrogram), made.starts, step.segment_frames)
    made_mel = mel_spectrogram(made.audio[:, 0], step.spectrogram)
    assert_near(real_mel, given["y_mel"], (1e-3, 0.0), "y_mel")
    assert_near(made_mel.detach(), given["y_hat_mel"], (1e-3, 0.0), "y_hat_mel")
    parts = {
        "loss_gen": generator_loss(of_made),
        "loss_fm": feature_loss(of_real, of_made),
        "loss_mel": mel_loss(made_mel, real_mel),
        "loss_kl": KL_WEIGHT * kl_loss(made),
    }
    for name, loss in parts.items():
        assert_loss(loss, given, name)
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert_gradients(step, path)
    optimizer_g.step()
    assert_parameters(step)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("path", vectors_with("grad_keys", "rand_slice_u"), ids=stem)
def test_the_trainer_takes_the_step_of_published_programs(path: Path) -> None:
    step = load_step(path)
    device = torch.device("cpu")
    trainer = Trainer(
        step.synthesizer,
        step.judges,
        step.spectrogram,
        step.segment_frames,
        Precision("float32", device),
        Group(0, 1, device),
    )
    frames, noise = asked_of(step.given)
    passage = TrainingBatch(frames=frames, spectrogram=masked_spectrogram(step), wave=step.given["wave"])
    losses = trainer.step(passage, noise, 1e-4)
    for name, golden in (
        ("discriminator", "loss_disc"),
        ("adversarial", "loss_gen"),
        ("features", "loss_fm"),
        ("mel", "loss_mel"),
        ("kl", "loss_kl"),
    ):
        assert_loss(losses[name], step.given, golden)
    assert gradient_norm(step.judges) == pytest.approx(float(step.given["grad_norm_d"]), rel=GRADIENTS)
    assert_gradients(step, path)
    assert_parameters(step)
