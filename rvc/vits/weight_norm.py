"""Weight normalisation: magnitude and direction of a weight apart, as training wants them.

Formula: w = g * v / |v|, the norm over all dimensions but the first (Salimans and Kingma, 2016).
Names:   published files say `X.weight_g` and `X.weight_v`; today's PyTorch says
         `X.parametrizations.weight.original0` and `original1`. Both are read; the first is written.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rvc.torch_file import published_name

_FIRST_CAPABILITY = 7
_WITHOUT_TENSOR_CORES = "GTX 16"


def fold_weight_norm(network: nn.Module) -> None:
    """Multiply out every normed weight: the same sound for less work, but no more training and no export."""
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def published_state(network: nn.Module) -> dict[str, Tensor]:
    """Give a network's weights under published names, detached, in the network's order."""
    return {published_name(name): tensor for name, tensor in network.state_dict().items()}


def load_published_state(network: nn.Module, weights: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Fill an unfolded network with exactly its entries under published names."""
    names = {published_name(name): name for name in network.state_dict()}
    network.load_state_dict(
        {names.get(name, name): tensor for name, tensor in weights.items()}, assign=assign
    )


def halves(device: torch.device) -> bool:
    """Tell whether networks shall compute in half precision on a device, as RVC's own programs choose.

    GPUs without tensor cores are far slower with it, and the GTX 16 series is known to give NaN.
    """
    if device.type != "cuda":
        return False
    major, _ = torch.cuda.get_device_capability(device)
    return major >= _FIRST_CAPABILITY and _WITHOUT_TENSOR_CORES not in torch.cuda.get_device_name(device)
