"""F0: known melodies are found, whatever the length of the recording and the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.errors import UnknownNameError
from rvc.pitch import swift
from rvc.pitch.estimators import F0_ESTIMATORS, f0_estimator
from rvc.pitch.f0 import cumulate_phase, f0_statistics, interpolate_unvoiced, shift_semitones, tidy_f0
from rvc.pitch.praat import PraatF0
from rvc.pitch.swift import SwiftF0, combined
from tests.tiny import song

RATE_HZ = 16_000
# RMVPE's weights are not part of the program: tests/rvc/pitch/test_rmvpe.py.
ESTIMATORS = [name for name in F0_ESTIMATORS if name != "rmvpe"]
EDGE = 5  # frames whose window hangs over the end of the recording


def sung(f0_hz: NDArray[np.float64], harmonics: int = 10) -> NDArray[np.float32]:
    """A voice-like tone with this F0 at every sample."""
    cycles = np.cumsum(f0_hz) / RATE_HZ
    numbers = range(1, harmonics + 1)
    waves = [np.sin(2 * np.pi * n * cycles) / n * (f0_hz * n < 0.45 * RATE_HZ) for n in numbers]
    return (0.1 * np.sum(waves, axis=0)).astype(np.float32)


def cents(found_hz: NDArray[np.float64], true_hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.abs(1200 * np.log2(found_hz / true_hz))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("hz", [65.0, 82.4, 110.0, 155.6, 220.0, 440.0, 659.3, 880.0, 1000.0, 1046.5])
def test_a_tone_is_found_within_five_cents(name: str, hz: float) -> None:
    found = f0_estimator(name)(sung(np.full(RATE_HZ, hz)))
    assert found.shape == (101,)
    assert (cents(found[EDGE:-EDGE], hz) < 5).all()


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("low_hz", "high_hz"), [(80.0, 320.0), (250.0, 1000.0), (90.0, 1000.0)])
def test_a_glide_is_followed(name: str, low_hz: float, high_hz: float) -> None:
    true_hz = np.geomspace(low_hz, high_hz, 3 * RATE_HZ)
    found = f0_estimator(name)(sung(true_hz))[EDGE:-EDGE]
    true_hz = true_hz[::160][EDGE : EDGE + found.size]
    assert (found > 0).mean() > 0.98
    voiced = found > 0
    assert (cents(found[voiced], true_hz[voiced]) < 20).mean() > 0.98


@pytest.mark.parametrize("name", ESTIMATORS)
def test_vibrato_is_followed(name: str) -> None:
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    true_hz = 300.0 * 2 ** (0.5 / 12 * np.sin(2 * np.pi * 6 * time_s))
    found = f0_estimator(name)(sung(true_hz))[EDGE:-EDGE]
    assert (cents(found, true_hz[::160][EDGE : EDGE + found.size]) < 15).all()


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("samples", [0, 1, 159, 160, 500, 16_001])
def test_every_length_gets_its_frames_and_silence_has_no_pitch(name: str, samples: int) -> None:
    found = f0_estimator(name)(np.zeros(samples, np.float32))
    np.testing.assert_array_equal(found, np.zeros(samples // 160 + 1))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_noise_is_mostly_unvoiced(name: str) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE_HZ).astype(np.float32)
    assert (f0_estimator(name)(noise) > 0).mean() < 0.05


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_voice_in_noise_keeps_its_melody(name: str) -> None:
    wav = sung(np.full(3 * RATE_HZ, 180.0))
    noise = np.random.default_rng(0).standard_normal(wav.size) * wav.std() * 10 ** (-10 / 20)
    found = f0_estimator(name)((wav + noise).astype(np.float32))
    assert (found > 0).mean() > 0.95
    assert (cents(found[found > 0], 180.0) < 30).mean() > 0.98


def test_the_network_hears_a_voice_as_loud_as_its_noise_in_the_right_octave() -> None:
    wav = song(12.0)
    clean = f0_estimator("swift")(wav)
    noise = np.random.default_rng(1).standard_normal(wav.size) * np.sqrt(np.mean(wav**2))
    found = f0_estimator("swift")((wav + noise).astype(np.float32))
    voiced = clean > 0
    both = voiced & (found > 0)
    assert both.sum() >= 0.95 * voiced.sum()
    assert (cents(found[both], clean[both]) > 300).mean() <= 0.01
    assert (found[~voiced] > 0).mean() < 0.1


def test_an_octave_that_the_network_has_wrong_is_taken_from_the_melody_around() -> None:
    true_hz = 200.0 * 2 ** (0.3 * np.sin(np.arange(300) / 40))
    network = true_hz.copy()
    network[100:160] *= 2
    sure = np.ones(300)
    np.testing.assert_allclose(combined(true_hz, network, sure), true_hz)
    praat = true_hz.copy()
    praat[100:160] *= 2
    np.testing.assert_allclose(
        combined(praat, true_hz, sure), true_hz, err_msg="and Praat's from the network"
    )
    np.testing.assert_array_equal(combined(true_hz, true_hz * 1.5, np.zeros(300)), np.zeros(300))


def test_the_network_alone_must_be_surer_and_where_both_differ_a_little_the_middle_is_taken() -> None:
    network, silent = np.full(4, 200.0), np.zeros(4)
    confidence = np.array([0.45, 0.55, 0.65, 0.9])
    np.testing.assert_array_equal(combined(silent, network, confidence) > 0, [False, False, True, True])
    praat = 200.0 * 2 ** (np.array([0.0, 10.0, 40.0, -60.0]) / 1200)
    said = 200.0 * 2 ** (np.array([0.0, 10.0, 20.0, -30.0]) / 1200)
    np.testing.assert_allclose(combined(praat, network, np.ones(4)), said)


def test_on_clean_sound_the_network_moves_no_note_of_praat_s() -> None:
    wav = song(12.0)
    praat, both = f0_estimator("praat")(wav), f0_estimator("swift")(wav)
    said = (praat > 0) & (both > 0)
    assert said.sum() > 0.98 * (praat > 0).sum()
    assert np.quantile(cents(both[said], praat[said]), 0.95) < 1


@pytest.mark.parametrize("name", ESTIMATORS)
def test_mains_hum_in_the_pauses_is_no_voice(name: str) -> None:
    hum = 0.02 * np.sin(2 * np.pi * 50 * np.arange(3 * RATE_HZ) / RATE_HZ)
    wav = sung(np.full(3 * RATE_HZ, 200.0))
    wav[RATE_HZ : 2 * RATE_HZ] = 0.0
    found = f0_estimator(name)((wav + hum).astype(np.float32))
    assert (found[105:195] > 0).mean() < 0.1
    assert (cents(found[EDGE:95], 200.0) < 10).all()


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("gain", [0.001, 0.1, 9.0])
def test_loudness_plays_no_part(name: str, gain: float) -> None:
    wav = song(3.0)
    estimate = f0_estimator(name)
    np.testing.assert_allclose(estimate(wav * np.float32(gain)), estimate(wav), rtol=1e-3)


def test_chunks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    wav = song(23.3)
    by_chunks = SwiftF0()(wav)
    monkeypatch.setattr(swift, "CHUNK_FRAMES", 100_000)
    np.testing.assert_allclose(by_chunks, SwiftF0()(wav), atol=0.01)
    whole = PraatF0(chunk_s=1000.0)(wav)
    for chunk_s in (5.0, 7.7):
        np.testing.assert_allclose(PraatF0(chunk_s)(wav), whole, atol=0.01)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_steps_end_with_the_contour_that_a_call_gives(name: str) -> None:
    wav, estimate = song(21.0), f0_estimator(name)
    steps, shares = estimate.track(wav), []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as stop:
            np.testing.assert_array_equal(stop.value, estimate(wav))
            break
    assert shares == sorted(shares)
    assert len(shares) >= 4
    assert shares[0] > 0
    assert shares[-1] <= 1


def test_a_short_slip_of_an_octave_is_undone_and_a_long_one_believed() -> None:
    contour = np.full(60, 200.0)
    contour[20:25] *= 2
    contour[40:44] /= 2
    np.testing.assert_allclose(tidy_f0(contour), np.full(60, 200.0))
    yodel = np.concatenate([np.full(30, 200.0), np.full(30, 400.0), np.full(30, 200.0)])
    np.testing.assert_array_equal(tidy_f0(yodel), yodel)


def test_a_short_run_far_from_the_melody_is_unvoiced() -> None:
    contour = np.full(100, 200.0)
    contour[40:60] = 0.0
    contour[50:56] = 540.0
    expected = contour.copy()
    expected[50:56] = 0.0
    np.testing.assert_allclose(tidy_f0(contour), expected)


def test_leaps_that_are_sung_are_believed() -> None:
    notes = np.repeat([220.0, 440.0, 330.0, 587.3, 220.0], 20)
    np.testing.assert_array_equal(tidy_f0(notes), notes)
    quick = np.repeat([220.0, 330.0, 220.0, 293.7], 8)
    np.testing.assert_array_equal(tidy_f0(quick), quick)


def test_voiced_islands_of_two_frames_are_dropped() -> None:
    contour = np.zeros(20)
    contour[4:6] = 300.0
    contour[10:13] = 200.0
    np.testing.assert_array_equal(np.flatnonzero(tidy_f0(contour)), [10, 11, 12])


def test_an_octave_doubles_voiced_frames_and_leaves_unvoiced_at_zero() -> None:
    shifted = shift_semitones(np.array([0.0, 110.0, 440.0]), semitones=12)
    np.testing.assert_allclose(shifted, [0.0, 220.0, 880.0])


def test_holes_are_filled_in_a_straight_line_of_pitch_and_ends_are_held() -> None:
    filled = interpolate_unvoiced(np.array([0.0, 100.0, 0.0, 400.0, 0.0, 0.0]))
    np.testing.assert_allclose(filled, [100.0, 100.0, 200.0, 400.0, 400.0, 400.0])
    assert (interpolate_unvoiced(np.zeros(3)) > 0).all()


def test_statistics_are_those_of_the_voiced_frames() -> None:
    statistics = f0_statistics(np.concatenate([np.zeros(500), np.linspace(100.0, 200.0, 101)]))
    assert statistics is not None
    assert (statistics.low_hz, statistics.median_hz, statistics.high_hz) == pytest.approx((105, 150, 195))
    assert f0_statistics(np.zeros(10)) is None


def test_phase_counts_the_cycles_of_an_hour_without_drifting() -> None:
    phase = cumulate_phase(np.full(360_001, 440.25))
    assert ((phase >= 0) & (phase < 1)).all()
    # 4.4025 cycles a frame: after 400 frames, 1761 whole ones.
    np.testing.assert_allclose(np.sin(np.pi * phase[::400]), 0.0, atol=1e-4)


def test_an_unknown_estimator_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="praat"):
        f0_estimator("guess")
