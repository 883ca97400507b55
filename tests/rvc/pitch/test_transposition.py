"""A melody moves to where the voice lies; a song keeps its key."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.pitch.f0 import F0Statistics
from rvc.pitch.transposition import automatic_transposition

WOMAN = F0Statistics(median_hz=200.0, low_hz=150.0, high_hz=280.0)
MAN = F0Statistics(median_hz=110.0, low_hz=85.0, high_hz=160.0)
SCALE = np.array([0, 2, 4, 5, 7, 9, 11, 12])


def melody(lowest_hz: float, *, note_s: float = 0.6, vibrato: float = 0.4) -> NDArray[np.float64]:
    """Notes of a major scale up and down, with vibrato, glides of 60 ms and breaths between them."""
    frames = round(note_s * 100)
    steps = np.concatenate([SCALE, SCALE[::-1]])
    semitones = np.repeat(steps, frames).astype(float)
    semitones = np.convolve(np.pad(semitones, 3, mode="edge"), np.full(7, 1 / 7), "valid")
    semitones += vibrato * np.sin(2 * np.pi * 5.5 * np.arange(semitones.size) / 100)
    f0_hz = lowest_hz * 2 ** (semitones / 12)
    f0_hz[:: 4 * frames] = 0.0
    return f0_hz


def speech(median_hz: float) -> NDArray[np.float64]:
    """Phrases that rise and fall by half an octave, in voiced stretches of 0.1 to 0.5 s."""
    rng = np.random.default_rng(0)
    time_s = np.arange(2_000) / 100
    semitones = 3.0 * np.sin(2 * np.pi * 0.9 * time_s) + 1.5 * np.sin(2 * np.pi * 2.3 * time_s + 1)
    f0_hz = median_hz * 2 ** (semitones / 12)
    place = 0
    while place < f0_hz.size:
        place += int(rng.integers(10, 50))
        f0_hz[place : place + 8] = 0.0
        place += 8
    return f0_hz


@pytest.mark.parametrize("vibrato", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("note_s", [0.4, 0.6, 1.5])
@pytest.mark.parametrize("lowest_hz", [82.4, 110.0, 146.8, 220.0, 293.7, 440.0])
@pytest.mark.parametrize("voice", [MAN, WOMAN])
def test_a_song_moves_by_whole_octaves(
    voice: F0Statistics, lowest_hz: float, note_s: float, vibrato: float
) -> None:
    f0_hz = melody(lowest_hz, note_s=note_s, vibrato=vibrato)
    moved = automatic_transposition(f0_hz, voice)
    assert moved % 12 == 0
    median_hz = float(np.median(f0_hz[f0_hz > 0])) * 2 ** (moved / 12)
    assert abs(12 * np.log2(median_hz / voice.median_hz)) <= 12


@pytest.mark.parametrize(("lowest_hz", "voice"), [(130.8, WOMAN), (196.0, WOMAN), (87.3, MAN), (110.0, MAN)])
def test_a_singer_whose_range_fits_is_left_in_place(lowest_hz: float, voice: F0Statistics) -> None:
    assert automatic_transposition(melody(lowest_hz), voice) == 0


def test_a_singer_an_octave_away_is_moved_by_one() -> None:
    assert automatic_transposition(melody(174.6), MAN) == -12
    assert automatic_transposition(melody(73.4), WOMAN) == 12


@pytest.mark.parametrize("median_hz", [90.0, 130.0, 250.0])
def test_speech_moves_to_the_median_of_the_voice(median_hz: float) -> None:
    f0_hz = speech(median_hz)
    moved = automatic_transposition(f0_hz, WOMAN)
    assert moved == pytest.approx(12 * np.log2(200.0 / np.median(f0_hz[f0_hz > 0])))


def test_who_knows_whether_it_is_sung_is_believed() -> None:
    held = melody(174.6)
    to_median = 12 * np.log2(WOMAN.median_hz / np.median(held[held > 0]))
    assert automatic_transposition(held, WOMAN, sung=False) == pytest.approx(to_median)
    assert automatic_transposition(speech(90.0), WOMAN, sung=True) % 12 == 0


def test_what_lies_nowhere_is_not_moved() -> None:
    assert automatic_transposition(np.zeros(100), WOMAN) == 0
    assert automatic_transposition(speech(100.0), None) == 0
    assert automatic_transposition(np.full(100, 1.0), WOMAN) == 36
