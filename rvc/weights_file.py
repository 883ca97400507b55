"""Published network weights on disk: tensors by name, read without running what a file may carry.

    read_state    a file of torch.save (.pt, .pth, .bin) or of safetensors, told apart by content
    fill          into a network that was built on the meta device; every name and every shape must fit

A file is a stranger's even when its address is well known. Only tensors are taken from it: of other objects
that training programs are known to leave beside them an empty shell is made, anything else is refused.
Not here: voice models and their sizes (checkpoint.py), and how weights come to this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rvc.errors import CheckpointError
from rvc.torch_file import is_named_tensor, read_document

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
