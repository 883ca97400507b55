"""Starting a larger network from a smaller one that has been trained, so that nothing learned is lost.

New blocks are spread among the old ones with their last layer at zero, so that they change nothing at first;
new content dimensions get small random weights in the encoder and zeros in everything that reads content.
What the grown network says at its first step is therefore what the small one said, up to the norm of the
content, which runs over more dimensions.
Source: Chen, Goodfellow, Shlens 2016 (Net2Net); zero-initialised residual branches, Goyal et al. 2017.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from rvc.lite.encoder import ContentEncoder
from rvc.lite.synthesizer import Synthesizer
from rvc.pretrain.networks import Heads

BLOCK = re.compile(r"^blocks\.(\d+)\.(.*)$")
NEW_CONTENT_STD = 0.02
READERS = {"phones.weight": 1, "decoder.input.weight": 1, "speaker.0.weight": 2}
"""Layers of the heads that read content, and how often it stands in a row of each."""


def spread(old: int, new: int) -> list[int]:
    """Places of `old` blocks among `new`, evenly spread, in order."""
    return [(2 * number + 1) * new // (2 * old) for number in range(old)]


def grow_encoder(state: Mapping[str, Tensor], encoder: ContentEncoder) -> None:
    """Load a smaller encoder's weights into a larger, newly made one of the same width."""
    config = encoder.config
    old = 1 + max(int(found[1]) for found in map(BLOCK.match, state) if found)
    places = spread(old, config.blocks)
    grown = {
        name: torch.zeros_like(w) if ".narrow." in name else w for name, w in encoder.state_dict().items()
    }
    for name, value in state.items():
        found = BLOCK.match(name)
        grown[f"blocks.{places[int(found[1])]}.{found[2]}" if found else name] = value
    for name in ("bottleneck.weight", "bottleneck.bias"):
        grown[name] = widen_rows(grown[name], 2, config.content_dim)
    encoder.load_state_dict(grown)


def grow_heads(state: Mapping[str, Tensor], heads: Heads) -> None:
    """Load heads that read fewer content dimensions into newly made ones."""
    narrow, wide = state["phones.weight"].shape[1], heads.phones.in_features
    widened = {name: widen_columns(state[name], narrow, wide, times) for name, times in READERS.items()}
    heads.load_state_dict({**state, **widened})


def grow_synthesizer(state: Mapping[str, Tensor], synthesizer: Synthesizer) -> None:
    """Load a synthesizer that reads fewer content dimensions into a newly made one."""
    weight, wide = state["input.weight"], synthesizer.config.content_dim
    contours = synthesizer.input.in_features - wide
    widened = widen_columns(weight, weight.shape[1] - contours, wide)
    synthesizer.load_state_dict({**state, "input.weight": widened})


def widen_rows(weight: Tensor, groups: int, wide: int) -> Tensor:
    """Give each of the groups of output rows `wide` rows, the new ones small and random.

    Args:
        weight: Weight or bias of a layer, (groups * narrow, ...).
        groups: How many groups of rows there are.
        wide: Rows that each shall have.

    Returns:
        (groups * wide, ...).
    """
    narrow = weight.reshape(groups, -1, *weight.shape[1:])
    more = NEW_CONTENT_STD * torch.randn(groups, wide - narrow.shape[1], *weight.shape[1:])
    return torch.cat([narrow, more], 1).flatten(0, 1)


def widen_columns(weight: Tensor, narrow: int, wide: int, times: int = 1) -> Tensor:
    """Let a linear layer read `wide` columns where it read `narrow`, with zeros for the new ones.

    Args:
        weight: (out, times * narrow + rest); the rest stays behind them.
        narrow: Columns of the content as it was.
        wide: Columns of the content as it shall be.
        times: How often the content stands in a row.

    Returns:
        (out, times * wide + rest).
    """
    sizes = [*[narrow] * times, weight.shape[1] - times * narrow]
    *parts, rest = torch.split(weight, sizes, 1)
    zeros = weight.new_zeros(weight.shape[0], wide - narrow)
    return torch.cat([piece for part in parts for piece in (part, zeros)] + [rest], 1)
