"""Training checkpoints and pretrained weights of RVC: G_*.pth, D_*.pth, f0G40k.pth and their like.

    model          all weights, the posterior encoder's too; float32, or half in pretrained files
    iteration      the epoch
    optimizer      AdamW's state, weights numbered in the order of `model`
    learning_rate  the rate that training began with

They have no sizes, so whoever reads one says which network it is for; the names and shapes must be exactly
that network's. Of pretrained files `model` alone is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from rvc.errors import CheckpointError
from rvc.torch_file import check_weights, read_document, tensors_by_name, write_document
from rvc.vits.config import SynthesizerConfig, Version
from rvc.vits.discriminator import Discriminators
from rvc.vits.voice_model import synthesizer_shapes
from rvc.vits.weight_norm import published_state

MAX_CHECKPOINT_BYTES = 2_000_000_000
Weights = Mapping[str, Tensor]  # by published name, weight norm unfolded, in the order of the file


def read_generator(path: Path, config: SynthesizerConfig) -> tuple[SynthesizerConfig, Weights]:
    """Read a synthesizer in training, or a pretrained one, with as many speakers as the file has."""
    weights = _read(path)
    table = weights.get("emb_g.weight")
    if table is not None and table.ndim == 2 and table.shape[0]:
        config = replace(config, speakers=table.shape[0])
    check_weights(weights, synthesizer_shapes(config, with_posterior=True), path.name)
    return config, weights


def read_discriminators(path: Path, version: Version, narrowing: int = 1) -> Weights:
    """Read discriminators in training, or pretrained ones."""
    weights = _read(path)
    with torch.device("meta"):
        state = published_state(Discriminators(version, narrowing))
    check_weights(weights, {name: tensor.shape for name, tensor in state.items()}, path.name)
    return weights


def write_training_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, learning_rate: float
) -> None:
    """Write a network in training, not folded, and its optimizer as every RVC program reads it."""
    state = optimizer.state_dict()
    # Their schedules refuse a group that does not say its first rate; kernels are this machine's affair.
    groups = [{"initial_lr": learning_rate, **group, "fused": None} for group in state["param_groups"]]
    weights = published_state(network)
    document = {
        "model": {name: tensor.detach().cpu().float().contiguous() for name, tensor in weights.items()},
        "iteration": epoch,
        "optimizer": {**state, "param_groups": groups},
        "learning_rate": learning_rate,
    }
    write_document(path, document)


def _read(path: Path) -> dict[str, Tensor]:
    document = read_document(path, MAX_CHECKPOINT_BYTES)
    if "model" not in document:
        kind = "a voice model" if "weight" in document else "something else"
        raise CheckpointError(
            f"{path.name} is {kind}, not a training checkpoint; choose a G or D file with all weights."
        )
    epoch, rate = document.get("iteration", 0), document.get("learning_rate", 0)
    if not isinstance(epoch, int) or not isinstance(rate, int | float) or bool in (type(epoch), type(rate)):
        raise CheckpointError(
            f"{path.name} has no number for its epoch or learning rate; choose another checkpoint."
        )
    return tensors_by_name(document["model"], path)
