"""Melodies as they are drawn, and pitch in the words of who sings."""

from __future__ import annotations

import re

import pytest

from ui.look.contours import contours_figure
from ui.look.pitch_words import moved, nearest_note, note_number


@pytest.mark.parametrize(
    ("hz", "note"), [(440.0, "A4"), (261.63, "C4"), (110.0, "A2"), (46.25, "F♯1"), (932.3, "A♯5")]
)
def test_a_frequency_is_called_by_its_note(hz: float, note: str) -> None:
    assert nearest_note(note_number(hz)) == note


@pytest.mark.parametrize(
    ("semitones", "told"),
    [
        (7.0, "a fifth up (7 semitones)"),
        (-12.02, "one octave down (12 semitones)"),
        (1.0, "a semitone up"),
        (6.1, "6.1 semitones up"),
        (-2.5, "2.5 semitones down"),
        (13.0, "an octave and a semitone up (13 semitones)"),
    ],
)
def test_an_interval_has_its_name_where_it_is_one_and_its_number(semitones: float, told: str) -> None:
    assert moved(semitones) == told


def test_both_melodies_are_drawn_with_gaps_and_told_in_notes() -> None:
    source = [220.0] * 20 + [None] * 10 + [220.0] * 20
    result = [440.0] * 50
    drawn = contours_figure({"step_s": 0.02, "source_hz": source, "result_hz": result}, "<me>", "Wren")
    lines = dict(re.findall(r'<path class="([\w-]+)" d="([^"]+)"', drawn))
    assert lines["tm-of-source"].count("M") == 2
    assert lines["tm-of-result"].count("M") == 1
    heights = [float(re.findall(r"M[\d.]+ ([\d.]+)", lines[name])[0]) for name in lines]
    assert heights[0] > heights[1], "an octave up is higher up"
    assert "&lt;me&gt;</strong> A3 to A3" in drawn
    assert "A4 to A4, mostly around A4" in drawn
    assert "C4</text>" in drawn


def test_a_whisper_has_no_melody_to_draw() -> None:
    said = contours_figure({"step_s": 0.02, "source_hz": [None], "result_hz": []}, "a", "b")
    assert "No pitch was found" in said
    assert "svg" not in said
