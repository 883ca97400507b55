"""Scores: zero for the same, worse for what sounds worse, in the units they say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.pitch.praat import PraatF0
from rvc.training.scoring import Score, f0_error, mean_score, mel_distance_db, score_slice
from tests.tiny_task import sung_tone

RATE_HZ = 24_000
PRAAT = PraatF0()
NOISE: NDArray[np.float32] = np.random.default_rng(0).normal(0, 0.1, 2 * RATE_HZ).astype(np.float32)


def melody(wav: NDArray[np.float32]) -> NDArray[np.float64]:
    """F0 of 16 kHz audio."""
    return PRAAT(wav)


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 48_000])
def test_equal_audio_has_no_mel_distance(rate_hz: int) -> None:
    assert mel_distance_db(NOISE, NOISE, rate_hz) == 0.0


def test_noise_at_half_the_level_is_six_decibels_away() -> None:
    assert mel_distance_db(NOISE / np.float32(2), NOISE, RATE_HZ) == pytest.approx(
        20 * math.log10(2), abs=0.05
    )


def test_a_common_gain_changes_no_distance() -> None:
    tone = sung_tone(200.0, 1.0, RATE_HZ)
    other = sung_tone(220.0, 1.0, RATE_HZ)
    assert mel_distance_db(0.125 * other, 0.125 * tone, RATE_HZ) == pytest.approx(
        mel_distance_db(other, tone, RATE_HZ), abs=1e-3
    )


def test_more_noise_is_further_away() -> None:
    tone = sung_tone(200.0, 2.0, RATE_HZ)
    distances = [mel_distance_db(tone + gain * NOISE, tone, RATE_HZ) for gain in (0.01, 0.1, 1.0)]
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_what_lies_below_the_floor_is_not_compared() -> None:
    assert mel_distance_db(NOISE + np.float32(1e-6), NOISE, RATE_HZ) < 0.01
    silent = np.zeros_like(NOISE)
    assert mel_distance_db(silent, silent, RATE_HZ) == 0.0


def test_an_f0_error_is_in_semitones_and_at_most_an_octave() -> None:
    contour = np.array([0.0, 100.0, 200.0, 300.0])
    assert f0_error(contour * 2 ** (1 / 12), contour) == pytest.approx((1.0, 0.0))
    assert f0_error(contour * 8, contour) == pytest.approx((12.0, 0.0))


def test_wrong_voicing_is_counted_apart() -> None:
    reference = np.array([100.0, 100.0, 0.0, 0.0])
    assert f0_error(np.array([100.0, 0.0, 0.0, 50.0]), reference) == pytest.approx((0.0, 0.5))
    assert f0_error(np.zeros(4), reference) == pytest.approx((12.0, 0.5))
    assert f0_error(np.zeros(4), np.zeros(4)) == (0.0, 0.0)


def test_the_same_recording_scores_almost_zero_at_any_rate() -> None:
    for rate_hz in (16_000, 24_000, 40_000):
        tone = sung_tone(180.0, 1.5, rate_hz)
        score = score_slice(tone, tone, melody(sung_tone(180.0, 1.5)), rate_hz, melody)
        assert score.mel_db == 0.0
        assert score.total < 0.2


def test_a_wrong_melody_scores_worse_than_the_right_one_in_noise() -> None:
    tone, fifth = sung_tone(180.0, 1.5), sung_tone(270.0, 1.5)
    noisy = tone + 0.02 * NOISE[: tone.size]
    right = score_slice(noisy, tone, melody(tone), 16_000, melody)
    wrong = score_slice(fifth, tone, melody(tone), 16_000, melody)
    assert wrong.f0_semitones == pytest.approx(7.02, abs=0.3)
    assert wrong.f0_semitones > right.f0_semitones + 6


def test_audio_that_is_no_number_or_empty_is_never_the_best() -> None:
    tone = sung_tone(180.0, 1.0)
    broken = tone.copy()
    broken[100] = np.nan
    for bad in (broken, np.zeros(0, np.float32)):
        score = score_slice(bad, tone, melody(tone), 16_000, melody)
        assert score.total == math.inf
        assert mean_score([score, Score(mel_db=1.0, f0_semitones=0.0, voicing_error=0.0)]).total == math.inf
        assert json.loads(json.dumps(score.as_dict(), allow_nan=False))["total"] is None


def test_lengths_may_differ_by_a_frame() -> None:
    tone = sung_tone(180.0, 1.0)
    score = score_slice(tone[:-150], tone, melody(tone), 16_000, melody)
    assert score.total < 0.2


def test_a_mean_score_is_the_mean_of_its_parts() -> None:
    scores = [Score(mel_db=m, f0_semitones=2 * m, voicing_error=m / 10) for m in (1.0, 3.0)]
    mean = mean_score(scores)
    assert (mean.mel_db, mean.f0_semitones, mean.voicing_error) == pytest.approx((2.0, 4.0, 0.2))
    assert mean.total == pytest.approx((scores[0].total + scores[1].total) / 2)
