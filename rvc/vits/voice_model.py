"""Files of RVC: voice models in two forms between which nothing is lost, and training checkpoints.

    .pth          of WebUI and Applio, v1 and v2: weight (tensors by published name, half precision, without
                  the posterior encoder), config (18 sizes), info, sr, f0, version, and Applio's facts
    .safetensors  the same tensors; as metadata one entry, "rvc": the rest as JSON
    checkpoints   G_*.pth, D_*.pth, f0G40k.pth and their like: model (all weights, float32, or half in
                  pretrained files, which need nothing else), iteration (the epoch), learning_rate (the
                  first), optimizer (AdamW's state, weights numbered in the order of model)

All may be a stranger's: reading runs nothing, and all is checked against the network of those sizes;
checkpoints have none, so whoever reads one says which network it is for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rvc.engine.weights_file import require_short_header
from rvc.errors import CheckpointError
from rvc.files import atomic_write
from rvc.torch_file import check_weights, published_state, read_document, tensors_by_name, write_document
from rvc.vits.config import SynthesizerConfig, Version
from rvc.vits.discriminator import Discriminators
from rvc.vits.sizes import (
    POSTERIOR,
    SPEAKERS,
    config_of,
    contradictions,
    legacy_list,
    shown,
    synthesizer_shapes,
)
from rvc.vits.synthesizer import VitsSynthesizer

MAX_MODEL_BYTES, MAX_CHECKPOINT_BYTES = 1_000_000_000, 2_000_000_000
ENGINE = METADATA = "rvc"
VOCODER = "HiFi-GAN"
CONTENT_ENCODER = "contentvec"
_FACTS: dict[str, type[str] | type[int]] = {
    "epoch": int, "step": int, "creation_date": str, "model_hash": str, "dataset_length": str,
    "model_name": str, "author": str, "embedder_model": str, "speakers_id": int,
}  # fmt: skip
_LONGEST_FACT, _LARGEST_FACT = 1_000, 2**53
_LARGEST_HALF = torch.finfo(torch.float16).max


@dataclass(frozen=True, kw_only=True)
class VoiceModel:
    """A voice model that has been checked."""

    config: SynthesizerConfig
    weights: Mapping[str, Tensor]  # by published name, any precision, unfolded, without the posterior encoder
    info: str = ""  # what its maker wrote about it
    facts: Mapping[str, str | int] = field(default_factory=dict)  # what Applio writes besides; see `_FACTS`

    @property
    def content_encoder(self) -> str:
        """Name of the content encoder that it was trained with; files that say nothing mean ContentVec."""
        return str(self.facts.get("embedder_model", CONTENT_ENCODER)).lower()

    @classmethod
    def of(cls, synthesizer: VitsSynthesizer, info: str = "", **facts: str | int) -> VoiceModel:
        """Take a voice model out of a synthesizer in training, not folded: a copy, as it is now."""
        weights = {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in published_state(synthesizer).items()
            if POSTERIOR not in name
        }
        return cls(config=synthesizer.config, weights=weights, info=info, facts=facts)


def read_voice_model(path: Path) -> VoiceModel:
    """Read a .pth file, a stranger's, or refuse it with a CheckpointError.

    Taken too is what leaves no doubt: a prefix before every name, weights that no such network has, the
    posterior encoder, sizes that only the weights tell (as of a G_*.pth), words for numbers.
    """
    document = read_document(path, MAX_MODEL_BYTES)
    entries, said = _divided(document, path.name)
    return _checked_model(said, _without_prefix(tensors_by_name(entries, path)), path.name)


def write_voice_model(path: Path, model: VoiceModel) -> None:
    """Write a .pth file as every RVC program reads it."""
    write_document(path, {"weight": _half_weights(model, path.name)} | _document_of(model))


def load_voice_file(path: Path) -> VoiceModel:
    """Read a .safetensors file, maybe a stranger's, or refuse it with a CheckpointError."""
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise CheckpointError(
                f"{path.name} has {size / 1e6:.0f} MB and at most {MAX_MODEL_BYTES / 1e6:.0f} MB are read; "
                "export the voice again."
            )
        require_short_header(path)
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {}).get(METADATA, "null"))
            entries = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
    except OSError as error:
        raise CheckpointError(
            f"{path.name} cannot be opened ({error.strerror or error}); export or train the voice again."
        ) from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path.name} is damaged or of another kind; export the voice again."
        ) from error
    if not isinstance(said, dict) or "config" not in said:
        raise CheckpointError(f"{path.name} does not say that it is an RVC voice; export the voice again.")
    return _checked_model(said, tensors_by_name(entries, path), path.name)


def save_voice_file(path: Path, model: VoiceModel) -> None:
    """Write a .safetensors file, whole or not at all."""
    weights = _half_weights(model, path.name)
    try:
        with atomic_write(path) as temporary:
            save_file(weights, temporary, {METADATA: json.dumps(_document_of(model))})
    except SafetensorError as error:  # how it reports that the disk refuses
        raise OSError(f"{path.name} cannot be written: {error}") from error


def card_of(model: VoiceModel) -> dict[str, Any]:
    """Say what the card of a voice says of its engine; the rest is the caller's."""
    config = model.config
    said = {"info": model.info, "facts": dict(model.facts)}
    return {
        "engine": ENGINE,
        "content_encoder": model.content_encoder,
        "content_dim": config.content_dim,
        "sample_rate_hz": config.sample_rate_hz,
        "version": config.version,
        "uses_f0": config.uses_f0,
    } | {name: value for name, value in said.items() if value}


def _divided(document: Mapping[str, Any], name: str) -> tuple[object, Mapping[str, Any]]:
    """Divide a .pth into its weights and what it says of them; a training checkpoint says next to nothing."""
    for entry in ("weight", "model", "state_dict"):
        if isinstance(document.get(entry), dict):
            epoch = document.get("iteration")
            known = isinstance(epoch, int) and not isinstance(epoch, bool) and 0 < epoch < _LARGEST_FACT
            return document[entry], ({"info": f"{epoch}epoch"} if known else {}) | dict(document)
    if loose := {name: value for name, value in document.items() if isinstance(value, Tensor)}:
        return loose, {name: value for name, value in document.items() if name not in loose}
    raise CheckpointError(
        f"{name} lacks the entry weight, so it is no RVC voice model; choose the .pth of a voice."
    )


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take away what stands before every name, such as the "module." of a training on several GPUs."""
    prefix = next((name.removesuffix(SPEAKERS) for name in weights if name.endswith(SPEAKERS)), "")
    if not all(name.startswith(prefix) for name in weights):
        return weights
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def _document_of(model: VoiceModel) -> dict[str, Any]:
    """Give what a file says of a model besides its weights: texts, numbers and lists of them."""
    config = model.config
    return {
        "config": legacy_list(config),
        "info": model.info,
        "sr": f"{config.sample_rate_hz / 1000:g}k",
        "f0": int(config.uses_f0),
        "version": config.version,
    } | dict(model.facts)


def _half_weights(model: VoiceModel, name: str) -> dict[str, Tensor]:
    """Give the weights as files have them: half precision, each with memory of its own."""
    check_weights(model.weights, synthesizer_shapes(model.config, with_posterior=False), name)
    halved = {}
    for key, tensor in model.weights.items():
        if tensor.abs().max() > _LARGEST_HALF:
            raise CheckpointError(
                f"{key} is too large for half precision; export an earlier state of the training."
            )
        halved[key] = tensor.half().clone(memory_format=torch.contiguous_format)
    return halved


def _checked_model(document: Mapping[str, Any], weights: Mapping[str, Tensor], name: str) -> VoiceModel:
    """Make a voice model of what a file says of itself, as a .pth has it, and of its weights."""
    vocoder = document.get("vocoder")
    if vocoder not in (None, VOCODER):
        raise CheckpointError(
            f"{name} was trained with the vocoder {shown(vocoder)}, and only {VOCODER} is supported; "
            f"train the voice again with {VOCODER}."
        )
    config = config_of(document, weights, name)
    shapes = synthesizer_shapes(config, with_posterior=False)
    known = [*(key for key in shapes if key in weights), *contradictions(weights, config)]
    check_weights({key: weights[key] for key in known}, shapes, name)
    info = document.get("info", "")
    return VoiceModel(
        config=config,
        weights={key: weights[key] for key in shapes},  # in the network's order, as others write them
        info=_text(info) if isinstance(info, str) else "",
        facts=_facts(document),
    )


def _facts(document: Mapping[str, Any]) -> dict[str, str | int]:
    """Keep what is known and of its kind; the rest of a stranger's file is left behind."""
    facts: dict[str, str | int] = {}
    for name, kind in _FACTS.items():
        value = document.get(name)
        if isinstance(value, str) and kind is str:
            facts[name] = _text(value)
        elif isinstance(value, int) and kind is int and not isinstance(value, bool):
            facts[name] = min(max(value, 0), _LARGEST_FACT)
    return facts


def _text(value: str) -> str:
    """Bound a stranger's text; half characters, which no other format keeps, are replaced."""
    return value[:_LONGEST_FACT].encode(errors="replace").decode()


def read_generator(path: Path, config: SynthesizerConfig) -> tuple[SynthesizerConfig, Mapping[str, Tensor]]:
    """Read a synthesizer in training, or a pretrained one, with as many speakers as the file has."""
    weights = _read_checkpoint(path)
    table = weights.get(SPEAKERS)
    if table is not None and table.ndim == 2 and table.shape[0]:
        config = replace(config, speakers=table.shape[0])
    check_weights(weights, synthesizer_shapes(config, with_posterior=True), path.name)
    return config, weights


def read_discriminators(path: Path, version: Version, narrowing: int = 1) -> Mapping[str, Tensor]:
    """Read discriminators in training, or pretrained ones."""
    weights = _read_checkpoint(path)
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
    published = published_state(network).items()
    weights = {name: tensor.detach().cpu().float().contiguous() for name, tensor in published}
    document = {"model": weights, "iteration": epoch, "optimizer": {**state, "param_groups": groups}}
    write_document(path, document | {"learning_rate": learning_rate})


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
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
