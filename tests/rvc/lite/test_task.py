"""Training one voice on the built-in engine, with the real classes at toy size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import rvc.lite.task
from rvc.audio.resampling import resample
from rvc.engine.card import parse_card
from rvc.engine.interface import Source
from rvc.errors import CheckpointError
from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.engine import LiteEngine, LiteLoader
from rvc.lite.losses import SmallDiscriminators
from rvc.lite.perturb import ContentBank
from rvc.lite.synthesizer import LiteSynthesizer, LiteSynthesizerConfig
from rvc.lite.task import OTHER_VERSIONS, VERSIONS, LiteTask
from rvc.lite.tone import mean_tone
from rvc.lite.weights import CONTENT_ENCODER_NAME, load_part, load_synthesizer, save_parts
from tests.tiny import CARD, toy_card

ENCODER = EncoderConfig(channels=16, blocks=2, kernel_frames=3, content_dim=8)
SYNTHESIZER = LiteSynthesizerConfig(content_dim=8, channels=24, blocks=2, kernel_frames=3, voice_dim=4)


@dataclass(frozen=True)
class Foreign:
    """Sizes of somebody else's network."""

    layers: int = 3


def tiny_task() -> LiteTask:
    torch.manual_seed(0)
    judges = SmallDiscriminators(channels=4)
    others = ContentBank(torch.randn(2, 30, ENCODER.content_dim))
    return LiteTask(ContentEncoder(ENCODER), LiteSynthesizer(SYNTHESIZER), judges, others, "tiny")


def hum(hz: float = 160.0, seconds: float = 2.0, rate_hz: int = 32_000) -> NDArray[np.float32]:
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    wav = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 20))
    return (0.05 * wav * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def test_features_have_one_row_a_frame_and_know_the_pitch() -> None:
    task = tiny_task()
    item = task.extract(hum(), 32_000, seed=1)
    assert item["content"].shape == (VERSIONS + OTHER_VERSIONS, 200, 8)
    assert item["audio"].shape == (200 * 240,)
    assert {len(item[name]) for name in ("f0_hz", "voiced", "level")} == {200}
    f0 = task.f0(item)
    assert abs(1200 * np.log2(np.median(f0[f0 > 0]) / 160.0)) < 5
    assert task.content(item).shape == (200, 8)


def test_the_same_seed_gives_the_same_features() -> None:
    task = tiny_task()
    first, second, third = (task.extract(hum(), 32_000, seed=seed)["content"] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert torch.equal(first[0], third[0])
    assert not torch.equal(first[1], third[1])


def test_a_few_steps_bring_the_voice_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rvc.lite.task, "LEARNING_RATE", 1e-2)  # a toy network can be hurried
    monkeypatch.setattr(rvc.lite.task, "WARMUP_STEPS", 5)
    task = tiny_task()
    item = task.extract(hum(), 32_000, seed=1)
    losses = []
    for step in range(40):
        batch = task.batch([item] * 4, torch.Generator().manual_seed(step))
        losses.append(task.step(batch, step, 40, torch.Generator().manual_seed(step))["spectral"])
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_what_was_exported_speaks_as_it_was_trained(tmp_path: Path) -> None:
    task = tiny_task()
    item = task.extract(hum(), 32_000, seed=1)
    card = task.export(tmp_path)
    assert card["engine"] == "lite"
    assert card["content_encoder"] == CONTENT_ENCODER_NAME
    engine = LiteEngine(ContentEncoder(ENCODER), load_synthesizer(tmp_path / "model.safetensors"))
    phase = np.cumsum(np.r_[0.0, 0.005 * (item["f0_hz"][1:] + item["f0_hz"][:-1]).double().numpy()])
    f0_hz, voiced, level = (item[name].numpy() for name in ("f0_hz", "voiced", "level"))
    nothing = np.zeros(0, np.float32)
    heard = Source(wav16k=nothing, f0_hz=f0_hz, voiced=voiced, level=level, phase=phase)
    spoken = engine.utter(item["content"][-1].float().numpy(), heard, 0)
    np.testing.assert_allclose(spoken, task.render(item), atol=2e-2)


def test_a_slice_is_spoken_as_another_speaker_would_say_it() -> None:
    task = tiny_task()
    item = task.extract(hum(), 32_000, seed=1)
    spoken = task.render(item)
    own = item["content"].clone()
    own[:-1] = 0
    np.testing.assert_array_equal(spoken, task.render({**item, "content": own}))
    own[-1] = item["content"][0]
    assert not np.array_equal(spoken, task.render({**item, "content": own}))


def test_the_card_says_the_tone_of_the_voice_s_recordings() -> None:
    task = tiny_task()
    items = [task.extract(hum(hz), 32_000, seed=1) for hz in (120.0, 240.0)]
    said = task.describe(items)
    wanted = mean_tone([resample(hum(hz), 32_000, 16_000) for hz in (120.0, 240.0)])
    assert np.abs(np.array(said["tone_db"]) - wanted).mean() < 1.0
    assert parse_card(CARD | said).tone_db == tuple(said["tone_db"])


def test_a_voice_of_another_encoder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="content encoder 'another'"):
        LiteLoader()(tmp_path, toy_card(tmp_path, content_encoder="another"), "cpu", {})


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load_synthesizer(path)
    torch.manual_seed(0)
    state = {"synthesizer": LiteSynthesizer(SYNTHESIZER).state_dict()}
    for sizes, said in (
        (Foreign(), "sizes that no"),
        (replace(SYNTHESIZER, channels=10**9), "1000000000 for"),
    ):
        save_parts(path, state, {"synthesizer": sizes}, torch.float32)
        with pytest.raises(CheckpointError, match=said):
            load_synthesizer(path)
    save_parts(path, {"encoder": ContentEncoder(ENCODER).state_dict()}, {"encoder": ENCODER}, torch.float32)
    with pytest.raises(CheckpointError, match="holds no synthesizer"):
        load_part(path, "synthesizer")
