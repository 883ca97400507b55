"""The child that makes one voice of several: `python -m rvc.blend ORDER`.

    voices: of each its folder, name and share (together 1), all of one engine; name: of the blend
    folder: where model.safetensors goes and, if all have one, index.faiss; card.json: what the engine says
Each weight is the mean of the parents', by share and in float32, as other RVC programs do it. Fine-tuned from
one base, such means speak; networks without a common history would not. The index holds vectors of each
parent, as many as its share. The files may be strangers'; their indexes are read in children of this child.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rvc.engine.card import CARD_FILE, read_card
from rvc.engine.index_file import read_rows
from rvc.engine.options import LITE, RVC
from rvc.engine.retrieval import MAX_ROWS, RetrievalIndex, thinned
from rvc.errors import CheckpointError, ConfigError
from rvc.lite.weights import load_synthesizer, save_voice
from rvc.sandbox import Order, serve
from rvc.steps import result_of
from rvc.vits.sizes import SPEAKERS
from rvc.vits.voice_model import VoiceModel, card_of, load_voice_file, save_voice_file
from rvc.voice import INDEX_FILE

WEIGHTS_FILE = "model.safetensors"

Sizes = TypeVar("Sizes")


@dataclass(frozen=True, kw_only=True)
class Parent:
    folder: Path
    name: str
    share: float  # 0..1


def blend(order: Order) -> None:
    """Do what the order says."""
    parents = [
        Parent(folder=Path(one["folder"]), name=one["name"], share=one["share"]) for one in order["voices"]
    ]
    card = read_card(parents[0].folder)
    if card.engine not in _BLENDERS:
        raise ConfigError(f"Voices of the engine {card.engine} cannot be blended; choose others.")
    folder = Path(order["folder"])
    said = _BLENDERS[card.engine](parents, order["name"], folder / WEIGHTS_FILE)
    said["content_encoder"] = card.content_encoder  # theirs may be of an earlier version
    if all((parent.folder / INDEX_FILE).is_file() for parent in parents):
        index = blended_index(parents, said["content_dim"])
        index.save(folder / INDEX_FILE)
        said["retrieval"] = {"rows": index.rows, "probed_cells": index.probed_cells}
    (folder / CARD_FILE).write_text(json.dumps(said), encoding="utf-8")


def _blend_lite(parents: Sequence[Parent], _name: str, path: Path) -> dict[str, Any]:
    networks = [load_synthesizer(parent.folder / WEIGHTS_FILE) for parent in parents]
    sizes = _one_size(parents, [network.config for network in networks])
    weights = _mean(parents, [network.state_dict() for network in networks])
    return save_voice(path, weights, sizes)


def _blend_rvc(parents: Sequence[Parent], name: str, path: Path) -> dict[str, Any]:
    """Keep of the table of speakers the rows that all have, and of Applio's facts those that all agree on."""
    models = [load_voice_file(parent.folder / WEIGHTS_FILE) for parent in parents]
    speakers = min(model.config.speakers for model in models)
    sizes = _one_size(parents, [replace(model.config, speakers=speakers) for model in models])
    tables = [{**model.weights, SPEAKERS: model.weights[SPEAKERS][:speakers]} for model in models]
    common = set.intersection(*(set(model.facts.items()) for model in models))
    blended = VoiceModel(
        config=sizes,
        weights=_mean(parents, tables),
        info="blend of " + ", ".join(f"{100 * one.share:.3g}% {one.name}" for one in parents),
        facts=dict(sorted(common)) | {"model_name": name},
    )
    save_voice_file(path, blended)
    return card_of(blended)


_BLENDERS = {LITE: _blend_lite, RVC: _blend_rvc}


def _one_size(parents: Sequence[Parent], sizes: Sequence[Sizes]) -> Sizes:
    for parent, own in zip(parents, sizes, strict=True):
        if own != sizes[0]:
            raise CheckpointError(
                f"{parents[0].name} and {parent.name} have networks of different sizes, so they cannot be "
                "blended; choose voices of one size."
            )
    return sizes[0]


def _mean(parents: Sequence[Parent], weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    voices = list(zip(parents, weights, strict=True))
    return {
        name: torch.stack([parent.share * own[name].float() for parent, own in voices]).sum(0)
        for name in weights[0]
    }


def blended_index(parents: Sequence[Parent], content_dim: int) -> RetrievalIndex:
    """Index vectors of every parent, as many as its share: of all 20,000, or until one has no more."""
    rows = [read_rows(parent.folder / INDEX_FILE, content_dim) for parent in parents]
    most = min(len(own) / parent.share for parent, own in zip(parents, rows, strict=True))
    total = min(most, MAX_ROWS)
    chosen = [
        thinned(own, max(1, round(parent.share * total))) for parent, own in zip(parents, rows, strict=True)
    ]
    return result_of(RetrievalIndex.build(np.concatenate(chosen)))


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], blend))
