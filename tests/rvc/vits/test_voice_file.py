"""An RVC voice in a bundle: nothing is lost on the way from and to a .pth, and what is wrong is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rvc.engine.card import FORMAT_VERSION, parse_card
from rvc.errors import CheckpointError
from rvc.vits.config import Version
from rvc.vits.voice_model import (
    METADATA,
    VoiceModel,
    card_of,
    load_voice_file,
    read_voice_model,
    save_voice_file,
    write_voice_model,
)
from tests.tiny_rvc import sound, tiny_synthesizer

FACTS: dict[str, str | int] = {"epoch": 20, "author": "someone", "embedder_model": "contentvec"}


def tiny_model(version: Version = "v2", *, uses_f0: bool = True) -> VoiceModel:
    return VoiceModel.of(tiny_synthesizer(version, uses_f0=uses_f0), info="20epoch", **FACTS)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("uses_f0", [True, False])
def test_a_pth_that_went_through_a_bundle_holds_the_same(
    tmp_path: Path, version: Version, uses_f0: bool
) -> None:
    came, kept, left = tmp_path / "came.pth", tmp_path / "model.safetensors", tmp_path / "left.pth"
    write_voice_model(came, tiny_model(version, uses_f0=uses_f0))
    save_voice_file(kept, read_voice_model(came))
    model = load_voice_file(kept)
    write_voice_model(left, model)
    first, second = torch.load(came, weights_only=True), torch.load(left, weights_only=True)
    assert list(second["weight"]) == list(first["weight"])
    assert all(torch.equal(second["weight"][name], tensor) for name, tensor in first["weight"].items())
    assert {name: first[name] for name in first if name != "weight"} == {
        name: second[name] for name in second if name != "weight"
    }
    assert torch.equal(sound(model), sound(read_voice_model(came)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["came.pth", "left.pth", "model.safetensors"]


def test_weights_are_kept_in_half_precision(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = tiny_model()
    shared = dict(model.weights)
    # torch.save keeps tensors that share memory, safetensors does not.
    norms = ["enc_p.encoder.norm_layers_1.0.gamma", "enc_p.encoder.norm_layers_2.0.gamma"]
    for name in norms:
        shared[name] = shared[norms[0]]
    save_voice_file(path, VoiceModel(config=model.config, weights=shared))
    read = load_voice_file(path)
    assert {tensor.dtype for tensor in read.weights.values()} == {torch.float16}
    assert torch.equal(read.weights[norms[0]], read.weights[norms[1]])


@pytest.mark.parametrize(("version", "dim"), [("v1", 256), ("v2", 768)])
def test_the_card_says_what_the_file_says(version: Version, dim: int) -> None:
    said = card_of(tiny_model(version, uses_f0=False))
    assert said == {
        "engine": "rvc",
        "content_encoder": "contentvec",
        "content_dim": dim,
        "sample_rate_hz": 40_000,
        "version": version,
        "uses_f0": False,
        "info": "20epoch",
        "facts": FACTS,
    }
    card = parse_card(said | {"name": "Wren", "format_version": FORMAT_VERSION})
    assert (card.engine, card.content_dim, card.f0) == ("rvc", dim, None)


def test_the_card_leaves_out_what_is_not_known() -> None:
    assert not {"info", "facts", "f0"} & set(card_of(VoiceModel.of(tiny_synthesizer())))


def rewritten(
    path: Path,
    says: Callable[[dict[str, Any]], object] = lambda said: said,
    weights: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda weights: weights,
) -> None:
    """Change what a voice file says of itself, or its tensors."""
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()[METADATA])
    save_file(weights(load_file(path)), path, {METADATA: json.dumps(says(said))})


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing said": (
        lambda path: save_file(load_file(path), path),
        "does not say that it is an RVC voice",
    ),
    "a list said": (lambda path: rewritten(path, says=lambda _: [1]), "does not say that it is an RVC voice"),
    "no JSON": (lambda path: save_file(load_file(path), path, {METADATA: "{"}), "damaged or of another kind"),
    "JSON without end": (
        lambda path: save_file(load_file(path), path, {METADATA: "[" * 100_000}),
        "damaged or of another kind",
    ),
    "another version": (lambda path: rewritten(path, says=lambda said: said | {"version": "v1"}), "768"),
    "a huge network": (
        lambda path: rewritten(
            path, says=lambda said: said | {"config": [*said["config"][:3], 10**9, *said["config"][4:]]}
        ),
        "hidden_channels of 1000000000",
    ),
    "another vocoder": (
        lambda path: rewritten(path, says=lambda said: said | {"vocoder": "RefineGAN"}),
        "vocoder 'RefineGAN'",
    ),
    "a missing weight": (
        lambda path: rewritten(
            path, weights=lambda weights: {n: t for n, t in weights.items() if n != "dec.conv_post.weight"}
        ),
        "lacks dec.conv_post.weight",
    ),
    "whole numbers": (
        lambda path: rewritten(path, weights=lambda weights: {n: t.int() for n, t in weights.items()}),
        "something else than floating-point weights",
    ),
    "no safetensors": (lambda path: path.write_bytes(b"\x80\x02" + bytes(100)), "damaged or of another kind"),
    "an empty file": (lambda path: path.write_bytes(b""), "damaged or of another kind"),
    "half a file": (
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "damaged or of another kind",
    ),
    "no file": (lambda path: path.unlink(), "cannot be opened"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_not_a_voice_is_refused_in_one_sentence(tmp_path: Path, wrong: str) -> None:
    make, message = WRONG[wrong]
    path = tmp_path / "model.safetensors"
    save_voice_file(path, tiny_model())
    make(path)
    with pytest.raises(CheckpointError, match=message) as refusal:
        load_voice_file(path)
    text = str(refusal.value)
    assert text.startswith("model.safetensors ")
    assert text.endswith(".")
    assert "\n" not in text


def test_what_cannot_be_written_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_voice_file(path, tiny_model())
    before = path.read_bytes()
    synthesizer = tiny_synthesizer()
    with torch.no_grad():
        synthesizer.emb_g.weight[0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"emb_g\.weight is too large"):
        save_voice_file(path, VoiceModel.of(synthesizer))
    assert path.read_bytes() == before
    with pytest.raises(OSError, match="absent"):
        save_voice_file(tmp_path / "absent" / "model.safetensors", tiny_model())
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
