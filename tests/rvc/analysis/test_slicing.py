"""Where recordings are cut: every frame of speech once, in lengths that were asked for, at quiet places."""

from __future__ import annotations

import numpy as np
import pytest

from rvc.analysis.slicing import LONGEST_PAUSE_FRAMES, PADDING_FRAMES, Cut, cut_speech

SHORTEST, LONGEST = 200, 800


def frames_of(cut: Cut) -> int:
    return sum(stop - start for start, stop in cut)


def recording(seed: int, frames: int, *, talkative: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Speech and pauses of many lengths, and levels that go with them."""
    random = np.random.default_rng(seed)
    speech = np.zeros(frames, dtype=np.bool_)
    at = int(random.integers(0, 80))
    while at < frames:
        length = int(random.exponential(220) + 20)
        speech[at : at + length] = True
        at += length + int(random.exponential(220 * (1 - talkative) / talkative) + 10)
    level = np.where(speech, -20 + 6 * random.normal(size=frames), -60 + 2 * random.normal(size=frames))
    return speech, level


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("talkative", [0.3, 0.8, 0.97])
def test_slices_have_the_lengths_asked_for_and_lose_no_speech(seed: int, talkative: float) -> None:
    speech, level = recording(seed, 6_000, talkative=talkative)
    cuts = cut_speech(speech, level, shortest=SHORTEST, longest=LONGEST)
    assert all(SHORTEST <= frames_of(cut) <= LONGEST for cut in cuts)
    covered = np.zeros(speech.size, dtype=np.int64)
    for cut in cuts:
        for start, stop in cut:
            covered[start:stop] += 1
    assert covered.max() == 1
    assert (covered[speech] == 1).all()


def test_slices_are_cut_in_pauses_where_there_are_pauses() -> None:
    speech = np.tile(np.repeat([True, False], [300, 40]), 20)
    level = np.where(speech, -20.0, -70.0)
    cuts = cut_speech(speech, level, shortest=SHORTEST, longest=LONGEST)
    borders = [cut[0][0] for cut in cuts[1:]]
    assert borders
    assert not speech[borders].any()


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    speech = np.ones(3_000, dtype=np.bool_)
    level = np.full(3_000, -20.0)
    dips = np.arange(500, 3_000, 500)
    for dip in dips:
        level[dip - 4 : dip + 5] = -45.0
    cuts = cut_speech(speech, level, shortest=SHORTEST, longest=LONGEST)
    for cut in cuts[1:]:
        assert np.abs(dips - cut[0][0]).min() <= 4


def test_long_pauses_are_left_out() -> None:
    speech = np.zeros(5_000, dtype=np.bool_)
    speech[1_000:1_400] = speech[3_000:3_500] = True
    cuts = cut_speech(speech, np.where(speech, -20.0, -70.0), shortest=SHORTEST, longest=LONGEST)
    kept = sum(frames_of(cut) for cut in cuts)
    assert kept == speech.sum() + 4 * PADDING_FRAMES
    assert [cut[0][0] for cut in cuts] == [1_000 - PADDING_FRAMES, 3_000 - PADDING_FRAMES]


def test_short_pauses_stay_as_they_are() -> None:
    speech = np.ones(600, dtype=np.bool_)
    speech[300 : 300 + LONGEST_PAUSE_FRAMES - 5] = False
    (cut,) = cut_speech(speech, np.where(speech, -20.0, -70.0), shortest=SHORTEST, longest=LONGEST)
    assert cut == ((0, 600),)


def test_words_far_apart_are_joined_when_each_is_too_short() -> None:
    speech = np.zeros(4_000, dtype=np.bool_)
    for start in range(0, 4_000, 400):
        speech[start + 100 : start + 180] = True
    cuts = cut_speech(speech, np.where(speech, -20.0, -70.0), shortest=SHORTEST, longest=LONGEST)
    assert all(SHORTEST <= frames_of(cut) <= LONGEST for cut in cuts)
    assert all(len(cut) > 1 for cut in cuts)
    assert sum(frames_of(cut) for cut in cuts) >= speech.sum()


def test_a_single_short_word_is_kept() -> None:
    speech = np.zeros(300, dtype=np.bool_)
    speech[100:160] = True
    (cut,) = cut_speech(speech, np.where(speech, -20.0, -70.0), shortest=SHORTEST, longest=LONGEST)
    assert frames_of(cut) == 60 + 2 * PADDING_FRAMES


@pytest.mark.parametrize("frames", [0, 1, 500])
def test_no_speech_gives_no_slices(frames: int) -> None:
    nothing = np.zeros(frames, dtype=np.bool_)
    assert cut_speech(nothing, np.full(frames, -70.0), shortest=SHORTEST, longest=LONGEST) == []
