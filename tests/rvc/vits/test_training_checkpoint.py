"""Training checkpoints and pretrained weights: what is written is read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rvc.errors import CheckpointError
from rvc.torch_file import load_published_state, published_state
from rvc.vits.discriminator import Discriminators
from rvc.vits.sizes import synthesizer_shapes
from rvc.vits.synthesizer import VitsSynthesizer
from rvc.vits.voice_model import (
    VoiceModel,
    read_discriminators,
    read_generator,
    write_training_checkpoint,
    write_voice_model,
)
from tests.tiny_rvc import tiny_config, tiny_synthesizer
from tests.tiny_rvc_training import write_pretrained


def stepped(synthesizer: VitsSynthesizer) -> torch.optim.AdamW:
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
    write_training_checkpoint(path, synthesizer, optimizer, 20, 1e-4)
    written = torch.load(path, weights_only=True)
    assert set(written) == {"model", "iteration", "optimizer", "learning_rate"}
    assert (written["iteration"], written["learning_rate"]) == (20, 1e-4)
    assert {tensor.dtype for tensor in written["model"].values()} == {torch.float32}
    shapes = {name: tensor.shape for name, tensor in written["model"].items()}
    assert shapes == synthesizer_shapes(synthesizer.config, with_posterior=True)

    config, weights = read_generator(path, synthesizer.config)
    resumed = VitsSynthesizer(config)
    load_published_state(resumed, weights)
    for one, other in zip(synthesizer.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    again = torch.optim.AdamW(resumed.parameters())
    again.load_state_dict(written["optimizer"])
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
    write_training_checkpoint(path, synthesizer, ours, epoch, 1e-4)
    written = torch.load(path, weights_only=True)
    theirs = torch.optim.AdamW(synthesizer.parameters(), lr=1e-4)
    theirs.load_state_dict(written["optimizer"])
    # As they build it; it refuses optimizers that do not say their first rate.
    schedule = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.999875, last_epoch=written["iteration"] - 2)
    assert schedule.base_lrs == [1e-4 if epoch > 1 else theirs.param_groups[0]["initial_lr"]]
    assert theirs.param_groups[0]["initial_lr"] == 1e-4
    theirs.step()
    assert not theirs.param_groups[0]["fused"]  # kernels that their device may not have


def test_pretrained_weights_bring_their_own_number_of_speakers(tmp_path: Path) -> None:
    pretrained = tiny_synthesizer(speakers=7)
    path = tmp_path / "f0G40k.pth"
    write_pretrained(path, published_state(pretrained))
    written = torch.load(path, weights_only=True)
    assert set(written) == {"model"}
    assert {tensor.dtype for tensor in written["model"].values()} == {torch.float16}
    config, weights = read_generator(path, tiny_config(speakers=1))
    assert config.speakers == 7
    load_published_state(VitsSynthesizer(config), weights)


@pytest.mark.slow
def test_discriminators_in_half_precision_are_read(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in published_state(Discriminators("v1")).items()}
    path = tmp_path / "f0D40k.pth"
    write_pretrained(path, {name: torch.ones(shape) for name, shape in shapes.items()})
    assert {name: tensor.shape for name, tensor in read_discriminators(path, "v1").items()} == shapes
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
