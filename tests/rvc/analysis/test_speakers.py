"""A second speaker: heard when there is one, not when there is none. The voices are made by arithmetic."""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np
import pytest
from scipy.signal import lfilter

from rvc.analysis.quality import active_frames
from rvc.analysis.speakers import (
    STATISTICS,
    SpeakerFinding,
    SpeakerWindows,
    comparable_bandwidth_hz,
    comparing_speakers,
    load_statistics,
    log_mel,
    speaker_windows,
    thinned,
)
from rvc.audio.level import RATE_16K_HZ
from rvc.pitch.praat import PraatF0
from rvc.steps import result_of
from tests.voices import MAN, OTHER_WOMAN, WOMAN, Wave, speak

VOICES = {"man": MAN, "woman": WOMAN, "other woman": OTHER_WOMAN}


def windows_of(wav: Wave) -> SpeakerWindows:
    bands = log_mel(wav)
    f0 = PraatF0()(wav)
    speech = np.pad(active_frames(wav, 16_000), (0, 1))[: len(bands)]
    pieces = [(start, start + 600) for start in range(0, len(bands), 600)]
    return speaker_windows(bands, f0, speech, pieces)


def find_second_speaker(
    recordings: list[SpeakerWindows], bandwidth_hz: float = RATE_16K_HZ / 2
) -> SpeakerFinding:
    return result_of(comparing_speakers(recordings, bandwidth_hz=bandwidth_hz))


@cache
def said(name: str, seed: int) -> SpeakerWindows:
    return windows_of(speak(VOICES[name], 20.0, seed=seed))


@pytest.mark.parametrize("name", VOICES)
def test_one_speaker_alone_is_not_two(name: str) -> None:
    finding = find_second_speaker([said(name, seed) for seed in range(5)])
    assert finding.checked
    assert not finding.heard
    assert finding.share == 0.0
    assert not np.concatenate(finding.second).any()


@pytest.mark.parametrize(("name", "other"), list(permutations(VOICES, 2)))
def test_a_fifth_by_somebody_else_is_heard_and_its_recording_named(name: str, other: str) -> None:
    recordings = [said(name, 0), said(name, 1), said(other, 2), said(name, 3), said(name, 4)]
    finding = find_second_speaker(recordings)
    assert finding.heard
    assert [second.mean() > 0.5 for second in finding.second] == [False, False, True, False, False]
    assert finding.share == pytest.approx(0.2, abs=0.06)


def test_speakers_who_take_turns_in_one_recording_are_heard() -> None:
    turns = [speak(OTHER_WOMAN if turn % 5 == 4 else WOMAN, 6.0, seed=turn) for turn in range(15)]
    finding = find_second_speaker([windows_of(np.concatenate(turns))])
    assert finding.heard
    assert 0.1 < finding.share < 0.35


def test_another_microphone_or_level_is_not_another_speaker() -> None:
    tilted = [
        windows_of((0.05 * lfilter([1.0, -0.25], [1.0], speak(WOMAN, 20.0, seed=seed))).astype(np.float32))
        for seed in (1, 3)
    ]
    finding = find_second_speaker([said("woman", 0), tilted[0], said("woman", 2), tilted[1]])
    assert not finding.heard


def test_a_recording_of_little_bandwidth_is_not_another_speaker() -> None:
    narrow = np.fft.rfft(speak(MAN, 20.0, seed=1))
    narrow[narrow.size // 2 :] = 0.0  # 4 kHz
    telephone = windows_of(np.fft.irfft(narrow, 320_000).astype(np.float32))
    recordings = [said("man", 0), telephone, said("man", 2), said("man", 3)]
    assert not find_second_speaker(recordings, bandwidth_hz=4_000).heard


def test_recordings_are_compared_up_to_where_the_narrowest_ends_if_it_is_much_narrower() -> None:
    assert comparable_bandwidth_hz([20_000.0, 4_000.0, 8_000.0]) == 4_000.0
    assert comparable_bandwidth_hz([20_000.0, 7_000.0]) == 8_000.0
    assert comparable_bandwidth_hz([6_600.0, 7_000.0]) == 8_000.0
    assert comparable_bandwidth_hz([3_400.0, 3_600.0]) == 8_000.0
    assert comparable_bandwidth_hz([]) == 8_000.0


def test_a_noisy_room_is_not_another_speaker() -> None:
    random = np.random.default_rng(0)
    noisy = []
    for seed in (1, 3):
        wav = speak(WOMAN, 20.0, seed=seed)
        hiss = random.normal(scale=10 ** (-25 / 20) * np.sqrt(np.mean(np.square(wav))), size=wav.size)
        noisy.append(windows_of((wav + hiss).astype(np.float32)))
    assert not find_second_speaker([said("woman", 0), noisy[0], said("woman", 2), noisy[1]]).heard


def test_too_little_speech_says_nothing() -> None:
    finding = find_second_speaker([windows_of(speak(MAN, 8.0))])
    assert not finding.checked
    assert not finding.heard


def test_nothing_at_all_says_nothing() -> None:
    silence = windows_of(np.zeros(32_000, dtype=np.float32))
    assert len(silence) == 0
    assert not find_second_speaker([silence, silence]).checked


def test_a_recording_without_speech_among_others_does_no_harm() -> None:
    silence = windows_of(np.zeros(32_000, dtype=np.float32))
    finding = find_second_speaker([said("man", 0), silence, said("man", 1), said("woman", 2)])
    assert finding.heard
    assert finding.second[1].size == 0


def test_a_windows_description_does_not_depend_on_the_gain() -> None:
    loud = speak(MAN, 40.0, seed=7)
    scores = [find_second_speaker([windows_of((gain * loud).astype(np.float32))]).score for gain in (1, 0.03)]
    assert scores[0] == pytest.approx(scores[1], abs=0.5)


def test_thinning_keeps_whole_windows_spread_over_the_recording() -> None:
    whole = said("man", 0)
    fewer = thinned(whole, 3)
    assert len(fewer) == 3
    assert fewer.ends[-1] == len(fewer.log_mel) == len(fewer.f0_hz)
    np.testing.assert_array_equal(fewer.log_mel[: fewer.ends[0]], whole.log_mel[: whole.ends[0]])
    np.testing.assert_array_equal(fewer.log_mel[fewer.ends[1] :], whole.log_mel[whole.ends[-2] :])
    assert thinned(whole, 1_000) is whole


def test_the_constants_are_small_and_fit_each_other() -> None:
    statistics = load_statistics()
    assert STATISTICS.stat().st_size < 300_000
    regions, size = statistics.means.shape
    assert statistics.projection.shape == (regions * size + 3, statistics.between.size)
    assert statistics.weights.sum() == pytest.approx(1.0, abs=1e-3)
    assert (statistics.between > 0).all()
    assert np.isfinite(statistics.projection).all()
