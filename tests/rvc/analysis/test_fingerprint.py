"""The same recording twice is found; another reading of the same words is not the same recording."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile as sf

from rvc.analysis.fingerprint import find_duplicates, fingerprint
from rvc.analysis.speakers import log_mel
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from tests.voices import MAN, OTHER_WOMAN, WOMAN, Wave, speak


def alike(*wavs: Wave) -> list[tuple[int, int]]:
    """Numbers of the recordings (16 kHz) that are found to be one."""
    steps = find_duplicates([fingerprint(log_mel(wav)) for wav in wavs])
    while True:
        try:
            assert 0.0 <= next(steps) <= 1.0
        except StopIteration as stop:
            found: list[tuple[int, int]] = stop.value
            return found


def test_a_gain_an_encoder_and_another_rate_leave_a_recording_the_same(tmp_path: Path) -> None:
    wav = speak(WOMAN, 8.0, rate_hz=48_000)
    sf.write(tmp_path / "again.mp3", 0.2 * wav, 48_000, format="MP3", subtype="MPEG_LAYER_III")
    mp3, _ = load_mono(tmp_path / "again.mp3", rate_hz=16_000)
    telephone = resample(resample(wav, 48_000, 8_000), 8_000, 16_000)
    assert alike(resample(wav, 48_000, 16_000), mp3, telephone) == [(0, 1), (0, 2), (1, 2)]


def test_a_part_of_a_longer_recording_is_found_in_it() -> None:
    wav = speak(MAN, 30.0)
    assert alike(speak(WOMAN, 10.0, seed=1), wav, wav[160_077:240_000]) == [(1, 2)]
    assert alike(wav[160_077:240_000], wav) == [(0, 1)]


def test_a_recording_with_its_silence_trimmed_is_the_same() -> None:
    wav = speak(MAN, 8.0)
    assert alike(np.pad(wav, (20_000, 30_000)), wav) == [(0, 1)]


def test_other_words_are_another_recording() -> None:
    assert alike(*(speak(MAN, 8.0, seed=seed) for seed in range(6))) == []


def test_the_same_words_spoken_again_are_another_recording() -> None:
    again = replace(MAN, f0_hz=126.0)
    slower = speak(again, 8.0)
    moment = np.arange(slower.size) + 900 * np.sin(np.arange(slower.size) / 9_000)
    wavering = np.interp(moment, np.arange(slower.size), slower).astype(np.float32)
    assert alike(speak(MAN, 8.0), wavering) == []


def test_the_same_words_by_others_in_the_same_time_are_not_found_too_often() -> None:
    assert alike(speak(MAN, 8.0, seed=1), speak(OTHER_WOMAN, 8.0, seed=2), speak(WOMAN, 8.0, seed=3)) == []


def test_silence_and_moments_are_like_nothing() -> None:
    silence = np.zeros(80_000, dtype=np.float32)
    assert alike(silence, silence, speak(MAN, 0.5), speak(MAN, 0.5), np.empty(0, dtype=np.float32)) == []


def test_of_hundreds_of_short_lines_the_one_that_is_there_twice_is_found_at_once() -> None:
    lines = np.split(speak(WOMAN, 600.0), 600)
    others = [speak(MAN, 40.0, seed=seed) for seed in (1, 2)]
    started = time.process_time()
    assert alike(*lines, 0.2 * lines[123], *others) == [(123, 600)]
    assert time.process_time() - started < 30.0
