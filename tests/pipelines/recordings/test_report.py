"""The report: the numbers' meaning in words, and the whole set's verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from pipelines.recordings.report import (
    GOOD,
    PROBLEM,
    USABLE,
    DatasetReport,
    FileReport,
    SecondSpeaker,
    as_duplicate,
    describe_file,
    is_upsampled,
    judge,
    summarise,
    validate,
    with_other_speaker,
    worst,
)
from pipelines.recordings.uploads import receive
from pipelines.settings import Settings
from rvc.analysis.quality import Measures, measure
from rvc.audio.reader import load_mono
from tests.voices import WOMAN, speak, spoken_samples, with_noise

CLEAN = Measures(
    seconds=60.0, sample_rate_hz=48_000, speech_seconds=50.0, snr_db=35.0, clipping_fraction=0.0,
    bandwidth_hz=20_000.0, level_db=-24.0, peak_db=-6.0,
)  # fmt: skip
FILE = FileReport(
    name="one.wav", verdict=GOOD, reason="Clear speech with little noise.", seconds=400.0, speech_s=330.0,
    slices=50, sample_rate_hz=48_000, channels=1, codec="pcm_16", snr_db=35.0, clipping_fraction=0.0,
    bandwidth_hz=20_000.0, upsampled=False, level_db=-24.0,
)  # fmt: skip
ALONE = SecondSpeaker(checked=True, heard=False, files=[], mixed_files=[])


def test_a_clean_recording_is_good() -> None:
    assert judge(CLEAN)[0] == GOOD


@pytest.mark.parametrize(
    ("changes", "grade", "words"),
    [
        ({"snr_db": 15.0}, USABLE, "15 dB"),
        ({"snr_db": 4.0}, PROBLEM, "4 dB"),
        ({"clipping_fraction": 0.002}, USABLE, "clipped"),
        ({"clipping_fraction": 0.05}, PROBLEM, "clipped"),
        ({"bandwidth_hz": 8_000.0}, USABLE, "16 kHz"),
        ({"bandwidth_hz": 3_400.0}, PROBLEM, "3.4 kHz"),
        ({"bandwidth_hz": 8_000.0, "sample_rate_hz": 16_000}, USABLE, "16 kHz recording"),
        ({"level_db": -55.0}, USABLE, "quiet"),
        ({"speech_seconds": 0.2}, PROBLEM, "speech"),
        ({"snr_db": None, "level_db": None}, PROBLEM, "speech"),
        ({"speech_seconds": 0.3, "seconds": 1.0}, PROBLEM, "speech"),
    ],
)
def test_what_is_wrong_decides_the_verdict_and_is_said(
    changes: dict[str, Any], grade: str, words: str
) -> None:
    verdict, reasons = judge(replace(CLEAN, **changes))
    assert verdict == grade
    assert words in " ".join(reasons)


def test_the_gravest_reason_comes_first() -> None:
    verdict, reasons = judge(replace(CLEAN, snr_db=15.0, clipping_fraction=0.1))
    assert verdict == PROBLEM
    assert "clipped" in reasons[0]
    assert "noise" in reasons[1]


def test_a_low_rate_is_upsampled_only_if_it_is_stored_at_a_higher_one() -> None:
    assert is_upsampled(replace(CLEAN, bandwidth_hz=8_000.0))
    assert not is_upsampled(replace(CLEAN, bandwidth_hz=8_000.0, sample_rate_hz=16_000))
    assert not is_upsampled(CLEAN)


def test_the_worst_of_grades() -> None:
    assert worst([GOOD, PROBLEM, USABLE]) == PROBLEM
    assert worst([GOOD, USABLE]) == USABLE
    assert worst([]) == GOOD


def test_enough_clean_speech_by_one_person_is_good() -> None:
    report = summarise([FILE], ALONE, (200.0, 150.0, 280.0))
    assert report.verdict == GOOD
    assert (report.speech_s, report.speech_minutes, report.f0_median_hz) == (330.0, 5.5, 200.0)
    assert len(report.advice) == 1


def test_little_speech_asks_for_more() -> None:
    report = summarise([replace(FILE, speech_s=72.0)], ALONE, None)
    assert report.verdict == USABLE
    assert report.advice == ["You have 1.2 minutes of speech; 5 minutes or more give a better voice."]


def test_a_second_speaker_is_a_problem_and_the_first_thing_said() -> None:
    other = with_other_speaker(replace(FILE, name="guest.wav"), 1.0)
    heard = SecondSpeaker(checked=True, heard=True, share=0.2, files=["guest.wav"], mixed_files=[])
    report = summarise([replace(FILE, speech_s=60.0), other], heard, None)
    assert report.verdict == PROBLEM
    assert "guest.wav" in report.advice[0]
    assert "20 %" in report.advice[0]
    assert other.verdict == PROBLEM


def test_duplicates_do_not_count_as_speech() -> None:
    again = as_duplicate(replace(FILE, name="two.mp3"), "one.wav", "same recording")
    report = summarise([FILE, again], ALONE, None)
    assert report.speech_s == FILE.speech_s
    assert report.slices == FILE.slices
    (pair,) = report.duplicates
    assert (pair.file, pair.of, pair.kind) == ("two.mp3", "one.wav", "same recording")
    assert any("two.mp3" in sentence for sentence in report.advice)


def test_a_long_recording_weighs_more_than_a_short_one() -> None:
    noisy = replace(FILE, name="noisy.wav", speech_s=10.0, snr_db=5.0, verdict=PROBLEM)
    report = summarise([noisy, FILE], ALONE, None)
    assert report.snr_db == FILE.snr_db
    assert any("noisy.wav" in sentence for sentence in report.advice)


def test_a_set_without_speech_is_a_problem() -> None:
    silent = replace(FILE, speech_s=0.0, slices=0, snr_db=None, level_db=None, verdict=PROBLEM)
    report = summarise([silent], ALONE, None)
    assert report.verdict == PROBLEM
    assert report.snr_db is None
    assert any("one.wav" in sentence for sentence in report.advice)


def test_a_second_of_speech_in_a_second_is_enough_of_a_recording() -> None:
    assert judge(replace(CLEAN, seconds=1.0, speech_seconds=0.6))[0] == GOOD
    line = replace(FILE, seconds=1.0, speech_s=0.6, slices=1)
    assert not any("ardly any speech" in said for said in summarise([line] * 600, ALONE, None).advice)


def test_joined_and_skipped_recordings_are_counted() -> None:
    line, cry = replace(FILE, seconds=1.0, speech_s=0.9, slices=1), replace(FILE, name="cry.wav", slices=0)
    report = summarise([*[line] * 39, cry], ALONE, None, joined=(39, 10))
    assert (report.slices, report.joined, report.skipped) == (10, 39, 1)
    said = " ".join(report.advice)
    assert "39 recordings are too short to be learned from one by one; their speech was joined to 10 " in said
    assert "1 of 40 recordings were skipped, for no speech was heard in them: cry.wav." in said


def test_a_report_survives_json() -> None:
    again = as_duplicate(replace(FILE, name="two.mp3"), "one.wav", "same file")
    report = summarise([FILE, again], ALONE, (200.0, 150.0, 280.0))
    row = json.loads(json.dumps(report.to_json())) | {"from_a_later_version": 1}
    assert DatasetReport.from_json(row) == report
    for name in ("joined", "skipped"):
        del row[name]  # of an earlier version
    del row["files"][0]["note"]
    assert DatasetReport.from_json(row) == report


def test_uploads_are_measured_and_judged_without_preparing_them(tmp_path: Path) -> None:
    wav = speak(WOMAN, 6.0, rate_hz=48_000)
    sf.write(tmp_path / "clean.wav", wav, 48_000, subtype="PCM_24")
    sf.write(tmp_path / "noisy.wav", with_noise(wav, 5, spoken_samples(wav, 48_000)), 48_000)
    names = ["clean.wav", "noisy.wav"]
    folder = tmp_path / "upload"
    stored = receive([(tmp_path / name, name) for name in names], folder, Settings())
    clean, noisy = (validate(file, folder) for file in stored)
    assert (clean["name"], clean["seconds"], clean["sample_rate_hz"]) == ("clean.wav", 6.0, 48_000)
    assert clean["verdict"] == GOOD
    assert noisy["verdict"] == PROBLEM
    assert noisy["snr_db"] == pytest.approx(5, abs=3)
    assert json.loads(json.dumps([clean, noisy])) == [clean, noisy]
    for file, said in zip(stored, (clean, noisy), strict=True):
        report = describe_file(file, measure(load_mono(folder / file.audio)[0], 48_000))
        assert (said["verdict"], said["reason"]) == (report.verdict, report.reason)
