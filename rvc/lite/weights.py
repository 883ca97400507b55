"""The built-in engine's weights on disk: safetensors with the sizes of the network in the header.

A file holds one or more parts by prefix ("encoder.", "synthesizer.", "discriminators."); its metadata holds,
as JSON, each part's configuration. Shipped weights are half precision and are read back as float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rvc.engine.options import LITE
from rvc.engine.weights_file import require_short_header
from rvc.errors import CheckpointError
from rvc.files import ROOT, atomic_write
from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.synthesizer import LiteSynthesizer, LiteSynthesizerConfig

BUILTIN = ROOT / "assets" / "builtin"
ENCODER_FILE = BUILTIN / "encoder.safetensors"
BASE_FILE = BUILTIN / "base.safetensors"
# The shipped encoder's content; a voice trained on other content does not fit.
CONTENT_ENCODER_NAME = "timbre-lite-2"
# What a file may ask for at most, so that it cannot ask for all memory; 4,096 for every other size.
LARGEST_SIZE = {"sample_rate_hz": 48_000, "blocks": 64, "kernel_frames": 63, "expansion": 8}

Config = TypeVar("Config", EncoderConfig, LiteSynthesizerConfig)
Network = TypeVar("Network", bound=torch.nn.Module)


def save_parts(
    path: Path, parts: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Any], dtype: torch.dtype
) -> None:
    """Write parts and their configurations (dataclasses)."""
    tensors = {
        f"{part}.{name}": tensor.detach().to("cpu", dtype).contiguous()
        for part, state in parts.items()
        for name, tensor in state.items()
    }
    header = {name: json.dumps(asdict(config)) for name, config in configs.items()}
    with atomic_write(path) as beside:
        save_file(tensors, beside, header)


def save_voice(path: Path, weights: Mapping[str, Tensor], sizes: LiteSynthesizerConfig) -> dict[str, Any]:
    """Write a voice's synthesizer in half precision; return what its card says of its engine."""
    save_parts(path, {"synthesizer": weights}, {"synthesizer": sizes}, torch.float16)
    return {
        "engine": LITE,
        "sample_rate_hz": sizes.sample_rate_hz,
        "content_encoder": CONTENT_ENCODER_NAME,
        "content_dim": sizes.content_dim,
    }


def load_part(path: Path, part: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read one part: its configuration as a dictionary (empty if it has none) and its weights in float32."""
    try:
        require_short_header(path)
        with safe_open(path, "pt") as file:
            config = json.loads((file.metadata() or {}).get(part, "{}"))
            names = [name for name in file.keys() if name.startswith(f"{part}.")]  # noqa: SIM118 -- not a dict
            weights = {name.removeprefix(f"{part}."): file.get_tensor(name).float() for name in names}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path.name} cannot be read as weights of the built-in engine ({error})."
        ) from error
    if not weights:
        raise CheckpointError(f"{path.name} holds no {part}: it is not a file of the built-in engine.")
    return config, weights


def load_encoder(path: Path = ENCODER_FILE) -> ContentEncoder:
    """Load the content encoder, ready to be used."""
    encoder = _filled(path, "encoder", EncoderConfig, ContentEncoder)
    return encoder.eval().requires_grad_(requires_grad=False)


def load_synthesizer(path: Path) -> LiteSynthesizer:
    """Load a synthesizer: the base or a voice."""
    return _filled(path, "synthesizer", LiteSynthesizerConfig, LiteSynthesizer)


def _filled(path: Path, part: str, sizes: type[Config], network: Callable[[Config], Network]) -> Network:
    config, weights = load_part(path, part)
    made = network(_configured(sizes, config, path))
    try:
        made.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path.name} does not fit its own configuration: {error}.") from error
    return made


def _configured(kind: type[Config], sizes: object, path: Path) -> Config:
    """Read a configuration that a stranger may have written: known names, small positive whole numbers."""
    known = {field.name for field in fields(kind)}
    if not isinstance(sizes, dict) or set(sizes) - known:
        name = kind.__name__.removeprefix("Lite")
        raise CheckpointError(f"{path.name} has sizes that no {name} has; export the voice again.")
    for name, size in sizes.items():
        # bool is an int in Python, but never a size.
        if type(size) is not int or not 0 < size <= LARGEST_SIZE.get(name, 4_096):
            raise CheckpointError(f"{path.name} has {size!r} for {name}; export the voice again.")
    return kind(**sizes)
