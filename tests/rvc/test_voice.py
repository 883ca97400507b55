"""Voice: bundles are loaded or refused, and pieces of a recording are spoken as the whole is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.audio.level import normalisation_gain
from rvc.engine.card import parse_card, read_card
from rvc.engine.interface import HIGHEST_F0_HZ, LOWEST_F0_HZ, Source
from rvc.engine.options import LITE_DEFAULTS, ConvertOptions
from rvc.errors import CheckpointError, ConfigError, UnknownNameError
from rvc.pitch.praat import PraatF0
from rvc.voice import Voice
from tests.tiny import CARD, ToyEngine, song, toy_bundle, toy_card, toy_index, toy_voice


@pytest.fixture(scope="module")
def heard() -> Source:
    wav = song(7.37)
    return Source.of(wav * np.float32(normalisation_gain(wav)), PraatF0()(wav))


@pytest.fixture
def voice(tmp_path: Path) -> Voice:
    return toy_voice(tmp_path / "voice")


def spoken(voice: Voice, source: Source, **options: Any) -> NDArray[np.float32]:  # noqa: ANN401 -- options of both kinds
    signs = voice.speak(source, replace(LITE_DEFAULTS, **options))
    return np.concatenate([sign.wav for sign in signs if sign.wav is not None])


@pytest.mark.parametrize("chunk_s", [1.0, 1.73, 4.0])
def test_pieces_give_what_the_whole_gives(voice: Voice, heard: Source, chunk_s: float) -> None:
    whole = spoken(voice, heard, chunk_s=600.0, index_rate=0.5)
    assert whole.shape == (heard.frames * 240,)
    np.testing.assert_allclose(spoken(voice, heard, chunk_s=chunk_s, index_rate=0.5), whole, atol=1e-4)


def test_no_piece_is_much_longer_than_asked_for_and_none_is_encoded_twice(
    voice: Voice, heard: Source
) -> None:
    spoken(voice, heard, chunk_s=2.0, align_content=False)  # aligning listens to a few places beforehand
    engine = voice.engine
    assert isinstance(engine, ToyEngine)
    assert max(engine.encoded_s + engine.spoken_s) < 4.0
    assert sum(engine.encoded_s) < 1.5 * heard.frames / 100
    assert sum(engine.spoken_s) < 1.5 * heard.frames / 100


def test_signs_of_life_come_more_often_than_pieces_and_never_go_back(voice: Voice, heard: Source) -> None:
    signs = list(voice.speak(heard, ConvertOptions(chunk_s=2.0)))
    done = [sign.done_frames for sign in signs]
    assert done == sorted(done)
    assert done[-1] == heard.frames
    assert len(signs) >= 2 * sum(sign.wav is not None for sign in signs)


def test_the_melody_that_is_spoken_is_the_one_asked_for(voice: Voice) -> None:
    wav = song(3.0)
    f0_hz = PraatF0()(wav)
    out = spoken(voice, Source.of(wav * np.float32(normalisation_gain(wav)), f0_hz * 1.5))
    found = PraatF0()(out[np.arange(0, out.size * 2 // 3) * 3 // 2])[: f0_hz.size]
    both = (found > 0) & (f0_hz > 0)
    assert both.mean() > 0.5
    assert np.median(np.abs(1200 * np.log2(found[both] / (1.5 * f0_hz[both])))) < 10


def test_an_empty_recording_has_one_frame(voice: Voice) -> None:
    source = Source.of(np.zeros(0, np.float32), np.zeros(1))
    assert np.abs(spoken(voice, source)).max() < 1e-3
    assert source.frames == 1


def test_f0_stays_within_what_engines_can_do() -> None:
    wav = np.zeros(160 * 9, np.float32)
    source = Source.of(wav, np.array([0, 1.0, 5, 0, 100, 0, 5000, 9000, 0, 0]))
    assert (source.f0_hz >= LOWEST_F0_HZ).all()
    assert (source.f0_hz <= HIGHEST_F0_HZ).all()
    np.testing.assert_array_equal(source.voiced, [0, 1, 1, 0, 1, 0, 1, 1, 0, 0])
    with pytest.raises(ValueError, match="does not fit"):
        Source.of(wav, np.zeros(3))


class ContentOf(ToyEngine):
    """A toy engine that keeps the content that it is asked to speak."""

    heard: NDArray[np.float32]

    def utter(self, content: NDArray[np.float32], source: Source, first_frame: int) -> NDArray[np.float32]:
        self.heard = content
        return super().utter(content, source, first_frame)


def content_spoken(tmp_path: Path, source: Source, **options: Any) -> NDArray[np.float32]:  # noqa: ANN401
    engine = ContentOf()
    spoken(Voice(toy_card(tmp_path), engine, toy_index()), source, chunk_s=600.0, **options)
    return engine.heard


def test_retrieval_draws_voiced_frames_fully_and_unvoiced_ones_as_far_as_protection_allows(
    tmp_path: Path, heard: Source
) -> None:
    own = content_spoken(tmp_path, heard, index_rate=0.0)
    full = toy_index().blend(own, 0.8) - own
    voiced = heard.voiced > 0
    for protect, share in ((0.5, 1.0), (0.25, 0.5), (0.0, 0.0)):
        drawn = content_spoken(tmp_path, heard, index_rate=0.8, protect=protect, align_content=False)
        moved = drawn - own
        np.testing.assert_allclose(moved[voiced], full[voiced], atol=1e-3)
        np.testing.assert_allclose(moved[~voiced], share * full[~voiced], atol=1e-3)


def test_content_is_moved_by_one_vector_to_where_the_voice_has_its_own(tmp_path: Path, heard: Source) -> None:
    own = content_spoken(tmp_path, heard, index_rate=0.0)
    drawn = np.random.default_rng(3).standard_normal((1, own.shape[1]))
    away = (2 * own.std() * drawn[0]).astype(np.float32)
    for shift in (away, 0 * away):
        engine = ContentOf()
        spoken(Voice(toy_card(tmp_path), engine, toy_index(own + shift)), heard, chunk_s=600, index_rate=1e-6)
        moved = engine.heard - own
        np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-3)
        assert np.linalg.norm(moved[0] - shift) <= 0.5 * np.linalg.norm(shift) + 1e-2


def test_a_voice_without_an_index_speaks_all_the_same(tmp_path: Path, heard: Source) -> None:
    without = toy_voice(tmp_path, with_index=False)
    np.testing.assert_array_equal(
        spoken(without, heard, index_rate=1.0), spoken(without, heard, index_rate=0.0)
    )


@pytest.mark.parametrize(
    "wrong", [{"index_rate": 1.1}, {"index_rate": float("nan")}, {"protect": 0.6}, {"chunk_s": 0.0}]
)
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"'{next(iter(wrong))}' is .*; give a number from"):
        ConvertOptions(**wrong)


def test_a_card_is_read_with_everything_its_maker_wrote(tmp_path: Path) -> None:
    card = toy_card(tmp_path, consent="my own voice")
    assert (card.name, card.engine, card.sample_rate_hz, card.content_dim) == ("Hum", "toy", 24_000, 8)
    assert card.f0 is not None
    assert card.f0.median_hz == 220.0
    assert card.document["consent"] == "my own voice"
    assert toy_card(tmp_path, f0=None).f0 is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format_version", 2),
        ("format_version", True),
        ("engine", ""),
        ("name", 5),
        ("sample_rate_hz", 24_000.5),
        ("sample_rate_hz", 10**9),
        ("content_dim", "8"),
        ("content_dim", 0),
        ("content_encoder", None),
        ("f0", [220.0]),
        ("f0", {"median_hz": 220.0}),
        ("f0", {"median_hz": float("nan"), "low_hz": 100.0, "high_hz": 300.0}),
        ("f0", {"median_hz": 90.0, "low_hz": 100.0, "high_hz": 300.0}),
        ("tone_db", "dull"),
        ("tone_db", [0.0] * 19),
        ("tone_db", [0.0] * 19 + [float("nan")]),
        ("tone_db", [0.0] * 19 + ["1"]),
    ],
)
def test_a_wrong_field_of_a_card_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(CheckpointError, match="format version" if field == "format_version" else f"'{field}"):
        parse_card(CARD | {field: value})


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '{"format_version": 1}' + " " * 1_000_001])
def test_a_file_that_is_no_card_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"card\.json"):
        read_card(tmp_path)


def test_folders_that_are_no_voice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no readable card"):
        Voice.load(tmp_path)
    with pytest.raises(UnknownNameError, match=r"'ghost'.*lite.*toy"):
        Voice.load(toy_bundle(tmp_path, engine="ghost"))
    with pytest.raises(CheckpointError, match="does not fit its weights"):
        Voice.load(toy_bundle(tmp_path, content_dim=9, with_index=False))
    with pytest.raises(CheckpointError, match="holds vectors of 8 numbers"):
        Voice.load(toy_bundle(tmp_path, content_dim=9))
