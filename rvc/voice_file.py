"""An RVC voice as Timbre keeps it: model.safetensors, and what card.json says of it.

    tensors     by published name, half precision, without the posterior encoder, as in a .pth
    metadata    one entry, "rvc": as JSON, the rest of what a .pth says (config, info, f0, version, facts)

Nothing is lost between the two forms, so that a voice which was imported is exported as it came. Reading
runs nothing, and everything is checked as in a .pth (checkpoint.py): a bundle may be a stranger's too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rvc.checkpoint import MAX_MODEL_BYTES, VoiceModel, checked_model, document_of, half_weights
from rvc.errors import CheckpointError
from rvc.torch_file import tensors_by_name

ENGINE = "rvc"
METADATA = "rvc"
"""The entry of the metadata that says what the voice is."""


def save_voice_file(path: Path, model: VoiceModel) -> None:
    """Write a voice model, beside its place and then into it.

    Args:
        path: The .safetensors file; one that is there is replaced.
        model: Weights in any precision; half is written.

    Raises:
        CheckpointError: The weights do not fit the sizes, or are too large for half precision.
        OSError: The disk refuses; a file that was there is untouched.
    """
    weights = half_weights(model, path.name)
    beside = path.with_name(f"{path.name}.part")
    try:
        save_file(weights, beside, {METADATA: json.dumps(document_of(model))})
        beside.replace(path)
    except SafetensorError as error:  # how it reports that the disk refuses
        raise OSError(f"{path.name} cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)


def load_voice_file(path: Path) -> VoiceModel:
    """Read a voice model that `save_voice_file` wrote.

    Args:
        path: The .safetensors file, maybe a stranger's.

    Returns:
        Sizes and weights that fit each other; the weights half precision, on the CPU.

    Raises:
        CheckpointError: The file cannot be read, is no RVC voice, or its weights are not exactly those of the
            network that it describes.
    """
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise CheckpointError(
                f"{path.name} has {size / 1e6:.0f} MB and at most {MAX_MODEL_BYTES / 1e6:.0f} MB are read; "
                "export the voice again."
            )
        said, entries = _parts(path)
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
    return checked_model(said, tensors_by_name(entries, path), path.name)


def card_of(model: VoiceModel) -> dict[str, Any]:
    """Say what the card of a voice says of its engine; name, format_version and created_at are the caller's.

    Where the voice lies (`f0`) is unknown to the file, so who trained it adds it.

    Args:
        model: The voice.

    Returns:
        engine, content_encoder, content_dim, sample_rate_hz, version ("v1", "v2") and uses_f0; info and facts
        where there are any.
    """
    config = model.config
    card: dict[str, Any] = {
        "engine": ENGINE,
        "content_encoder": model.content_encoder,
        "content_dim": config.content_dim,
        "sample_rate_hz": config.sample_rate_hz,
        "version": config.version,
        "uses_f0": config.uses_f0,
    }
    if model.info:
        card["info"] = model.info
    if model.facts:
        card["facts"] = dict(model.facts)
    return card


def _parts(path: Path) -> tuple[object, dict[str, Tensor]]:
    """Read what the file says of itself (None if nothing), and its tensors in their order."""
    with safe_open(path, "pt") as file:
        said = json.loads((file.metadata() or {}).get(METADATA, "null"))
        return said, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
