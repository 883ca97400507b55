"""Training checkpoints and pretrained weights: what is written is read back, whatever the order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rvc.errors import CheckpointError
from rvc.vits.discriminator import Discriminators
from rvc.vits.synthesizer import Synthesizer
from rvc.vits.training_checkpoint import (
    TrainingCheckpoint,
    read_discriminators,
    read_generator,
    training_checkpoint,
    write_pretrained,
    write_training_checkpoint,
)
from rvc.vits.voice_model import VoiceModel, synthesizer_shapes, write_voice_model
from rvc.vits.weight_norm import load_published_state, published_state
from tests.tiny_rvc import tiny_config, tiny_synthesizer


def stepped(synthesizer: Synthesizer) -> torch.optim.AdamW:
    """An optimizer that has taken one step, with moments that differ from weight to weight."""
    optimizer = torch.optim.AdamW(synthesizer.parameters(), lr=1e-4, betas=(0.8, 0.99), eps=1e-9)
    for number, parameter in enumerate(synthesizer.parameters()):
        parameter.grad = torch.full_like(parameter, 0.01 * (number + 1))
    optimizer.step()
    return optimizer


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    synthesizer = tiny_synthesizer()
    optimizer = stepped(synthesizer)
    path = tmp_path / "G_20.pth"
    write_training_checkpoint(path, training_checkpoint(synthesizer, optimizer, 20, 1e-4))
    written = torch.load(path, weights_only=True)
    assert set(written) == {"model", "iteration", "optimizer", "learning_rate"}
    assert (written["iteration"], written["learning_rate"]) == (20, 1e-4)
    assert {tensor.dtype for tensor in written["model"].values()} == {torch.float32}
    shapes = {name: tensor.shape for name, tensor in written["model"].items()}
    assert shapes == synthesizer_shapes(synthesizer.config, with_posterior=True)

    config, checkpoint = read_generator(path, synthesizer.config)
    resumed = Synthesizer(config)
    load_published_state(resumed, checkpoint.weights)
    for one, other in zip(synthesizer.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    again = torch.optim.AdamW(resumed.parameters())
    again.load_state_dict(checkpoint.optimizer_for(resumed))
    assert again.param_groups[0]["betas"] == (0.8, 0.99)
    for one, other in zip(synthesizer.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(optimizer.state[one]["exp_avg"], again.state[other]["exp_avg"])


@pytest.mark.parametrize("epoch", [1, 2, 20])
def test_the_schedule_of_other_programs_goes_on_from_a_checkpoint(tmp_path: Path, epoch: int) -> None:
    synthesizer = tiny_synthesizer()
    ours = torch.optim.AdamW(synthesizer.parameters(), lr=9e-5, fused=True)
    for parameter in synthesizer.parameters():
        parameter.grad = torch.ones_like(parameter)
    ours.step()
    path = tmp_path / "G_20.pth"
    write_training_checkpoint(path, training_checkpoint(synthesizer, ours, epoch, 1e-4))
    written = torch.load(path, weights_only=True)
    theirs = torch.optim.AdamW(synthesizer.parameters(), lr=1e-4)
    theirs.load_state_dict(written["optimizer"])
    # As they build it; it refuses optimizers that do not say their first rate.
    schedule = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.999875, last_epoch=written["iteration"] - 2)
    assert schedule.base_lrs == [1e-4 if epoch > 1 else theirs.param_groups[0]["initial_lr"]]
    assert theirs.param_groups[0]["initial_lr"] == 1e-4
    theirs.step()
    assert not theirs.param_groups[0]["fused"]  # kernels that their device may not have


def test_an_optimizer_that_numbers_the_weights_otherwise_is_renumbered() -> None:
    synthesizer = tiny_synthesizer()
    ours = training_checkpoint(synthesizer, stepped(synthesizer), 1, 1e-4)
    assert ours.optimizer is not None
    names = list(ours.weights)
    theirs = sorted(names, key=lambda name: (name.split(".")[0] == "enc_p", names.index(name)))
    assert theirs != names
    state: dict[int, Any] = {
        theirs.index(name): ours.optimizer["state"][number] for number, name in enumerate(names)
    }
    foreign = TrainingCheckpoint(
        weights={name: ours.weights[name] for name in theirs},
        optimizer={"state": state, "param_groups": ours.optimizer["param_groups"]},
    )
    renumbered = foreign.optimizer_for(synthesizer)
    for number in range(len(names)):
        expected = ours.optimizer["state"][number]["exp_avg"]
        assert torch.equal(renumbered["state"][number]["exp_avg"], expected)


def test_an_optimizer_of_other_weights_is_refused() -> None:
    synthesizer, other = tiny_synthesizer(), tiny_synthesizer("v1")
    checkpoint = training_checkpoint(synthesizer, stepped(synthesizer), 1, 1e-4)
    with pytest.raises(CheckpointError, match="no optimizer state for these weights"):
        TrainingCheckpoint(weights=checkpoint.weights).optimizer_for(synthesizer)
    mixed = TrainingCheckpoint(
        weights=checkpoint.weights, optimizer=training_checkpoint(other, stepped(other), 1, 1e-4).optimizer
    )
    with pytest.raises(CheckpointError, match="no optimizer state for these weights"):
        mixed.optimizer_for(synthesizer)


def test_pretrained_weights_bring_their_own_number_of_speakers(tmp_path: Path) -> None:
    pretrained = tiny_synthesizer(speakers=7)
    path = tmp_path / "f0G40k.pth"
    write_pretrained(path, published_state(pretrained))
    written = torch.load(path, weights_only=True)
    assert set(written) == {"model"}
    assert {tensor.dtype for tensor in written["model"].values()} == {torch.float16}
    config, checkpoint = read_generator(path, tiny_config(speakers=1))
    assert config.speakers == 7
    assert (checkpoint.epoch, checkpoint.optimizer) == (0, None)
    load_published_state(Synthesizer(config), checkpoint.weights)


@pytest.mark.slow
def test_discriminators_in_half_precision_are_read(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in published_state(Discriminators("v1")).items()}
    path = tmp_path / "f0D40k.pth"
    write_pretrained(path, {name: torch.ones(shape) for name, shape in shapes.items()})
    assert {name: tensor.shape for name, tensor in read_discriminators(path, "v1").weights.items()} == shapes
    with pytest.raises(CheckpointError, match=r"lacks discriminators\.7\."):
        read_discriminators(path, "v2")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    voice, pretrained = tmp_path / "voice.pth", tmp_path / "G.pth"
    write_voice_model(voice, VoiceModel.of(tiny_synthesizer()))
    with pytest.raises(CheckpointError, match="a voice model, not a training checkpoint"):
        read_generator(voice, tiny_config())
    write_pretrained(pretrained, published_state(tiny_synthesizer("v1")))
    with pytest.raises(CheckpointError, match=r"\[8, 256\] where \[8, 768\]"):
        read_generator(pretrained, tiny_config("v2"))
    with pytest.raises(CheckpointError, match=r"lacks discriminators\.0\."):
        read_discriminators(pretrained, "v2")
    torch.save({"model": published_state(tiny_synthesizer()), "iteration": "x"}, pretrained)
    with pytest.raises(CheckpointError, match="no number for its epoch"):
        read_generator(pretrained, tiny_config())
