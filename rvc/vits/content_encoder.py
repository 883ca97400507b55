"""ContentVec: what is said, as the vectors that RVC's voices are trained on.

Shapes:  B = batch, N = samples at 16 kHz, F = (N - 400) // 320 + 1 frames of 20 ms.
Source:  Qian et al. 2022, "ContentVec"; the network is HuBERT base (Hsu et al. 2021), here torchaudio's.
         Audio is taken as it is: this checkpoint was trained without normalising the waveform.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torchaudio.models import wav2vec2_model

from rvc.audio.level import RATE_16K_HZ
from rvc.errors import AudioError, CheckpointError, UnknownNameError
from rvc.torch_file import fill, read_state

_BLOCKS = "encoder.transformer.layers"
_POSITION = "encoder.transformer.pos_conv_embed.conv"
_PROJECTION = "encoder.feature_projection"
# The two layouts in which weights are published: patterns of whole names, and what torchaudio calls them.
# What neither layout has stays as it is, so that filling the network refuses it by name.
Rules = tuple[tuple[str, str], ...]
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
# Only training needs these: what stands for masked frames (in either layout), and the units that it predicts.
DROPPED = ("mask_emb", "masked_spec_embed", "label_embs_concat")
# The old names of a normed weight's length and direction, and those that torch has now.
_WEIGHT_NORM = {f"weight_{old}": f"parametrizations.weight.original{new}" for new, old in enumerate("gv")}
WINDOW_SAMPLES, HOP_SAMPLES = 400, 320
FRAMES_PER_CONTENT = 2  # of 10 ms, as voices take them
CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))  # kernel and stride
CONTENT_KINDS = {"v1": (9, True), "v2": (12, False)}  # which layer's output, from 1; whether it is projected
INSTEAD = "use ContentVec's weights in the layout of the transformers library (hubert_base/pytorch_model.bin)"


@dataclass(frozen=True, kw_only=True)
class HubertSizes:
    """Sizes of a HuBERT; the defaults are the base model's, which is what is published."""

    conv_channels: int = 512
    channels: int = 768
    heads: int = 12
    feed_forward: int = 3072
    layers: int = 12
    position_kernel: int = 128
    position_groups: int = 16
    projected: int = 256


BASE = HubertSizes()


class ContentVec(nn.Module):
    """16 kHz audio -> content vectors."""

    def __init__(self, sizes: HubertSizes = BASE) -> None:
        super().__init__()
        self.sizes = sizes
        self.hubert = wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=[(sizes.conv_channels, *layer) for layer in CONVOLUTIONS],
            extractor_conv_bias=False,
            encoder_embed_dim=sizes.channels,
            encoder_projection_dropout=0.0,
            encoder_pos_conv_kernel=sizes.position_kernel,
            encoder_pos_conv_groups=sizes.position_groups,
            encoder_num_layers=sizes.layers,
            encoder_num_heads=sizes.heads,
            encoder_attention_dropout=0.0,
            encoder_ff_interm_features=sizes.feed_forward,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_norm_first=False,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        self.final_proj = nn.Linear(sizes.channels, sizes.projected)

    @staticmethod
    def load(weights: Path, sizes: HubertSizes = BASE) -> ContentVec:
        """Read published weights of any layout, file format and precision, ready to be used, on the CPU."""
        state = read_state(weights, INSTEAD)
        if "post_extract_proj.weight" in state:
            rules = FAIRSEQ
        elif "feature_projection.projection.weight" in state:
            rules = TRANSFORMERS
        else:
            raise CheckpointError(f"{weights.name} holds no HuBERT; {INSTEAD}.")
        with torch.device("meta"):
            encoder = ContentVec(sizes)
        renamed = {_renamed(name, rules): part for name, part in state.items() if name not in DROPPED}
        fill(encoder, renamed, weights, INSTEAD)
        # Length times direction, computed once and not at every call.
        position = encoder.hubert.encoder.transformer.pos_conv_embed.conv
        parametrize.remove_parametrizations(position, "weight")
        return encoder.eval().requires_grad_(requires_grad=False)

    def content_dim(self, version: str) -> int:
        """Numbers per content vector of a voice of this version."""
        return self.sizes.projected if _content_kind(version)[1] else self.sizes.channels

    def forward(self, wav16k: Tensor, version: str) -> Tensor:
        """Say what is said, (B, N) -> (B, F, 256) for voices of version "v1", (B, F, 768) for "v2"."""
        layer, projected = _content_kind(version)
        if wav16k.shape[1] < WINDOW_SAMPLES:
            raise AudioError(
                f"The recording is {1000 * wav16k.shape[1] / RATE_16K_HZ:.0f} ms long; "
                "at least 25 ms are needed to tell what is said."
            )
        layers, _ = self.hubert.extract_features(wav16k, num_layers=layer)
        content: Tensor = layers[layer - 1]
        return self.final_proj(content) if projected else content


def _content_kind(version: str) -> tuple[int, bool]:
    if version not in CONTENT_KINDS:
        known = ", ".join(CONTENT_KINDS)
        raise UnknownNameError(f"Unknown version of a voice {version!r}. Choose one of: {known}.")
    return CONTENT_KINDS[version]


def _renamed(name: str, rules: Rules) -> str:
    """Give torchaudio's name of a published weight."""
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            stem, _, last = match.expand(replacement).rpartition(".")
            return f"hubert.{stem}.{_WEIGHT_NORM.get(last, last)}"
    return name
