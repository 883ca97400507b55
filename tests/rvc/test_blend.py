"""Blends of real networks at toy size: weights and content by share, whatever the engine."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.blend import blend
from rvc.engine.retrieval import RetrievalIndex
from rvc.errors import CheckpointError, ConfigError
from rvc.lite.synthesizer import LiteSynthesizer, LiteSynthesizerConfig
from rvc.lite.weights import load_part, save_voice
from rvc.vits.voice_model import (
    VoiceModel,
    card_of,
    load_voice_file,
    read_voice_model,
    save_voice_file,
    write_voice_model,
)
from tests.tiny import toy_bundle, toy_index
from tests.tiny_rvc import tiny_synthesizer

ENGINE = ("engine", "sample_rate_hz", "content_encoder", "content_dim")
SIZES = LiteSynthesizerConfig(content_dim=8, channels=16, blocks=1, voice_dim=4)


def with_card(folder: Path, said: dict[str, Any], rows: NDArray[np.float32] | None = None) -> Path:
    document = said | {"format_version": 1, "name": folder.name}
    (folder / "card.json").write_text(json.dumps(document), encoding="utf-8")
    if rows is not None:
        toy_index(rows).save(folder / "index.faiss")
    return folder


def lite_voice(
    folder: Path, seed: int, *, sizes: LiteSynthesizerConfig = SIZES, rows: NDArray[np.float32] | None = None
) -> Path:
    folder.mkdir()
    torch.manual_seed(seed)
    weights = LiteSynthesizer(sizes).state_dict()
    return with_card(folder, save_voice(folder / "model.safetensors", weights, sizes), rows)


def rvc_voice(folder: Path, seed: int, *, speakers: int = 3, **facts: str | int) -> Path:
    folder.mkdir()
    model = replace(VoiceModel.of(tiny_synthesizer(seed=seed, speakers=speakers)), facts=facts)
    save_voice_file(folder / "model.safetensors", model)
    return with_card(folder, card_of(model))


def blended(folder: Path, voices: Sequence[Path], shares: Sequence[float], name: str = "Both") -> Path:
    made = folder / f"made {sum(1 for _ in folder.iterdir())}"
    made.mkdir()
    order = [
        {"folder": str(path), "name": path.name, "share": share}
        for path, share in zip(voices, shares, strict=True)
    ]
    blend({"voices": order, "name": name, "folder": str(made)})
    return made


def lite_weights(folder: Path) -> dict[str, Tensor]:
    return load_part(folder / "model.safetensors", "synthesizer")[1]


def rvc_weights(folder: Path) -> Mapping[str, Tensor]:
    return load_voice_file(folder / "model.safetensors").weights


def test_every_weight_of_a_blend_is_the_mean_by_share_whatever_the_order(tmp_path: Path) -> None:
    voices = [lite_voice(tmp_path / name, seed) for seed, name in enumerate("abc")]
    shares = [0.5, 0.3, 0.2]
    own = [lite_weights(voice) for voice in voices]
    for order in itertools.permutations(range(3)):
        made = blended(tmp_path, [voices[n] for n in order], [shares[n] for n in order])
        weights = lite_weights(made)
        assert weights.keys() == own[0].keys()
        for name, weight in weights.items():
            mean = sum(share * each[name] for share, each in zip(shares, own, strict=True))
            torch.testing.assert_close(weight, mean, atol=1e-6, rtol=1e-3)
        assert not (made / "index.faiss").exists()  # the parents have none


@pytest.mark.parametrize("kind", ["lite", "rvc"])
def test_a_voice_blended_with_its_like_stays_the_same(tmp_path: Path, kind: str) -> None:
    voice: Callable[[Path, int], Path] = lite_voice if kind == "lite" else rvc_voice
    weights: Callable[[Path], Mapping[str, Tensor]] = lite_weights if kind == "lite" else rvc_weights
    one, same = voice(tmp_path / "one", 1), voice(tmp_path / "same", 1)
    for folder in (one, same):
        with_card(
            folder, json.loads((folder / "card.json").read_text()) | {"content_encoder": "an older one"}
        )
    made = blended(tmp_path, [one, same], [0.5, 0.5])
    before, after = weights(one), weights(made)
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    card, said = (json.loads((path / "card.json").read_text(encoding="utf-8")) for path in (one, made))
    assert {name: said[name] for name in ENGINE} == {name: card[name] for name in ENGINE}


def test_voices_of_rvc_are_merged_as_its_programs_do_it_and_say_so(tmp_path: Path) -> None:
    """Also with tables of unlike length: share * a + (1 - share) * b in float32, then halved."""
    one = rvc_voice(tmp_path / "one", 1, author="me", embedder_model="contentvec", epoch=3)
    two = rvc_voice(tmp_path / "two", 2, speakers=5, author="you", embedder_model="contentvec")
    made = blended(tmp_path, [one, two], [0.75, 0.25], name="Both")
    a, b = rvc_weights(one), rvc_weights(two)
    write_voice_model(tmp_path / "both.pth", load_voice_file(made / "model.safetensors"))
    model = read_voice_model(tmp_path / "both.pth")
    assert list(model.weights) == list(a)
    for name, weight in model.weights.items():
        rows = slice(None, len(a[name])) if name == "emb_g.weight" else slice(None)
        theirs = 0.75 * a[name].float() + 0.25 * b[name][rows].float()
        assert torch.equal(weight, theirs.half()), name
    assert (model.config.speakers, model.info) == (3, "blend of 75% one, 25% two")
    assert model.facts == {"embedder_model": "contentvec", "model_name": "Both"}
    document = torch.load(tmp_path / "both.pth", weights_only=True)
    assert {"weight", "config", "info", "sr", "f0", "version"} <= document.keys()


def test_the_content_of_each_is_in_the_index_by_its_share(tmp_path: Path) -> None:
    near, far = (np.random.default_rng(0).normal(at, 0.1, (count, 8)) for at, count in ((0, 300), (9, 600)))
    one = lite_voice(tmp_path / "one", 1, rows=near.astype(np.float32))
    two = lite_voice(tmp_path / "two", 2, rows=far.astype(np.float32))
    for shares in ((0.5, 0.5), (0.25, 0.75), (0.9, 0.1)):
        made = blended(tmp_path, [one, two], shares)
        rows = RetrievalIndex.load(made / "index.faiss", 8).vectors()
        of_two = rows[:, 0] > 4.5
        assert abs(of_two.mean() - shares[1]) < 0.01
        known = {row.tobytes() for row in np.concatenate([near, far]).astype(np.float32)}
        assert {row.tobytes() for row in rows} <= known
        assert len(set(rows[:, 0])) == len(rows) >= 300


def test_networks_of_other_sizes_and_engines_without_weights_are_refused(tmp_path: Path) -> None:
    one = lite_voice(tmp_path / "one", 1)
    wide = lite_voice(
        tmp_path / "wide", 1, sizes=LiteSynthesizerConfig(content_dim=8, channels=32, blocks=1, voice_dim=4)
    )
    with pytest.raises(CheckpointError, match="one and wide have networks of different sizes"):
        blended(tmp_path, [one, wide], [0.5, 0.5])
    toys = [toy_bundle(tmp_path / name) for name in ("toy", "other")]
    with pytest.raises(ConfigError, match="Voices of the engine toy cannot be blended"):
        blended(tmp_path, toys, [0.5, 0.5])
    with_card(one, {"engine": "rvc", "sample_rate_hz": 24_000, "content_encoder": "x", "content_dim": 8})
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not say that it is an RVC voice"):
        blended(tmp_path, [one, wide], [0.5, 0.5])
