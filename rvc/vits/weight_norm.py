"""Weight normalisation: magnitude and direction of a weight apart, as training wants them.

Formula: w = g * v / |v|, the norm over all dimensions but the first (for a transposed convolution the first
         is the input channel).
Names:   published files say `X.weight_g` and `X.weight_v`; today's PyTorch says
         `X.parametrizations.weight.original0` and `original1`. Both are read; the first is written.
Source:  Salimans and Kingma, 2016.

Which GPUs compute with 16-bit floats to advantage.

Before tensor cores (compute capability below 7) they are far slower than 32-bit ones; the GTX 16 series has
none either, and its convolutions are known to give NaN. RVC's own programs leave the same devices out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from rvc.torch_file import published_name

Layer = TypeVar("Layer", bound=nn.Module)


def weight_norm(layer: Layer) -> Layer:
    """Give a layer its weight as magnitude and direction."""
    normed: Layer = parametrizations.weight_norm(layer)
    return normed


def fold_weight_norm(network: nn.Module) -> None:
    """Multiply out every normed weight of a network: the same sound, for less work each time.

    The network can then be neither trained further nor exported; that takes the unfolded weights.
    """
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def published_state(network: nn.Module) -> dict[str, Tensor]:
    """Give a network's weights under published names, detached, in the network's order."""
    return {published_name(name): tensor for name, tensor in network.state_dict().items()}


def load_published_state(network: nn.Module, weights: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Fill a network with weights under published names.

    Args:
        network: Unfolded.
        weights: Exactly the network's entries.
        assign: Take the tensors themselves instead of copying them, for a network without memory of its own.

    Raises:
        RuntimeError: An entry is missing, superfluous or of another shape.
    """
    names = {published_name(name): name for name in network.state_dict()}
    network.load_state_dict(
        {names.get(name, name): tensor for name, tensor in weights.items()}, assign=assign
    )


_FIRST_CAPABILITY = 7
_WITHOUT_TENSOR_CORES = "GTX 16"


def halves(device: torch.device) -> bool:
    """Tell whether networks shall compute in half precision on a device; never on a processor."""
    if device.type != "cuda":
        return False
    major, _ = torch.cuda.get_device_capability(device)
    return major >= _FIRST_CAPABILITY and _WITHOUT_TENSOR_CORES not in torch.cuda.get_device_name(device)
