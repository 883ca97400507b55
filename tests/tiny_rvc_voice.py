"""Whole RVC voices at toy size: a content encoder and a file of its weights, a bundle, an engine."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.weights import Weight, WeightStore
from rvc.engine.interface import EngineLoader
from rvc.engine.options import ENGINES, RVC_DEFAULTS
from rvc.vits.content_encoder import HOP_SAMPLES, WINDOW_SAMPLES, ContentVec, HubertSizes
from rvc.vits.engine import RvcEngine, RvcLoader
from rvc.vits.synthesizer import VitsSynthesizer
from rvc.vits.voice_model import VoiceModel, card_of, save_voice_file
from rvc.voice import INDEX_FILE, Voice
from tests.tiny import toy_index
from tests.tiny_rvc import tiny_synthesizer

TOY_HUBERT = HubertSizes(
    conv_channels=16, channels=24, heads=4, feed_forward=32, position_kernel=8, position_groups=4
)
"""Its projection has 256 numbers, so that it serves voices of version v1."""


def content_frames(samples: int) -> int:
    """How many content vectors this many samples of 16 kHz audio give."""
    return max((samples - WINDOW_SAMPLES) // HOP_SAMPLES + 1, 0)


def tiny_encoder(seed: int = 0) -> ContentVec:
    torch.manual_seed(seed)
    return ContentVec(TOY_HUBERT).eval().requires_grad_(requires_grad=False)


def encoder_file(path: Path, seed: int = 0) -> Path:
    """Write a toy encoder under the names of the transformers library."""
    state = {}
    for name, tensor in tiny_encoder(seed).state_dict().items():
        plain = re.sub(r"^hubert\.(encoder\.)?(?=feature_)", "", name)
        plain = re.sub(r"^hubert\.encoder\.transformer\.", "encoder.", plain)
        state[plain] = tensor
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def weights_at(folder: Path, *names: str) -> WeightStore:
    """An offline store that has the toy encoder as "contentvec", and lacks the other names."""
    path = encoder_file(folder / "contentvec.bin")
    sums = {"contentvec": hashlib.sha256(path.read_bytes()).hexdigest()} | dict.fromkeys(names, "0" * 64)
    manifest = {
        name: Weight(
            file=f"{name}.bin",
            url=f"https://example.org/{name}.bin",
            bytes=None,
            sha256=sha256,
            licence="none",
            used_by=f"the test of {name}",
        )
        for name, sha256 in sums.items()
    }
    return WeightStore(folder, offline=True, manifest=manifest)


def rvc_bundle(folder: Path, *, uses_f0: bool = True, with_index: bool = True, **card: Any) -> Path:  # noqa: ANN401 -- fields of any kind
    """Write a toy v1 voice; keywords replace fields of its card."""
    folder.mkdir(parents=True, exist_ok=True)
    model = VoiceModel.of(tiny_synthesizer("v1", uses_f0=uses_f0))
    save_voice_file(folder / "model.safetensors", model)
    document = card_of(model) | {"format_version": 1, "engine": "rvc-toy", "name": "Tiny"} | card
    (folder / "card.json").write_text(json.dumps(document), encoding="utf-8")
    if with_index:
        rows = np.random.default_rng(0).normal(0.0, 0.3, (200, model.config.content_dim))
        toy_index(rows.astype(np.float32)).save(folder / INDEX_FILE)
    return folder


def rvc_voice(folder: Path, **bundle: Any) -> Voice:  # noqa: ANN401 -- passed on
    """A loaded toy voice."""
    path = rvc_bundle(folder, **bundle)
    weights = {"contentvec": encoder_file(folder / "encoder" / "contentvec.bin")}
    return Voice.load(path, weights=weights)


def tiny_engine(*, uses_f0: bool = True) -> RvcEngine:
    model = VoiceModel.of(tiny_synthesizer("v1", uses_f0=uses_f0))
    synthesizer = VitsSynthesizer.for_inference(model.config, model.weights)
    return RvcEngine(tiny_encoder(), synthesizer)


def toy_rvc_loader() -> EngineLoader:
    return RvcLoader(TOY_HUBERT)


TOY_ENGINE = "rvc-toy"
ENGINES[TOY_ENGINE] = replace(RVC_DEFAULTS, loader="tests.tiny_rvc_voice:toy_rvc_loader")
