"""Pitch in a singer's words, and languages in anybody's."""

from __future__ import annotations

import pytest

from ui.look.language import language_name
from ui.look.pitch_words import moved_by, note_name, pitch_range
from ui.look.voice_cards import picture, voice_cards


@pytest.mark.parametrize(
    ("hz", "name"), [(440, "A4"), (261.63, "C4"), (82.4, "E2"), (185.0, "F♯3"), (1046.5, "C6"), (16.35, "C0")]
)
def test_a_pitch_has_the_name_of_its_note(hz: float, name: str) -> None:
    assert note_name(hz) == name


@pytest.mark.parametrize(
    ("semitones", "said"),
    [
        (12, "One octave higher"),
        (-12, "One octave lower"),
        (7, "A fifth higher"),
        (-1, "A semitone lower"),
        (19, "An octave and a fifth higher"),
        (24, "Two octaves higher"),
        (-36, "36 semitones lower"),
        (0, "keeps its own pitch"),
        (0.2, "keeps its own pitch"),
        (None, "keeps its own pitch"),
        ("nonsense", "keeps its own pitch"),
        (float("nan"), "keeps its own pitch"),
    ],
)
def test_a_setting_of_the_pitch_is_said_as_an_interval(semitones: object, said: str) -> None:
    assert said in moved_by(semitones)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("nl-BE", "Dutch (Belgium)"),
        ("en", "English"),
        ("zh-Hans-CN", "Chinese (Simplified, China)"),
        ("tlh", "tlh"),
        (None, ""),
    ],
)
def test_a_language_is_named(tag: str | None, name: str) -> None:
    assert language_name(tag) == name


def test_what_a_card_says_of_a_stranger_s_voice_is_shown_and_does_no_harm() -> None:
    row = {"id": '"><script>', "model_name": "<i>Owl</i>", "f0": {}, "tone_db": ["x"], "language": "<b>"}
    cards = voice_cards([row], {str(row["id"]): '/a"b/c.mp3'}, title="Voices", group="voices")
    assert "<script" not in cards
    assert "<i>" not in cards
    assert "<b>" not in cards
    assert "pitch not known yet" in cards
    assert 'data-sound="/a&quot;b/c.mp3"' in cards
    assert pitch_range({"uses_f0": False}) == "follows no melody"


def test_a_voice_always_has_the_same_picture_and_another_one_another() -> None:
    low = {"id": "a", "f0": {"median_hz": 90.0}, "tone_db": [float(n) for n in range(20)]}
    assert picture(low) == picture(dict(low))
    assert picture(low) != picture(low | {"f0": {"median_hz": 300.0}})
    assert picture(low) != picture(low | {"tone_db": [float(-n) for n in range(20)]})
    assert picture({"id": "a"}) != picture({"id": "b"})
    assert "nan" not in picture(low | {"tone_db": [0.0] * 20})
