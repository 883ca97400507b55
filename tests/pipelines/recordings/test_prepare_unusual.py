"""Preparing what is unlike a studio's recordings: lines of a second, offsets and rumble, hardly any level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.events import finish
from pipelines.job_spec import PrepareSettings
from pipelines.recordings.prepare import load_prepared, prepare
from pipelines.recordings.uploads import receive
from pipelines.settings import Settings
from tests.pipelines.recordings.test_prepare import RATE_HZ, sounds_of, state_of, upload
from tests.sounds import below_hearing
from tests.voices import MAN, WOMAN, Voice, Wave, speak, spoken_samples, with_noise


def lines(count: int, seconds: float = 1.0, voice: Voice = WOMAN) -> dict[str, Wave]:
    """Recordings of one breath each, as game voices come."""
    spoken = [
        speak(voice, seconds + 0.2, rate_hz=RATE_HZ, seed=seed)[round(0.2 * RATE_HZ) :]
        for seed in range(count)
    ]
    return {f"line_{number:02d}": wav for number, wav in enumerate(spoken)}


def test_lines_of_a_second_make_slices_without_losing_or_adding_sound(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    files = upload(folder, **lines(30))
    prepared = finish(prepare(files, folder, PrepareSettings()))
    assert 5 <= len(prepared.slices) <= 12
    for piece in prepared.slices:
        assert 2.0 <= piece.seconds <= 8.0
    assert sum(piece.seconds for piece in prepared.slices) == pytest.approx(30, abs=4)
    for piece, wav in zip(prepared.slices, sounds_of(prepared), strict=True):
        names = piece.source_name.split(", ")
        spoken = wav[spoken_samples(wav, RATE_HZ)]
        assert spoken.size > 0.7 * wav.size
        assert 10 * np.log10(np.mean(np.square(spoken))) == pytest.approx(-23, abs=2)
        for name in names:
            original, _ = sf.read(folder / next(file.audio for file in files if file.name == name))
            part = original[4_000:8_000]
            norms = np.sqrt(np.convolve(np.square(wav), np.ones(part.size), "valid")) * np.linalg.norm(part)
            assert (np.correlate(wav, part, "valid") / np.maximum(norms, 1e-6)).max() > 0.9
    assert {name for piece in prepared.slices for name in piece.source_name.split(", ")} == {
        file.name for file in files
    }


def test_the_report_counts_what_was_joined_and_what_was_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    hiss = np.random.default_rng(0).normal(scale=0.01, size=RATE_HZ).astype(np.float32)
    files = upload(folder, **lines(12), hiss=hiss, long=speak(WOMAN, 12.0, rate_hz=RATE_HZ, seed=99))
    prepared = finish(prepare(files, folder, PrepareSettings()))
    report = prepared.report
    assert (report.joined, report.skipped) == (12, 1)
    assert report.slices == len(prepared.slices) < 12
    assert [file.slices for file in report.files[:13]] == [1] * 12 + [0]
    assert [file.verdict for file in report.files[:12]].count("problem") == 0
    assert report.f0_median_hz == pytest.approx(WOMAN.f0_hz, rel=0.15)
    assert "12 recordings are too short" in " ".join(report.advice)
    assert "1 of 14 recordings were skipped, for no speech was heard in them: hiss.wav" in " ".join(
        report.advice
    )
    assert load_prepared(folder) == prepared


def test_a_second_run_joins_nothing_again_and_removes_what_is_not_of_the_set(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    files = upload(folder, **lines(13))
    slices = folder / "prepared" / "slices"
    finish(prepare(files, folder, PrepareSettings()))
    before = state_of(slices)
    finish(prepare(files, folder, PrepareSettings()))
    assert state_of(slices) == before
    fewer = finish(prepare(files[:1], folder, PrepareSettings()))
    assert [path.name for path in (slices / "joined").iterdir()] == [fewer.slices[0].path.name]


def test_short_lines_of_another_rate_are_joined_among_themselves(tmp_path: Path) -> None:
    folder, source = tmp_path / "job", tmp_path / "source"
    source.mkdir()
    named = []
    for number, (name, wav) in enumerate(lines(12).items()):
        path = source / f"{name}.wav"
        sf.write(
            path, wav if number % 2 else wav[::2], RATE_HZ if number % 2 else RATE_HZ // 2, subtype="FLOAT"
        )
        named.append((path, path.name))
    prepared = finish(prepare(receive(named, folder, Settings()), folder, PrepareSettings()))
    rates = {piece.path: sf.info(piece.path).samplerate for piece in prepared.slices}
    for piece in prepared.slices:
        numbers = [int(name[5:7]) for name in piece.source_name.split(", ")]
        assert {number % 2 for number in numbers} == {int(rates[piece.path] == RATE_HZ)}


def test_a_line_that_repeats_another_is_left_out_and_another_guest_s_lines_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    mine = lines(40)
    guests = {f"guest_{name}": wav for name, wav in lines(16, voice=MAN).items()}
    again = {"copy": mine["line_03"], "quieter": (0.3 * mine["line_05"]).astype(np.float32)}
    files = upload(folder, **mine, **guests, **again)
    report = finish(prepare(files, folder, PrepareSettings())).report
    assert {(pair.file, pair.of) for pair in report.duplicates} == {
        ("copy.wav", "line_03.wav"),
        ("quieter.wav", "line_05.wav"),
    }
    assert report.second_speaker.heard
    named = {*report.second_speaker.files, *report.second_speaker.mixed_files}
    assert len([name for name in named if name.startswith("guest")]) >= 12
    assert len([name for name in named if name.startswith("line")]) <= 6


@pytest.mark.parametrize("low", ["offset", "15 Hz", "30 Hz", "drift"])
def test_what_lies_below_hearing_changes_neither_slices_nor_report(tmp_path: Path, low: str) -> None:
    added = below_hearing(16 * RATE_HZ, RATE_HZ)[low]
    plain = with_noise(speak(WOMAN, 16.0, rate_hz=RATE_HZ), 50, np.ones(added.size, dtype=np.bool_))
    made = []
    for name, wav in (("plain", plain), ("low", plain + added)):
        files = upload(tmp_path / name, speech=(0.4 * wav).astype(np.float32))
        made.append(finish(prepare(files, tmp_path / name, PrepareSettings())))
    (one,), (other,) = (prepared.report.files for prepared in made)
    assert other.clipping_fraction == one.clipping_fraction == 0.0
    assert other.snr_db == pytest.approx(one.snr_db, abs=1.0)
    assert other.level_db == pytest.approx(one.level_db, abs=0.2)
    assert (other.bandwidth_hz, other.verdict) == (one.bandwidth_hz, one.verdict)
    for wav, clean in zip(*map(sounds_of, reversed(made)), strict=True):
        assert wav.size == clean.size
        assert np.mean(np.square(wav - clean)) < 1e-3 * np.mean(np.square(clean))


def test_speech_as_faint_as_a_float_file_may_hold_it_is_heard(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    files = upload(folder, faint=(2e-3 * speak(WOMAN, 12.0, rate_hz=RATE_HZ)).astype(np.float32))  # -60 dBFS
    prepared = finish(prepare(files, folder, PrepareSettings()))
    assert sum(piece.seconds for piece in prepared.slices) > 8.0
    assert (prepared.report.files[0].level_db or 0) < -60
    for wav in sounds_of(prepared):
        spoken = wav[np.abs(wav) > 1e-4]
        assert 10 * np.log10(np.mean(np.square(spoken))) == pytest.approx(-23, abs=3)
