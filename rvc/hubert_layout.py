"""The names under which the same HuBERT weights are published: fairseq's and the transformers library's.

Both are turned into the names of torchaudio's model behind the prefix "hubert."; the projection to 256
numbers that belongs to ContentVec keeps its name, "final_proj". Names that neither layout has stay as they
are, so that filling the network refuses them by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor

Rules: TypeAlias = "tuple[tuple[str, str], ...]"
"""Patterns of whole names, and what torchaudio calls them."""

_BLOCKS = "encoder.transformer.layers"
_POSITION = "encoder.transformer.pos_conv_embed.conv"
_PROJECTION = "encoder.feature_projection"

FAIRSEQ: Rules = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.(\w+)", r"feature_extractor.conv_layers.\1.conv.\2"),
    (r"feature_extractor\.conv_layers\.0\.2\.(\w+)", r"feature_extractor.conv_layers.0.layer_norm.\1"),
    (r"layer_norm\.(\w+)", rf"{_PROJECTION}.layer_norm.\1"),
    (r"post_extract_proj\.(\w+)", rf"{_PROJECTION}.projection.\1"),
    (r"encoder\.pos_conv\.0\.(\w+)", rf"{_POSITION}.\1"),
    (r"encoder\.layer_norm\.(\w+)", r"encoder.transformer.layer_norm.\1"),
    (r"encoder\.layers\.(\d+)\.self_attn\.(\w+)\.(\w+)", rf"{_BLOCKS}.\1.attention.\2.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(\w+)", rf"{_BLOCKS}.\1.layer_norm.\2"),
    (r"encoder\.layers\.(\d+)\.fc1\.(\w+)", rf"{_BLOCKS}.\1.feed_forward.intermediate_dense.\2"),
    (r"encoder\.layers\.(\d+)\.fc2\.(\w+)", rf"{_BLOCKS}.\1.feed_forward.output_dense.\2"),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.(\w+)", rf"{_BLOCKS}.\1.final_layer_norm.\2"),
)
TRANSFORMERS: Rules = (
    (r"(feature_extractor\..+)", r"\1"),
    (r"feature_projection\.(.+)", rf"{_PROJECTION}.\1"),
    (r"encoder\.pos_conv_embed\.conv\.(.+)", rf"{_POSITION}.\1"),
    (r"encoder\.(layer_norm\..+|layers\..+)", r"encoder.transformer.\1"),
)
DROPPED = {
    "mask_emb": "stands for masked frames in training",
    "masked_spec_embed": "the same, in the other layout",
    "label_embs_concat": "the units that training predicts",
}
"""Names that a file may have and the network has not, and why."""

_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
"""The old names of a normed weight's length and direction, and those that torch has now."""


def torchaudio_names(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Rename published weights.

    Args:
        state: Tensors by the names of either layout.

    Returns:
        The same tensors by the network's names; None if the names are of neither layout.
    """
    if "post_extract_proj.weight" in state:
        rules = FAIRSEQ
    elif "feature_projection.projection.weight" in state:
        rules = TRANSFORMERS
    else:
        return None
    return {_renamed(name, rules): tensor for name, tensor in state.items() if name not in DROPPED}


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, name)
        if match:
            new = match.expand(replacement)
            stem, _, last = new.rpartition(".")
            return f"hubert.{stem}.{_WEIGHT_NORM.get(last, last)}"
    return name
