"""The last stages of the recipe, as commands: what other speakers are like, and what ships."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.perturb import OTHERS_FILE, load_others
from rvc.lite.weights import ENCODER_FILE, load_encoder
from rvc.pretrain.__main__ import main
from rvc.pretrain.dataset import HELD_OUT_SPEAKERS, cache_f0, read_corpus
from rvc.pretrain.speaker_stats import is_held_out, speakers_of
from tests.sounds import tone

SPEAKERS = {"anna": 220.0, "bert": 110.0, "carl": 120.0, "nathalie": 440.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speakers who hum, with their pitch."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "librispeech").mkdir()
    (folder / "f0").mkdir()
    rows = ["file|speaker|seconds|text"]
    for speaker, hz in SPEAKERS.items():
        sf.write(folder / "librispeech" / f"{speaker}.wav", tone(2.0, 16_000, hz=hz), 16_000)
        rows.append(f"librispeech/{speaker}.wav|{speaker}|2.0|hum")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    for utterance in read_corpus(folder):
        cache_f0(folder, folder / "f0", utterance)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain", *map(str, arguments)])
    main()


def test_what_is_exported_is_what_was_trained(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    with pytest.raises(SystemExit, match="run the stage 'encoder' first"):
        run(monkeypatch, "others", "--corpus", corpus, "--work", work)
    work.mkdir()
    (work / "f0").symlink_to(corpus / "f0")
    encoder = ContentEncoder(EncoderConfig()).eval()
    torch.save({"encoder": encoder.state_dict(), "step": 7}, work / "encoder.pt")
    run(monkeypatch, "others", "--corpus", corpus, "--work", work)
    run(monkeypatch, "export", "--work", work, "--out", out)
    shipped = load_encoder(out / ENCODER_FILE.name)
    heard = torch.from_numpy(tone(1.0, 16_000)[:, 0])[None]
    with torch.no_grad():
        torch.testing.assert_close(shipped(heard), encoder(heard), rtol=0.05, atol=0.05)
    # Little of each, so that they are pooled by the height of their voices; of who is held out, nothing.
    others = load_others(out / OTHERS_FILE.name)
    assert others.frames.shape[::2] == (2, EncoderConfig().content_dim)
    assert np.isfinite(others.frames.numpy()).all()
    card = json.loads((out / "card.json").read_text())
    assert card["steps"] == {"encoder": 7}
    assert set(card["never_heard"]) == HELD_OUT_SPEAKERS


def test_the_second_speaker_check_is_fitted_without_who_is_held_out_or_left_out(corpus: Path) -> None:
    assert is_held_out("nathalie", "librispeech")
    heard = {name.partition(":")[2] for name in speakers_of(corpus, leave_out=[])}
    assert heard <= SPEAKERS.keys() - HELD_OUT_SPEAKERS
    assert heard
    left = min(heard)
    assert {name.partition(":")[2] for name in speakers_of(corpus, leave_out=[left])} == heard - {left}
