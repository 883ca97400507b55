"""The encoder's scores say what is true of contents that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.pretrain.dataset import Recording, Utterance
from rvc.pretrain.evaluate import evaluate_encoder, path_distance, phones_said, same_sentence, speaker_probe
from rvc.pretrain.train_encoder import Heads

SIZES = EncoderConfig(channels=16, blocks=1, kernel_frames=3, content_dim=8)


def recording(number: int, speaker: str, text: str, hz: float, seconds: float = 0.6) -> Recording:
    """A tone of the speaker's own pitch; what is "said" is how its loudness moves."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    moved = 0.3 + 0.2 * np.sin(2 * np.pi * (2 + len(text)) * time)
    noise = 0.003 * np.random.default_rng(number).standard_normal(len(time))
    frames = len(time) // 160
    return Recording(
        utterance=Utterance(
            file=f"a/{number}.wav",
            speaker=speaker,
            collection="a",
            language="en-us",
            seconds=seconds,
            text=text,
        ),
        audio=((moved * np.sin(2 * np.pi * hz * time) + noise) * 32767).astype(np.int16),
        labels=np.repeat([1, 2], [frames // 2, frames - frames // 2]).astype(np.int8),
        f0_hz=np.full(frames, hz, np.float32),
        level=np.zeros(frames, np.float32),
    )


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    voices = {"low": 300.0, "middle": 900.0, "high": 2700.0}
    return [
        recording(10 * v + n, name, "ab"[: 1 + n % 2], hz)
        for v, (name, hz) in enumerate(voices.items())
        for n in range(9)
    ]


def test_phones_are_read_in_order_without_silence_and_slivers() -> None:
    labels = np.repeat([0, 5, 0, 5, 7, 3, 7], [4, 6, 5, 4, 8, 1, 5]).astype(np.int8)
    assert phones_said(labels) == [5, 7]


def test_a_content_is_nearest_to_itself_at_any_speed() -> None:
    content = torch.randn(30, 8, generator=torch.Generator().manual_seed(3))
    slower = content.repeat_interleave(2, 0)
    assert path_distance(content, content) < 1e-6
    assert path_distance(content, slower) < 1e-6
    assert path_distance(content, content.flip(0)) > 0.1


def test_a_probe_finds_speakers_in_the_spectrum_of_tones(recordings: list[Recording]) -> None:
    torch.manual_seed(0)
    scores = speaker_probe(ContentEncoder(SIZES).eval(), recordings)
    assert scores["log_mel"] == 1.0
    assert scores["chance"] == pytest.approx(1 / 3)
    assert 0 <= scores["content"] <= 1


def test_one_speaker_or_one_text_cannot_be_judged(recordings: list[Recording]) -> None:
    encoder = ContentEncoder(SIZES).eval()
    assert speaker_probe(encoder, recordings[:9]) == {}
    assert same_sentence(encoder, recordings[:9]) == {}


def test_every_collection_gets_its_scores(recordings: list[Recording]) -> None:
    torch.manual_seed(0)
    scores = evaluate_encoder(ContentEncoder(SIZES), Heads(8, 3), {"tones": recordings})
    assert set(scores["tones"]) == {"phones", "speaker_probe", "same_sentence"}
    assert 0 <= scores["tones"]["phones"]["frame_accuracy"] <= 1
    assert scores["tones"]["same_sentence"]["ratio"] > 0
