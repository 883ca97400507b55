"""What speaks against a slice: each reason alone, where it begins, and that worse is more doubtful."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.recordings.doubts import REASONS, Usual, doubts
from pipelines.recordings.pieces import PEAKS, SliceMeasures
from pipelines.recordings.slice_measures import Analysis, peaks_of

FINE = SliceMeasures(
    end_s=4.0, level_db=-20.0, above_db=0.0, snr_db=40.0, clipping_fraction=0.0, f0_hz=200.0,
    speech_share=0.9, voiced_share=0.7, peaks="",
)  # fmt: skip
USUAL = Usual(f0_semitones=12 * np.log2(200.0), spread_semitones=2.0, voiced_share=0.7)


def why(seconds: float = 4.0, other_share: float = 0.0, **changes: float | None) -> tuple[float, list[str]]:
    return doubts(replace(FINE, **changes), seconds, other_share, USUAL)  # type: ignore[arg-type]


# For each reason what is not one yet, what is, and what is worse.
CASES: dict[str, list[dict[str, float]]] = {
    "quiet": [{"above_db": -6.0}, {"above_db": -8.0}, {"above_db": -15.0}],
    "loud": [{"above_db": 6.0}, {"above_db": 8.0}, {"above_db": 15.0}],
    "noisy": [{"snr_db": 15.0}, {"snr_db": 12.0}, {"snr_db": 4.0}],
    "clipped": [{"clipping_fraction": 0.0003}, {"clipping_fraction": 0.001}, {"clipping_fraction": 0.02}],
    "low": [{"f0_hz": 142.0}, {"f0_hz": 130.0}, {"f0_hz": 105.0}],
    "high": [{"f0_hz": 282.0}, {"f0_hz": 320.0}, {"f0_hz": 380.0}],
    "pauses": [{"speech_share": 0.5}, {"speech_share": 0.4}, {"speech_share": 0.2}],
    "voiceless": [{"voiced_share": 0.35}, {"voiced_share": 0.28}, {"voiced_share": 0.1}],
    "short": [{"seconds": 1.0}, {"seconds": 0.8}, {"seconds": 0.4}],
    "other_speaker": [{"other_share": 0.1}, {"other_share": 0.2}, {"other_share": 0.7}],
}


def test_there_is_a_case_for_every_reason() -> None:
    assert CASES.keys() == set(REASONS)
    assert why() == (0.0, [])


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_begins_somewhere_and_grows(reason: str) -> None:
    not_yet, some, much = (why(**case) for case in CASES[reason])
    assert not_yet == (0.0, [])
    assert some[1] == much[1] == [reason]
    assert 0.2 < some[0] < much[0] <= 1.0


def test_two_reasons_are_more_doubtful_than_either_and_the_graver_is_said_first() -> None:
    doubt, reasons = why(snr_db=2.0, above_db=-7.0)
    assert reasons == ["noisy", "quiet"]
    assert doubt > max(why(snr_db=2.0)[0], why(above_db=-7.0)[0])


def test_what_is_not_known_is_no_reason() -> None:
    assert why(snr_db=None, f0_hz=None) == (0.0, [])
    nobody = Usual.of([])
    assert doubts(FINE, 4.0, 0.0, nobody)[1] == []


def test_what_is_usual_is_not_moved_by_a_few_and_grows_with_a_lively_voice() -> None:
    calm = Usual.of([replace(FINE, f0_hz=hz) for hz in (196.0, 200.0, 204.0, 200.0, 80.0)])
    assert calm.f0_semitones == pytest.approx(12 * np.log2(200.0))
    assert calm.spread_semitones == 2.0
    lively = Usual.of([replace(FINE, f0_hz=hz) for hz in (120.0, 150.0, 200.0, 260.0, 330.0)])
    assert lively.spread_semitones > 5.0
    assert doubts(replace(FINE, f0_hz=330.0), 4.0, 0.0, lively)[1] == []


def test_a_voice_that_always_whispers_is_not_doubted_for_it() -> None:
    for share in (0.0, 0.05):
        whisper = replace(FINE, voiced_share=share, f0_hz=None)
        assert doubts(whisper, 4.0, 0.0, Usual.of([whisper] * 3))[1] == []


def analysis(noise_db: float, *, gain: float = 1.0) -> Analysis:
    """Speech of 2 s at -20 dB after a pause of 1 s with noise, and before as much without any."""
    speech = np.zeros(500, dtype=np.bool_)
    speech[100:300] = True
    power = np.where(speech, 10 ** (-20 / 10), 10 ** (noise_db / 10)) * gain**2
    power[400:] = 0.0
    f0_hz = np.where(np.arange(500) < 200, 0.0, 150.0)
    return Analysis(speech=speech, power=power, log_mel=np.zeros((500, 40), dtype=np.float32), f0_hz=f0_hz)


def test_the_noise_is_that_around_a_slice_and_digital_silence_is_none() -> None:
    found = analysis(-50.0)
    assert found.snr_db(((90, 310),), found.speech_db(((90, 310),))) == pytest.approx(30.0, abs=0.1)
    assert found.shares(((100, 300),)) == (1.0, 0.5)
    assert found.median_f0(((100, 300),)) == 150.0
    assert found.median_f0(((100, 150),)) is None


def test_a_gain_moves_the_level_and_nothing_else() -> None:
    cut = ((90, 310),)
    one, louder = analysis(-50.0), analysis(-50.0, gain=4.0)
    assert louder.speech_db(cut) - one.speech_db(cut) == pytest.approx(12.04, abs=0.01)
    assert louder.snr_db(cut, louder.speech_db(cut)) == one.snr_db(cut, one.speech_db(cut))


def test_without_a_pause_the_noise_is_not_known() -> None:
    all_speech = replace(analysis(-50.0), speech=np.ones(500, dtype=np.bool_))
    assert all_speech.snr_db(((0, 400),), -20.0) is None


def test_peaks_are_as_many_whatever_the_length() -> None:
    for samples in (0, 10, 79, 80, 12_345):
        assert len(bytes.fromhex(peaks_of(np.ones(samples, dtype=np.float32)))) == PEAKS
    wav = np.zeros(800, dtype=np.float32)
    wav[400] = -0.5
    assert bytes.fromhex(peaks_of(wav))[40] == 128
    assert sum(bytes.fromhex(peaks_of(wav))) == 128
