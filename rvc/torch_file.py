"""Files of torch.save from strangers: read without running what they carry, written so that none is half.

Trust:   only tensors, texts, numbers and containers of them are taken (`weights_only`); and no file may
         unpack to more than it weighs, in its archive or in the tensors that its entries claim to be.
Not here: what the file means (checkpoint.py, checkpoint_training.py).

Published network weights on disk: tensors by name, read without running what a file may carry.

    read_state    a file of torch.save (.pt, .pth, .bin) or of safetensors, told apart by content
    fill          into a network that was built on the meta device; every name and every shape must fit

A file is a stranger's even when its address is well known. Only tensors are taken from it: of other objects
that training programs are known to leave beside them an empty shell is made, anything else is refused.
Not here: voice models and their sizes (checkpoint.py), and how weights come to this machine.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rvc.errors import CheckpointError

_PUBLISHED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}


def published_name(name: str) -> str:
    """Give the name that published files have for an entry of a state dict."""
    for ours, theirs in _PUBLISHED.items():
        if name.endswith(ours):
            return name.removesuffix(ours) + theirs
    return name


_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LEGACY_START = b"\x80"
_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    MemoryError,
)
"""What torch.load raises for a damaged or a dangerous file, whichever byte it trips over."""


def read_document(path: Path, max_bytes: int) -> dict[str, Any]:
    """Read the dictionary that a file of torch.save holds.

    Args:
        path: The file.
        max_bytes: The largest file that is read.

    Returns:
        Its dictionary, tensors on the CPU.

    Raises:
        CheckpointError: The file is missing, too large, damaged, or holds something else or more than data.
    """
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


def tensors_by_name(entries: object, path: Path) -> dict[str, Tensor]:
    """Take weights as they are in a file and give them their published names.

    Args:
        entries: What the file holds as its weights.
        path: The file, for the message and the size.

    Returns:
        Tensors by published name, in the order and the precision of the file.

    Raises:
        CheckpointError: They are not plain floating-point tensors by name, or claim more than the file holds.
    """
    if not isinstance(entries, dict) or not entries or not all(map(_is_weight, entries.items())):
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


def _is_weight(item: tuple[object, object]) -> bool:
    return is_named_tensor(item) and item[1].dtype in _PRECISIONS


def is_named_tensor(item: tuple[object, object]) -> TypeGuard[tuple[str, Tensor]]:
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


def check_weights(weights: Mapping[str, Tensor], expected: Mapping[str, torch.Size], name: str) -> None:
    """Compare weights with the network that they are for.

    Args:
        weights: By published name.
        expected: Shapes by published name.
        name: What the file is called, for the message.

    Raises:
        CheckpointError: One is missing, superfluous, of another shape, or not finite.
    """
    missing = [key for key in expected if key not in weights]
    unknown = [key for key in weights if key not in expected]
    # The first of each fault says most: a file of another network has hundreds.
    if missing:
        raise CheckpointError(
            f"{name} lacks {missing[0]}{_and_more(missing)}, so its network is another one; "
            "export it again from the program that trained it."
        )
    if unknown:
        raise CheckpointError(
            f"{name} has the unknown {unknown[0][:100]}{_and_more(unknown)}, so its network is another one; "
            "export it again from the program that trained it."
        )
    for key, shape in expected.items():
        if weights[key].shape != shape:
            raise CheckpointError(
                f"{name} has {key} of shape {list(weights[key].shape)} where {list(shape)} belongs; "
                "choose a file of the right version and sample rate."
            )
        if not weights[key].isfinite().all():
            raise CheckpointError(
                f"{name} has numbers in {key} that are not finite; choose an earlier state of that training."
            )


def _and_more(keys: list[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a dictionary with torch.save, beside its place and then into it.

    Args:
        path: The file; one that is there is replaced.
        document: Tensors, texts, numbers and containers of them.

    Raises:
        OSError: The disk refuses; a file that was there is untouched.
    """
    beside = path.with_name(f"{path.name}.part")
    try:
        with beside.open("wb") as file:
            torch.save(dict(document), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


MOST_BYTES = 1_000_000_000
"""The largest file that is read; the largest published one has 380 MB."""
_HEADER_PLACE = 8
"""Where the header of a safetensors file begins, with a brace; the eight bytes before it can be any."""


class _Shell:
    """Stands for an object of a training program; it keeps nothing and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __new__(cls, *_: object) -> _Shell:
        return object.__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


SHELLS = ("fairseq.data.dictionary.Dictionary", "argparse.Namespace")
"""Classes that fairseq writes beside the weights; of them a shell is made, so that fairseq is not needed."""


def read_state(path: Path, instead: str) -> dict[str, Tensor]:
    """Read the tensors of a file.

    Args:
        path: The file. A dictionary of tensors, or one with such a dictionary under "model".
        instead: What to use when the file cannot be read, as it shall end the message ("download it again").

    Returns:
        Tensors by name, on the CPU, in the precision of the file.

    Raises:
        CheckpointError: The file is missing, damaged, or holds something that is not just data.
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
    if not weights or not all(map(is_named_tensor, weights.items())):
        raise CheckpointError(f"{path.name} holds no weights by name; {instead}.")
    return dict(weights)


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path, instead: str) -> None:
    """Give a network its weights in float32; it may have been built on the meta device.

    Args:
        network: Whatever it holds is replaced.
        state: Tensors by the network's own names; none may be missing, none may be left over.
        path: The file that they come from, for the message.
        instead: What to use when they do not fit, as it shall end the message.

    Raises:
        CheckpointError: A name is missing or left over, or a shape is another one.
    """
    expected = network.state_dict()
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    other = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    # The one fault that says most: a file of another network has all three.
    for names, fault in ((missing, "lacks"), (unknown, "has unknown"), (other, "has a wrong shape of")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{path.name} {fault} {names[0]}{more}; {instead}.")
    # Shapes first: a small file can claim a tensor of any size, and only here is it written out.
    whole = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    network.load_state_dict(whole, assign=True)
