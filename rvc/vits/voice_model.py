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
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rvc.errors import CheckpointError, ConfigError
from rvc.files import atomic_write
from rvc.torch_file import check_weights, published_state, read_document, tensors_by_name, write_document
from rvc.vits.config import CONTENT_DIMS, SynthesizerConfig, Version
from rvc.vits.discriminator import Discriminators
from rvc.vits.synthesizer import VitsSynthesizer

MAX_MODEL_BYTES, MAX_CHECKPOINT_BYTES = 1_000_000_000, 2_000_000_000
ENGINE = METADATA = "rvc"
VOCODER = "HiFi-GAN"
CONTENT_ENCODER = "contentvec"
POSTERIOR = "enc_q"
LEGACY_FIELDS = (
    "spectrogram_bins", "segment_frames", "latent_channels", "hidden_channels", "ffn_channels",
    "attention_heads", "encoder_layers", "ffn_kernel", "dropout", "resblock_type", "resblock_kernels",
    "resblock_dilations", "upsample_rates", "upsample_channels", "upsample_kernels", "speakers",
    "speaker_channels", "sample_rate_hz",
)  # fmt: skip
_SEGMENT_FRAMES = 32  # written as such in every published file, and used by none
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
        return str(self.facts.get("embedder_model", CONTENT_ENCODER))

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
    """Read a .pth file, a stranger's, or refuse it with a CheckpointError."""
    document = read_document(path, MAX_MODEL_BYTES)
    if "weight" not in document or "config" not in document:
        if isinstance(document.get("model"), dict):
            raise CheckpointError(
                f"{path.name} is a training checkpoint, not a voice model; extract the small model from it."
            )
        raise CheckpointError(
            f"{path.name} lacks weight and config, so it is no RVC voice model; choose another file."
        )
    return _checked_model(document, tensors_by_name(document["weight"], path), path.name)


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


@lru_cache(maxsize=8)
def synthesizer_shapes(config: SynthesizerConfig, *, with_posterior: bool) -> Mapping[str, torch.Size]:
    """Give the shape of every weight of a synthesizer, by published name; nothing is allocated."""
    with torch.device("meta"):
        synthesizer = VitsSynthesizer(config, with_posterior=with_posterior)
    return {name: tensor.shape for name, tensor in published_state(synthesizer).items()}


def legacy_list(config: SynthesizerConfig) -> list[Any]:
    """Give the 18 sizes as files have them."""
    sizes = {name: _plain(getattr(config, name, None)) for name in LEGACY_FIELDS}
    sizes["segment_frames"] = _SEGMENT_FRAMES
    sizes["dropout"] = config.dropout or 0
    return list(sizes.values())


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
    vocoder = document.get("vocoder", VOCODER)
    if vocoder != VOCODER:
        raise CheckpointError(
            f"{name} was trained with the vocoder {_shown(vocoder)}, and only {VOCODER} is supported; "
            f"train the voice again with {VOCODER}."
        )
    config = _config(document, weights, name)
    shapes = synthesizer_shapes(config, with_posterior=False)
    check_weights(weights, shapes, name)
    info = document.get("info", "")
    return VoiceModel(
        config=config,
        weights={key: weights[key] for key in shapes},  # in the network's order, as others write them
        info=_text(info) if isinstance(info, str) else "",
        facts=_facts(document),
    )


def _config(document: Mapping[str, Any], weights: Mapping[str, Tensor], name: str) -> SynthesizerConfig:
    """Read sizes that a stranger may have written."""
    values, f0, version = document["config"], document.get("f0", 1), document.get("version", "v1")
    if not isinstance(values, list | tuple) or len(values) != len(LEGACY_FIELDS):
        raise CheckpointError(
            f"{name} does not have the {len(LEGACY_FIELDS)} sizes of an RVC voice model; export it again."
        )
    if not isinstance(f0, int) or f0 not in (0, 1) or version not in CONTENT_DIMS:
        raise CheckpointError(
            f"{name} says version {_shown(version)} and f0 {_shown(f0)}, where v1 or v2 and 0 or 1 belong; "
            "export it again."
        )
    try:
        fields: dict[str, Any] = dict(zip(LEGACY_FIELDS, map(_frozen, values), strict=True))
        del fields["segment_frames"]
        # Files say 109 whatever the table has.
        table = weights.get("emb_g.weight")
        if table is not None and table.ndim == 2:
            fields["speakers"] = table.shape[0]
        fields["resblock_type"] = str(fields["resblock_type"])
        rate = fields["sample_rate_hz"]
        if isinstance(rate, str) and re.fullmatch(r"\d{1,3}k", rate):
            fields["sample_rate_hz"] = int(rate.removesuffix("k")) * 1_000
        return SynthesizerConfig(version=cast(Version, version), uses_f0=bool(f0), **fields)
    except ConfigError as error:
        raise CheckpointError(
            f"{name} describes a network that cannot be built ({str(error).rstrip('.')}); export it again."
        ) from error
    except (TypeError, RecursionError) as error:  # a list may even hold itself
        raise CheckpointError(
            f"{name} has something else than numbers for its sizes; export it again."
        ) from error


def _frozen(value: object) -> object:
    return tuple(_frozen(part) for part in value) if isinstance(value, list | tuple) else value


def _plain(value: object) -> object:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


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


def _shown(value: object) -> str:
    return repr(value)[:40]


def read_generator(path: Path, config: SynthesizerConfig) -> tuple[SynthesizerConfig, Mapping[str, Tensor]]:
    """Read a synthesizer in training, or a pretrained one, with as many speakers as the file has."""
    weights = _read_checkpoint(path)
    table = weights.get("emb_g.weight")
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
