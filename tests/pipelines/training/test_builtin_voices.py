"""The voices that ship: what they may learn from, and that they are there, whole, licensed and small."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.training.builtin_voices import BuiltinVoice, make_voice, recordings_of
from pipelines.voices.bundle import read_card
from pipelines.voices.library import BUILTIN_VOICES
from rvc.engine.weights_file import check_weights
from rvc.errors import AudioError
from rvc.lite.weights import CONTENT_ENCODER_NAME
from rvc.pretrain.dataset import LICENCES, read_corpus

SHIPPED = sorted(BUILTIN_VOICES.iterdir())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four hundred sentences of one speaker, six seconds each, and some of another; no sound."""
    rows = ["file|speaker|seconds|text"]
    rows += [f"anna_en/{n}.wav|anna|6.0|sentence {n}" for n in range(400)]
    rows += [f"bert_en/{n}.wav|bert|6.0|sentence {n}" for n in range(10)]
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_voice_learns_from_its_own_speaker_and_never_from_what_is_held_out(corpus: Path) -> None:
    chosen = recordings_of(corpus, BuiltinVoice(speaker="anna", name="Anna", minutes=1000))
    assert {u.speaker for u in chosen} == {"anna"}
    assert not any(u.held_out for u in chosen)
    assert len(chosen) + sum(u.held_out for u in read_corpus(corpus) if u.speaker == "anna") == 400


def test_a_voice_takes_no_more_minutes_than_it_is_given(corpus: Path) -> None:
    chosen = recordings_of(corpus, BuiltinVoice(speaker="anna", name="Anna", minutes=5))
    assert 300 <= sum(u.seconds for u in chosen) < 306


def test_a_speaker_who_is_not_there_is_named_and_nothing_is_left(corpus: Path) -> None:
    with pytest.raises(AudioError, match="clara"):
        make_voice(corpus, BuiltinVoice(speaker="clara", name="Clara"), corpus / "work", corpus / "voices")
    assert not (corpus / "work").exists()
    assert not (corpus / "voices").exists()


def test_a_man_and_a_woman_ship_and_his_voice_is_the_lower_one() -> None:
    man_hz, woman_hz = (read_card(folder)["f0"]["median_hz"] for folder in SHIPPED)
    assert [folder.name for folder in SHIPPED] == ["flemishguy", "kathleen"]
    assert man_hz < woman_hz


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_voice_that_ships_is_whole_licensed_and_fits_the_shipped_encoder(folder: Path) -> None:
    card = read_card(folder)
    check_weights(folder / "model.safetensors")
    assert card["licence"] in LICENCES.values()
    assert card["consent"]["statement"]
    assert card["content_encoder"] == CONTENT_ENCODER_NAME
    assert (folder / "index.faiss").stat().st_size > 0


def test_everything_that_ships_is_at_most_40_mb() -> None:
    assert sum(path.stat().st_size for path in BUILTIN_VOICES.parent.rglob("*") if path.is_file()) <= 40e6
