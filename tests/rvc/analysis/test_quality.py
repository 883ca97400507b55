"""Measures of a recording: the truth is known, because the recordings are made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from rvc.analysis.quality import MAX_SNR_DB, active_frames, measure, measure_in_steps, power_spectra
from rvc.audio.level import FRAMES_PER_S
from rvc.audio.resampling import resample
from tests.sounds import below_hearing
from tests.voices import MAN, WOMAN, Voice, Wave, speak, spoken_samples, with_noise

SECONDS = 12.0


def frames_of(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """The truth about samples as a mask of frames."""
    return samples[:: rate_hz // FRAMES_PER_S][: samples.size * FRAMES_PER_S // rate_hz]


@pytest.fixture(scope="module")
def woman48() -> Wave:
    return speak(WOMAN, SECONDS, rate_hz=48_000)


@pytest.mark.parametrize("snr_db", [0, 5, 10, 20, 30])
@pytest.mark.parametrize(("voice", "rate_hz"), [(MAN, 16_000), (WOMAN, 48_000)])
def test_white_noise_is_measured_within_three_decibels(voice: Voice, rate_hz: int, snr_db: float) -> None:
    wav = speak(voice, SECONDS, rate_hz=rate_hz, seed=1)
    spoken = spoken_samples(wav, rate_hz)
    noisy = with_noise(wav, snr_db, spoken)
    known = measure(noisy, rate_hz, frames_of(spoken, rate_hz)).snr_db
    found = measure(noisy, rate_hz).snr_db
    assert known == pytest.approx(snr_db, abs=2.0)
    assert found == pytest.approx(snr_db, abs=3.0)


def test_noise_is_measured_where_nobody_pauses() -> None:
    wav = speak(MAN, SECONDS, pause_s=0.0, seed=2)[3_500:]
    everywhere = np.ones(wav.size, dtype=np.bool_)
    noisy = with_noise(wav, 20, everywhere)
    assert measure(noisy, 16_000, frames_of(everywhere, 16_000)).snr_db == pytest.approx(20, abs=3.0)


def test_a_cough_in_a_pause_is_not_the_noise() -> None:
    wav = speak(MAN, SECONDS, pause_s=1.0, seed=3)
    spoken = spoken_samples(wav, 16_000)
    noisy = with_noise(wav, 30, spoken)
    pause = int(np.flatnonzero(spoken)[-1]) if not spoken[-1] else int(np.flatnonzero(~spoken)[0])
    noisy[pause : pause + 800] += 0.3 * np.random.default_rng(0).normal(size=noisy[pause : pause + 800].size)
    assert measure(noisy, 16_000, frames_of(spoken, 16_000)).snr_db == pytest.approx(30, abs=3.0)


def test_digital_silence_around_a_noisy_recording_does_not_make_it_clean() -> None:
    wav = speak(MAN, SECONDS, seed=4)
    spoken = spoken_samples(wav, 16_000)
    padded = np.pad(with_noise(wav, 10, spoken), 48_000)
    mask = np.pad(spoken, 48_000)
    assert measure(padded, 16_000, frames_of(mask, 16_000)).snr_db == pytest.approx(10, abs=2.0)


def test_a_gain_changes_the_level_and_nothing_else(woman48: Wave) -> None:
    spoken = spoken_samples(woman48, 48_000)
    loud = with_noise(woman48, 20, spoken)
    one, other = (measure((gain * loud).astype(np.float32), 48_000) for gain in (1.0, 0.1))
    assert one.snr_db == pytest.approx(other.snr_db, abs=0.1)
    assert one.bandwidth_hz == other.bandwidth_hz
    assert one.clipping_fraction == other.clipping_fraction
    assert one.level_db is not None
    assert other.level_db is not None
    assert one.level_db - other.level_db == pytest.approx(20, abs=0.01)


def test_the_level_is_that_of_the_speech_without_its_pauses() -> None:
    wav = speak(MAN, SECONDS, pause_s=1.5)
    spoken = spoken_samples(wav, 16_000)
    truth = 10 * np.log10(np.mean(np.square(wav[spoken], dtype=np.float64)))
    assert measure(wav, 16_000, frames_of(spoken, 16_000)).level_db == pytest.approx(truth, abs=0.5)


def test_a_clean_recording_is_not_clipped_and_not_noisy(woman48: Wave) -> None:
    measures = measure(woman48, 48_000)
    assert measures.clipping_fraction == 0.0
    assert measures.snr_db is not None
    assert 20 < measures.snr_db <= MAX_SNR_DB
    assert measures.peak_db == pytest.approx(20 * np.log10(0.5), abs=0.01)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_the_share_of_samples_that_are_cut_off_is_measured(woman48: Wave, share: float, gain: float) -> None:
    limit = float(np.quantile(np.abs(woman48), 1 - share))
    clipped = (gain * np.clip(woman48, -limit, limit)).astype(np.float32)
    assert measure(clipped, 48_000).clipping_fraction == pytest.approx(share, rel=0.3)


def test_clipping_is_seen_through_a_lossy_encoder(woman48: Wave, tmp_path: Path) -> None:
    limit = float(np.quantile(np.abs(woman48), 0.95))
    for name, wav in (("clipped", np.clip(woman48, -limit, limit) / limit * 0.8), ("clean", woman48)):
        sf.write(tmp_path / f"{name}.ogg", wav[: 48_000 * 6], 48_000, format="OGG", subtype="VORBIS")
    fractions = [
        measure(sf.read(tmp_path / f"{name}.ogg", dtype="float32")[0], 48_000).clipping_fraction
        for name in ("clipped", "clean")
    ]
    assert fractions[0] > 0.02
    assert fractions[1] == 0.0


@pytest.mark.parametrize("low_hz", [8_000, 16_000, 24_000])
def test_a_recording_that_was_stored_at_a_higher_rate_is_recognised(woman48: Wave, low_hz: int) -> None:
    stored = resample(resample(woman48, 48_000, low_hz), low_hz, 48_000)
    assert measure(stored, 48_000).bandwidth_hz == pytest.approx(low_hz / 2, rel=0.1)


def test_it_is_recognised_with_noise_and_in_16_bits(woman48: Wave) -> None:
    low = resample(woman48, 48_000, 16_000)
    noisy = with_noise(low, 25, spoken_samples(low, 16_000))
    stored = np.round(resample(noisy, 16_000, 48_000) * 32_768) / 32_768
    assert measure(stored.astype(np.float32), 48_000).bandwidth_hz == pytest.approx(8_000, rel=0.1)


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("snr_db", [60, 15])
def test_a_recording_at_its_own_rate_reaches_half_of_it(rate_hz: int, snr_db: float) -> None:
    wav = speak(MAN, SECONDS, rate_hz=rate_hz, seed=5)
    noisy = with_noise(wav, snr_db, spoken_samples(wav, rate_hz))
    assert measure(noisy, rate_hz).bandwidth_hz == rate_hz / 2


def test_silence_has_no_level_and_no_noise() -> None:
    measures = measure(np.zeros(32_000, dtype=np.float32), 16_000)
    assert (measures.snr_db, measures.level_db, measures.peak_db) == (None, None, None)
    assert measures.speech_seconds == 0.0
    assert measures.clipping_fraction == 0.0


@pytest.mark.parametrize("samples", [0, 1, 100, 1_600])
def test_a_moment_of_sound_can_be_measured(samples: int) -> None:
    wav = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    assert measure(wav, 16_000).seconds == samples / 16_000


def test_frames_of_speech_are_found_by_their_loudness() -> None:
    wav = speak(WOMAN, SECONDS, seed=6)
    truth = frames_of(spoken_samples(wav, 16_000), 16_000)
    found = active_frames(with_noise(wav, 20, spoken_samples(wav, 16_000)), 16_000)
    assert np.mean(found == truth) > 0.93


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 44_100])
def test_spectra_hold_the_power_of_the_signal(rate_hz: int) -> None:
    wav = np.random.default_rng(0).normal(scale=0.1, size=3 * rate_hz).astype(np.float32)
    spectra = power_spectra(wav, rate_hz)
    assert spectra.shape[0] == 300
    assert spectra[2:-2].sum(axis=1).mean() == pytest.approx(0.01, rel=0.03)


def test_measuring_goes_in_steps_and_ends_the_same(woman48: Wave) -> None:
    steps = measure_in_steps(woman48, 48_000, active_frames(woman48, 48_000))
    shares = []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as stop:
            assert stop.value == measure(woman48, 48_000)
            break
    assert shares == sorted(shares)
    assert shares[-1] <= 1.0


@pytest.mark.parametrize("low", ["offset", "15 Hz", "30 Hz", "drift"])
@pytest.mark.parametrize("cut_off", [False, True])
def test_what_lies_below_hearing_is_neither_loudness_nor_noise_nor_clipping(
    woman48: Wave, low: str, cut_off: bool
) -> None:
    added = below_hearing(woman48.size, 48_000)[low]
    wav = with_noise(woman48, 40, spoken_samples(woman48, 48_000))
    if cut_off:
        limit = float(np.quantile(np.abs(wav), 0.97))
        wav = np.clip(wav, -limit, limit)
    plain, other = measure(wav, 48_000), measure((wav + added).astype(np.float32), 48_000)
    assert other.snr_db == pytest.approx(plain.snr_db, abs=1.0)
    assert other.level_db == pytest.approx(plain.level_db, abs=0.2)
    assert other.bandwidth_hz == plain.bandwidth_hz
    assert (other.clipping_fraction > 0.005) == (plain.clipping_fraction > 0.005) == cut_off
    assert (other.clipping_fraction == 0.0) == (not cut_off)


def test_tops_that_are_cut_off_beside_an_offset_are_found(woman48: Wave) -> None:
    rumbling = woman48 + 0.4 * np.sin(2 * np.pi * 15 * np.arange(woman48.size) / 48_000)
    for wav in (2.0 * rumbling, 3.0 * woman48 + 0.4, np.clip(woman48, -0.05, 0.05) - 0.7):
        assert measure(np.clip(wav, -1, 1).astype(np.float32), 48_000).clipping_fraction > 0.002
