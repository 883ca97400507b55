"""Weights in files from strangers: read without running what a file carries, written so that none is half.

A file is a stranger's even when its address is well known. Only tensors, texts, numbers and containers of
them are taken (`weights_only`), and no file may unpack to more than it weighs, in its archive or its tensors.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rvc.errors import CheckpointError
from rvc.files import atomic_write

_NORMED = re.compile(r"\.parametrizations\.weight\.original([01])\Z")
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LEGACY_START = b"\x80"
# What torch.load raises for a damaged or a dangerous file, whichever byte it trips over.
_UNREADABLE = (
    pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, LookupError,
    AttributeError, TypeError, MemoryError,
)  # fmt: skip
MOST_BYTES = 1_000_000_000  # the largest published file has 380 MB
_HEADER_PLACE = 8  # a safetensors file's header begins here, with a brace; the bytes before it can be any
# What fairseq writes beside the weights; of them a shell is made, so that fairseq is not needed.
SHELLS = ("fairseq.data.dictionary.Dictionary", "argparse.Namespace")


def published_name(name: str) -> str:
    """Give the name that published files have for an entry of a state dict: `X.weight_g` and `X.weight_v`."""
    return _NORMED.sub(lambda found: ".weight_g" if found[1] == "0" else ".weight_v", name)


def published_state(network: nn.Module) -> dict[str, Tensor]:
    """Give a network's weights under published names, detached, in the network's order."""
    return {published_name(name): tensor for name, tensor in network.state_dict().items()}


def load_published_state(network: nn.Module, weights: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Fill an unfolded network with exactly its entries under published names."""
    names = {published_name(name): name for name in network.state_dict()}
    network.load_state_dict(
        {names.get(name, name): tensor for name, tensor in weights.items()}, assign=assign
    )


def read_document(path: Path, max_bytes: int) -> dict[str, Any]:
    """Read the dictionary that a file of torch.save holds, tensors on the CPU."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise CheckpointError(
                f"{path.name} has {size / 1e6:.0f} MB and at most {max_bytes / 1e6:.0f} MB are read; "
                "choose the small file that is made for conversion."
            )
        _check_container(path, size)
        document = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be opened ({error.strerror}); choose it again.") from error
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path.name} is damaged or holds more than weights, so it is not opened; "
            "get it again from where it came from."
        ) from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise CheckpointError(
            f"{path.name} holds no entries by name, so it is not an RVC file; choose another file."
        )
    return document


def _check_container(path: Path, size: int) -> None:
    """Refuse what is no file of torch.save, and archives that would unpack to more than they weigh."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) <= size:
                return
        raise CheckpointError(
            f"{path.name} is packed in a way in which PyTorch never packs; save it again with torch.save."
        )
    with path.open("rb") as file:
        if file.read(1) != _LEGACY_START:
            raise CheckpointError(
                f"{path.name} is not a PyTorch file; choose the .pth file of a voice model."
            )


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write tensors, texts, numbers and containers of them with torch.save, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(document), file)


def tensors_by_name(entries: object, path: Path) -> dict[str, Tensor]:
    """Take what a file holds as its weights, by published name, in the file's order and precision."""
    if (
        not isinstance(entries, dict)
        or not entries
        or not all(_is_named_tensor(item) and item[1].dtype in _PRECISIONS for item in entries.items())
    ):
        raise CheckpointError(
            f"{path.name} holds something else than floating-point weights by name; export the voice again."
        )
    if sum(tensor.nbytes for tensor in entries.values()) > path.stat().st_size:
        raise CheckpointError(
            f"{path.name} claims more weights than it holds; get it again from where it came from."
        )
    named = {published_name(name): tensor for name, tensor in entries.items()}
    if len(named) != len(entries):
        raise CheckpointError(f"{path.name} holds the same weight under two names; export the voice again.")
    return named


def _is_named_tensor(item: tuple[object, object]) -> TypeGuard[tuple[str, Tensor]]:
    """Tell whether an entry is a name and a tensor that can be used: dense, real, on the CPU."""
    name, tensor = item
    return (
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
    )


def check_weights(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], name: str) -> None:
    """Refuse weights (by published name) that are not finite, or not those of the network of these shapes."""
    missing, unknown, misshapen = _misfits(weights, shapes)
    another = "so its network is another one; export it again from the program that trained it"
    if missing:
        raise CheckpointError(f"{name} lacks {_first(missing)}, {another}.")
    if unknown:
        raise CheckpointError(f"{name} has the unknown {_first(unknown)}, {another}.")
    if misshapen:
        key = misshapen[0]
        raise CheckpointError(
            f"{name} has {key} of shape {list(weights[key].shape)} where {list(shapes[key])} belongs; "
            "choose a file of the right version and sample rate."
        )
    for key in shapes:
        if not weights[key].isfinite().all():
            raise CheckpointError(
                f"{name} has numbers in {key} that are not finite; choose an earlier state of that training."
            )


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path, instead: str) -> None:
    """Give a network, maybe built on the meta device, all of its weights in float32 by its own names."""
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    faults = ("lacks", "has unknown", "has a wrong shape of")
    for fault, names in zip(faults, _misfits(state, shapes), strict=True):
        if names:
            raise CheckpointError(f"{path.name} {fault} {_first(names)}; {instead}.")
    # Shapes first: a small file can claim a tensor of any size, and only here is it written out.
    whole = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    network.load_state_dict(whole, assign=True)


def _misfits(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> tuple[list[str], ...]:
    """Names that are missing, unknown, of another shape; a file of another network has hundreds of each."""
    return (
        [name for name in shapes if name not in weights],
        [name for name in weights if name not in shapes],
        [name for name in shapes if name in weights and weights[name].shape != shapes[name]],
    )


def _first(names: list[str]) -> str:
    return names[0][:100] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


class _Shell:
    """Stands for an object of a training program; it keeps nothing and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def read_state(path: Path, instead: str) -> dict[str, Tensor]:
    """Read the tensors by name, also those under "model", on the CPU in the precision of the file.

    `instead` ends the message of a refusal ("download it again").
    """
    document: Mapping[str, Any]
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_PLACE + 1)
        if start[_HEADER_PLACE:] == b"{":
            document = load_file(path)
        else:
            # Named by text: torch then makes a shell where the file asks for the class.
            with torch.serialization.safe_globals([(_Shell, name) for name in SHELLS]):
                document = read_document(path, MOST_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be opened ({error.strerror}); {instead}.") from error
    except (CheckpointError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} is damaged or holds more than weights, so it is not opened; {instead}."
        ) from error
    inner = document.get("model")
    weights: Mapping[str, Any] = inner if isinstance(inner, dict) else document
    if not weights or not all(map(_is_named_tensor, weights.items())):
        raise CheckpointError(f"{path.name} holds no weights by name; {instead}.")
    return dict(weights)
