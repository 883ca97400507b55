"""The recipe of the built-in models: the real stages on a toy corpus."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from rvc.files import ROOT
from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.perturb import Perturbation
from rvc.lite.synthesizer import LiteSynthesizerConfig
from rvc.pretrain.dataset import (
    HELD_OUT_SPEAKERS,
    Recording,
    RoughPerturbation,
    SpeechStore,
    cache_f0,
    load_recordings,
    read_corpus,
)
from rvc.pretrain.labels import FOREIGN, PHONE_ID, PHONES, dictionary
from rvc.pretrain.train_base import BaseTrainer, BaseTraining, low_pass
from rvc.pretrain.train_encoder import (
    EncoderTrainer,
    EncoderTraining,
    contrast,
    evaluate,
    load_state,
    save_state,
)

CPU = torch.device("cpu")
SIZES = EncoderConfig(channels=16, blocks=1, kernel_frames=3, content_dim=8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers who hum; labels are phone 1 in the first half and 2 in the second."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = ["file|speaker|seconds|text"]
    time = np.arange(32_000) / 16_000
    (folder / "labels").mkdir()
    for number, (speaker, hz) in enumerate((("anna", 200.0), ("bert", 110.0), ("nathalie", 220.0))):
        vowel = np.where(time < 1, np.sin(2 * np.pi * 5 * hz * time), np.sin(2 * np.pi * 13 * hz * time))
        wav = 0.1 * np.sin(2 * np.pi * hz * time) + 0.1 * vowel
        (folder / "librispeech").mkdir(exist_ok=True)
        sf.write(folder / "librispeech" / f"{number}.wav", wav, 16_000)
        rows.append(f"librispeech/{number}.wav|{speaker}|2.0|hum {number}")
        labels = np.repeat([1, 2], [100, 101]).astype(np.int8)
        np.save(folder / "labels" / f"librispeech_{number}.npy", labels)
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    (folder / "f0").mkdir()
    for utterance in read_corpus(folder):
        cache_f0(folder, folder / "f0", utterance)
    return folder


def recordings(corpus: Path, rate_hz: int = 16_000) -> list[Recording]:
    return load_recordings(corpus, corpus, rate_hz, read_corpus(corpus)[:2], processes=1)


def trainer(corpus: Path) -> EncoderTrainer:
    store = SpeechStore(recordings(corpus), {"librispeech": 1.0}, 16_000, CPU)
    return EncoderTrainer(
        store, SIZES, EncoderTraining(steps=40, batch=4, frames=60, warmup_steps=5, learning_rate=2e-2)
    )


def test_strangers_are_held_out_wherever_they_speak(corpus: Path) -> None:
    assert {"nathalie", "26"} <= HELD_OUT_SPEAKERS
    assert all(u.held_out for u in read_corpus(corpus) if u.speaker == "nathalie")


def test_every_phone_has_a_pronunciation_and_a_number() -> None:
    lines = dictionary().splitlines()
    assert {line.split()[0].split("(")[0] for line in lines} == {f"p{phone.lower()}" for phone in PHONES[1:]}
    assert PHONE_ID["SIL"] == 0
    assert set(FOREIGN) <= set(PHONE_ID)


def test_a_crop_is_the_recording_at_that_place(corpus: Path) -> None:
    made = recordings(corpus)
    store = SpeechStore(made, {"librispeech": 1.0}, 16_000, CPU)
    crop = store.crop(torch.tensor([1]), torch.tensor([150]), 80)
    expected = made[1].audio[150 * 160 :].astype(np.float32) / 32768
    np.testing.assert_allclose(crop.audio[0, : len(expected)], expected, atol=1e-6)
    assert not crop.audio[0, len(expected) :].any()
    assert crop.inside.sum() == 50
    assert set(crop.labels[0, :50].tolist()) == {2}
    assert (crop.labels[0, 50:] == -1).all()


def test_a_view_is_decided_by_its_generator() -> None:
    wav, frame = torch.randn(2, 16_000) * 0.1, torch.arange(90).expand(2, -1)
    perturbation = RoughPerturbation(CPU)
    first, again, other = (
        perturbation.view(wav, frame, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (2, 90, 80)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_plain_view_is_the_log_mel_itself() -> None:
    wav = torch.randn(1, 16_000) * 0.1
    encoder = ContentEncoder(SIZES).eval()
    frame = torch.arange(101).expand(1, -1)
    plain = Perturbation(CPU).speaker_view(wav, frame, 1.0, torch.Generator())
    torch.testing.assert_close(encoder.from_mel(plain), encoder(wav))


def test_the_encoder_learns_its_phones(corpus: Path) -> None:
    training = trainer(corpus)
    losses = [float(training.step(step)["phone"]) for step in range(40)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert evaluate(training.encoder, training.heads, training.store.recordings)["speech"] > 0.6


def test_training_goes_on_where_it_was_cut_off(corpus: Path, tmp_path: Path) -> None:
    whole, first, second = trainer(corpus), trainer(corpus), trainer(corpus)
    for step in range(6):
        whole.step(step)
    for step in range(3):
        first.step(step)
    save_state(tmp_path / "state.pt", first.modules, 3)
    for step in range(load_state(tmp_path / "state.pt", second.modules), 6):
        second.step(step)
    for name, weight in whole.encoder.state_dict().items():
        assert torch.equal(weight, second.encoder.state_dict()[name]), name


def test_contrast_is_small_when_views_agree_and_large_when_they_do_not() -> None:
    content = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0))
    heard = torch.ones(2, 30, dtype=torch.bool)
    agree, found = contrast(content, content, heard)
    differ, lost = contrast(content, content.roll(7, 1), heard)
    assert float(agree) < 0.2 * float(differ)
    assert float(found) == 1.0
    assert float(lost) < 0.5


def test_two_views_add_the_contrast(corpus: Path) -> None:
    store = SpeechStore(recordings(corpus), {"librispeech": 1.0}, 16_000, CPU)
    settings = EncoderTraining(steps=10, batch=2, frames=60, views=2)
    losses = EncoderTrainer(store, SIZES, settings).step(0)
    assert float(losses["contrast"]) > 0


def test_the_base_synthesizer_learns_and_its_judges_take_part(corpus: Path) -> None:
    stores = [
        SpeechStore(recordings(corpus, rate), {"librispeech": 1.0}, rate, CPU) for rate in (16_000, 24_000)
    ]
    sizes = LiteSynthesizerConfig(
        content_dim=8, channels=16, blocks=1, kernel_frames=3, voice_dim=4, voices=3
    )
    settings = BaseTraining(
        steps=14, batch=2, frames=40, learning_rate=1e-2, warmup_steps=2, adversarial_from=12,
        judged_samples=4096, large=False,
    )  # fmt: skip
    training = BaseTrainer(ContentEncoder(SIZES), (stores[0], stores[1]), sizes, settings)
    losses = [training.step(step) for step in range(14)]
    assert float(losses[11]["spectral"]) < float(losses[0]["spectral"])
    assert "discriminator" not in losses[11]
    assert float(losses[13]["discriminator"]) > 0


def test_a_narrow_recording_is_cut_and_a_wide_one_left() -> None:
    time = torch.arange(24_000) / 24_000
    wav = torch.sin(2 * torch.pi * 1000 * time) + torch.sin(2 * torch.pi * 9000 * time)
    narrow, wide = low_pass(wav.expand(2, -1), 7600.0, 24_000, torch.tensor([True, False]))
    torch.testing.assert_close(wide, wav, atol=1e-4, rtol=0)
    torch.testing.assert_close(narrow, torch.sin(2 * torch.pi * 1000 * time), atol=1e-2, rtol=0)


def test_the_shipped_card_names_every_source_and_its_licence() -> None:
    card = json.loads((ROOT / "assets" / "builtin" / "card.json").read_text())
    assert set(card["data_and_licences"]) >= {"kathleen_en", "librispeech"}
    assert all(card["data_and_licences"].values())
    assert card["steps"]["encoder"] > 0
    assert card["steps"]["base"] > 0
