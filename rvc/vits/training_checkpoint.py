"""Training checkpoints and pretrained weights of RVC: G_*.pth, D_*.pth, f0G40k.pth and their like.

    model          all weights, the posterior encoder's too; float32, or half in pretrained files
    iteration      the epoch
    optimizer      AdamW's state, weights numbered in the order of `model`
    learning_rate  the rate that training began with
    scaler         GradScaler's state, Applio only

They have no sizes, so whoever reads one says which network it is for; the names and shapes must be exactly
that network's. Of pretrained files `model` alone is needed.
Not here: the states of this program's own trainings (training/checkpoints.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rvc.errors import CheckpointError
from rvc.torch_file import check_weights, published_name, read_document, tensors_by_name, write_document
from rvc.vits.config import SynthesizerConfig, Version
from rvc.vits.discriminator import Discriminators
from rvc.vits.voice_model import synthesizer_shapes
from rvc.vits.weight_norm import published_state

MAX_CHECKPOINT_BYTES = 2_000_000_000
FIRST_LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class TrainingCheckpoint:
    """One network in training.

    Attributes:
        weights: By published name, weight norm unfolded, in the order of the file.
        epoch: Epochs taken; 0 in pretrained files.
        learning_rate: The rate that training began with.
        optimizer: AdamW's state as the file has it; None in pretrained files.
        scaler: GradScaler's state; None where there is none.
    """

    weights: Mapping[str, Tensor]
    epoch: int = 0
    learning_rate: float = FIRST_LEARNING_RATE
    optimizer: Mapping[str, Any] | None = None
    scaler: Mapping[str, Any] | None = None

    def optimizer_for(self, network: nn.Module) -> dict[str, Any]:
        """Give the optimizer's state with weights numbered as this network numbers them.

        Programs differ in the order of the networks' parts, and an optimizer knows weights by number only;
        the order of `weights` tells which is which.

        Args:
            network: The network that the weights were loaded into.

        Returns:
            What its AdamW can load.

        Raises:
            CheckpointError: There is no optimizer state, or it is of other weights.
        """
        names = [published_name(name) for name, _ in network.named_parameters()]
        try:
            return _renumbered(self.optimizer or {}, self.weights, names)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(
                "The checkpoint has no optimizer state for these weights; begin a new training from them."
            ) from error


def _renumbered(
    optimizer: Mapping[str, Any], weights: Mapping[str, Tensor], names: list[str]
) -> dict[str, Any]:
    """Number an optimizer's state, which follows `weights`, in the order of `names`."""
    (group,) = optimizer["param_groups"]
    # A group lists identifiers; their place in the list is the weight's number.
    places = dict(zip(group["params"], weights, strict=True))
    numbers = {name: number for number, name in enumerate(names)}
    state = {}
    for key, moments in optimizer["state"].items():
        name = places[key]
        if not moments["exp_avg"].shape == moments["exp_avg_sq"].shape == weights[name].shape:
            raise ValueError(name)
        state[numbers[name]] = dict(moments)
    if len(numbers) != len(places):
        raise ValueError(f"{len(places)} weights for {len(numbers)}")
    return {"state": state, "param_groups": [{**group, "params": list(range(len(names)))}]}


def read_generator(path: Path, config: SynthesizerConfig) -> tuple[SynthesizerConfig, TrainingCheckpoint]:
    """Read a synthesizer in training, or a pretrained one.

    Args:
        path: G_*.pth, or a pretrained G file.
        config: The synthesizer that it must be; the speakers may be more or fewer.

    Returns:
        The sizes with the file's number of speakers, and the checkpoint.

    Raises:
        CheckpointError: The file cannot be read, or its weights are not that synthesizer's.
    """
    document, weights = _read(path)
    table = weights.get("emb_g.weight")
    if table is not None and table.ndim == 2 and table.shape[0]:
        config = replace(config, speakers=table.shape[0])
    check_weights(weights, synthesizer_shapes(config, with_posterior=True), path.name)
    return config, _checkpoint(document, weights, path)


def read_discriminators(path: Path, version: Version, narrowing: int = 1) -> TrainingCheckpoint:
    """Read discriminators in training, or pretrained ones.

    Args:
        path: D_*.pth, or a pretrained D file.
        version: "v1" or "v2".
        narrowing: As `Discriminators` has it; 1 is what is published.

    Raises:
        CheckpointError: The file cannot be read, or its weights are not those of that version.
    """
    document, weights = _read(path)
    with torch.device("meta"):
        expected = {
            name: tensor.shape for name, tensor in published_state(Discriminators(version, narrowing)).items()
        }
    check_weights(weights, expected, path.name)
    return _checkpoint(document, weights, path)


def write_training_checkpoint(path: Path, checkpoint: TrainingCheckpoint) -> None:
    """Write a network in training as every RVC program reads it.

    Args:
        path: G_*.pth or D_*.pth; a file that is there is replaced.
        checkpoint: With the weights in the network's order (`training_checkpoint` gives it so).

    Raises:
        OSError: The disk refuses.
    """
    document: dict[str, Any] = {
        "model": {name: tensor.float().contiguous() for name, tensor in checkpoint.weights.items()},
        "iteration": checkpoint.epoch,
        "optimizer": _published_optimizer(checkpoint),
        "learning_rate": checkpoint.learning_rate,
    }
    if checkpoint.scaler is not None:
        document["scaler"] = checkpoint.scaler
    write_document(path, document)


def write_pretrained(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights alone, in half precision, to begin trainings from.

    Args:
        path: The file; one that is there is replaced.
        weights: By published name, all of a network's.

    Raises:
        OSError: The disk refuses.
    """
    write_document(path, {"model": {name: tensor.half().contiguous() for name, tensor in weights.items()}})


def training_checkpoint(
    network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, learning_rate: float
) -> TrainingCheckpoint:
    """Take a network and its optimizer as they are now.

    Args:
        network: A synthesizer with posterior encoder, or discriminators; not folded.
        optimizer: Of all its parameters, in their order.
        epoch: Epochs taken.
        learning_rate: The rate that training began with.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in published_state(network).items()}
    return TrainingCheckpoint(
        weights=weights, epoch=epoch, learning_rate=learning_rate, optimizer=optimizer.state_dict()
    )


def _published_optimizer(checkpoint: TrainingCheckpoint) -> dict[str, Any] | None:
    """Give the optimizer's state as RVC programs take it over, group by group.

    Their schedules refuse a group that does not say its first rate; kernels are this machine's affair.
    """
    if checkpoint.optimizer is None:
        return None
    groups = [
        {"initial_lr": checkpoint.learning_rate, **group, "fused": None}
        for group in checkpoint.optimizer["param_groups"]
    ]
    return {**checkpoint.optimizer, "param_groups": groups}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    document = read_document(path, MAX_CHECKPOINT_BYTES)
    if "model" not in document:
        kind = "a voice model" if "weight" in document else "something else"
        raise CheckpointError(
            f"{path.name} is {kind}, not a training checkpoint; choose a G or D file with all weights."
        )
    return document, tensors_by_name(document["model"], path)


def _checkpoint(document: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path) -> TrainingCheckpoint:
    epoch, rate = document.get("iteration", 0), document.get("learning_rate", FIRST_LEARNING_RATE)
    if not _is_number(epoch, int) or not _is_number(rate, int | float):
        raise CheckpointError(
            f"{path.name} has no number for its epoch or learning rate; choose another checkpoint."
        )
    optimizer, scaler = document.get("optimizer"), document.get("scaler")
    return TrainingCheckpoint(
        weights=weights,
        epoch=epoch,
        learning_rate=float(rate),
        optimizer=optimizer if isinstance(optimizer, dict) else None,
        scaler=scaler if isinstance(scaler, dict) else None,
    )


def _is_number(value: object, kind: Any) -> bool:  # noqa: ANN401 -- a type or a union of types
    return isinstance(value, kind) and not isinstance(value, bool)
