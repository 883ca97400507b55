"""Weight normalisation: magnitude and direction of a weight apart, as training wants them.

Formula: w = g * v / |v|, the norm over all dimensions but the first (for a transposed convolution the first
         is the input channel).
Names:   published files say `X.weight_g` and `X.weight_v`; today's PyTorch says
         `X.parametrizations.weight.original0` and `original1`. Both are read; the first is written.
Source:  Salimans and Kingma, 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

Layer = TypeVar("Layer", bound=nn.Module)
_PUBLISHED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}


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


def published_name(name: str) -> str:
    """Give the name that published files have for an entry of a state dict."""
    for ours, theirs in _PUBLISHED.items():
        if name.endswith(ours):
            return name.removesuffix(ours) + theirs
    return name


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
