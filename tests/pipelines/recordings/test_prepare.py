"""Preparing: what comes out, what is not done twice, and what a stop leaves behind."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.events import Done, Progress, finish
from pipelines.job_spec import PrepareSettings
from pipelines.recordings.prepare import Prepared, load_prepared, prepare
from pipelines.recordings.uploads import StoredFile, receive
from pipelines.settings import Settings
from rvc.errors import AudioError, ConfigError
from tests.voices import MAN, WOMAN, Wave, speak, spoken_samples, with_noise

RATE_HZ = 24_000


def upload(folder: Path, **wavs: Wave) -> list[StoredFile]:
    """Receive recordings by name."""
    source = folder.with_name(f"{folder.name}-source")
    source.mkdir(parents=True)
    for name, wav in wavs.items():
        # Not as floats: such a file holds when it was written, and two of one sound may differ.
        sf.write(source / f"{name}.wav", wav, RATE_HZ, subtype="PCM_24")
    return receive([(source / f"{name}.wav", f"{name}.wav") for name in wavs], folder, Settings())


def sounds_of(prepared: Prepared) -> list[Wave]:
    return [sf.read(piece.path, dtype="float32")[0] for piece in prepared.slices]


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder, with its time and content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StoredFile], Prepared]:
    """Two recordings of half a minute, prepared."""
    folder = tmp_path_factory.mktemp("prepare") / "job"
    files = upload(
        folder,
        first=0.2 * speak(WOMAN, 24.0, rate_hz=RATE_HZ, seed=1),
        second=speak(WOMAN, 16.0, rate_hz=RATE_HZ, seed=2, pause_s=1.5),
    )
    return folder, files, finish(prepare(files, folder, PrepareSettings()))


@pytest.fixture
def copy(job: tuple[Path, list[StoredFile], Prepared], tmp_path: Path) -> tuple[Path, list[StoredFile]]:
    """A copy of that job that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(job[0], folder)
    return folder, job[1]


def test_slices_are_mono_flac_of_two_to_eight_seconds_at_the_recordings_rate(
    job: tuple[Path, list[StoredFile], Prepared],
) -> None:
    prepared = job[2]
    assert len(prepared.slices) >= 5
    for piece in prepared.slices:
        info = sf.info(piece.path)
        assert (info.samplerate, info.channels, info.subtype) == (RATE_HZ, 1, "PCM_24")
        assert 2.0 <= piece.seconds <= 8.0
        assert info.frames == pytest.approx(piece.seconds * RATE_HZ, abs=2)


def test_nearly_all_speech_is_in_the_slices(job: tuple[Path, list[StoredFile], Prepared]) -> None:
    folder, files, prepared = job
    for file in files:
        wav, _ = sf.read(folder / file.audio)
        spoken_s = spoken_samples(wav, RATE_HZ).mean() * file.seconds
        sliced_s = sum(piece.seconds for piece in prepared.slices if piece.source_name == file.name)
        assert 0.93 * spoken_s < sliced_s < 1.2 * spoken_s + 1.0


def test_slices_say_where_they_come_from(job: tuple[Path, list[StoredFile], Prepared]) -> None:
    folder, files, prepared = job
    for piece in prepared.slices:
        file = next(file for file in files if file.name == piece.source_name)
        wav, _ = sf.read(folder / file.audio, dtype="float32")
        begin = round((piece.start_s + 0.5) * RATE_HZ)
        original = wav[begin : begin + RATE_HZ]
        sliced = sf.read(piece.path, dtype="float32")[0][RATE_HZ // 2 :][:RATE_HZ]
        assert np.corrcoef(original, sliced)[0, 1] > 0.95


def test_quiet_and_loud_recordings_come_out_equally_loud(
    job: tuple[Path, list[StoredFile], Prepared],
) -> None:
    levels = []
    for wav in sounds_of(job[2]):
        spoken = wav[spoken_samples(wav, RATE_HZ)]
        levels.append(10 * np.log10(np.mean(np.square(spoken, dtype=np.float64))))
        assert np.abs(wav).max() < 1.0
    assert np.ptp(levels) < 2.5
    assert np.mean(levels) == pytest.approx(PrepareSettings().slice_level_db, abs=2.0)


def test_the_report_tells_of_each_recording_and_of_the_set(
    job: tuple[Path, list[StoredFile], Prepared],
) -> None:
    folder, _, prepared = job
    report = prepared.report
    assert [file.name for file in report.files] == ["first.wav", "second.wav"]
    assert report.slices == len(prepared.slices) == sum(file.slices for file in report.files)
    assert report.f0_median_hz == pytest.approx(WOMAN.f0_hz, rel=0.1)
    assert not report.second_speaker.heard
    assert report.duplicates == []
    assert "5 or more give a better voice" in " ".join(report.advice) or "seconds of speech" in " ".join(
        report.advice
    )
    assert json.loads((folder / "prepared" / "report.json").read_text()) == report.to_json()


def test_what_was_prepared_can_be_loaded_again(job: tuple[Path, list[StoredFile], Prepared]) -> None:
    folder, _, prepared = job
    assert load_prepared(folder) == prepared
    assert load_prepared(folder / "prepared") == prepared


def test_a_second_run_does_nothing_again(copy: tuple[Path, list[StoredFile]]) -> None:
    folder, files = copy
    slices = folder / "prepared" / "slices"
    before = state_of(slices)
    finish(prepare(files, folder, PrepareSettings()))
    assert state_of(slices) == before


def test_a_further_recording_is_all_that_a_second_run_works_on(copy: tuple[Path, list[StoredFile]]) -> None:
    folder, files = copy
    slices = folder / "prepared" / "slices"
    before = state_of(slices)
    (third,) = upload(folder.with_name("more"), third=speak(WOMAN, 6.0, rate_hz=RATE_HZ, seed=3))
    shutil.copy(folder.with_name("more") / third.audio, folder / "inputs" / "third.wav")
    prepared = finish(prepare([*files, replace(third, audio="inputs/third.wav")], folder, PrepareSettings()))
    after = state_of(slices)
    assert {name: after[name] for name in before} == before
    assert {piece.source_name for piece in prepared.slices} == {"first.wav", "second.wav", "third.wav"}


def test_other_settings_and_other_content_are_done_anew(copy: tuple[Path, list[StoredFile]]) -> None:
    folder, files = copy
    keys = {path.name for path in (folder / "prepared" / "slices").iterdir()}
    finish(prepare(files[1:], folder, PrepareSettings(highpass_hz=90.0)))
    other_settings = {path.name for path in (folder / "prepared" / "slices").iterdir()}
    finish(prepare([replace(files[1], sha256="0" * 64)], folder, PrepareSettings(highpass_hz=90.0)))
    other_content = {path.name for path in (folder / "prepared" / "slices").iterdir()}
    assert len(keys | other_settings | other_content) == len(keys) + len(other_settings) + len(other_content)


@pytest.mark.parametrize("stop_after", [1, 3, 6, 9, 12])
def test_a_run_stopped_anywhere_leaves_nothing_half_done(tmp_path: Path, stop_after: int) -> None:
    folder = tmp_path / "job"
    files = upload(folder, speech=speak(MAN, 8.0, rate_hz=RATE_HZ))
    events = prepare(files, folder, PrepareSettings())
    for _, event in zip(range(stop_after), events, strict=False):
        assert isinstance(event, Progress)
    events.close()
    for path in (folder / "prepared" / "slices").iterdir():
        assert not path.name.startswith(".")
        assert (path / "facts.json").is_file()
    with pytest.raises(AudioError, match="not prepared"):
        load_prepared(folder)
    resumed = finish(prepare(files, folder, PrepareSettings()))
    fresh = tmp_path / "fresh"
    shutil.copytree(folder / "inputs", fresh / "inputs")
    whole = finish(prepare(files, fresh, PrepareSettings()))
    for one, other in zip(sounds_of(resumed), sounds_of(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_killed_run_left_is_not_trusted(copy: tuple[Path, list[StoredFile]]) -> None:
    folder, files = copy
    slices = folder / "prepared" / "slices"
    done = next(iter(slices.iterdir()))
    (done / "facts.json").unlink()
    left = slices / ".0123.abcd.part"
    left.mkdir()
    (left / "0000.flac").write_bytes(b"half a slice")
    prepared = finish(prepare(files, folder, PrepareSettings()))
    assert not left.exists()
    assert (done / "facts.json").is_file()
    assert all(wav.size for wav in sounds_of(prepared))


def test_progress_only_rises_and_ends_with_the_result(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    files = upload(folder, speech=speak(MAN, 20.0, rate_hz=RATE_HZ))
    fractions = []
    longest_s, last = 0.0, time.process_time()
    for event in prepare(files, folder, PrepareSettings()):
        now = time.process_time()
        longest_s, last = max(longest_s, now - last), now
        fractions.append(event.fraction if isinstance(event, Progress) else 1.0)
    assert isinstance(event, Done)
    assert fractions == sorted(fractions)
    assert longest_s < 1.0


def test_the_same_recording_twice_is_used_once(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    wav = speak(MAN, 8.0, rate_hz=RATE_HZ)
    files = upload(folder, one=wav, copy=wav, quieter=(0.3 * wav).astype(np.float32), other=wav[::-1].copy())
    prepared = finish(prepare(files, folder, PrepareSettings()))
    found = {(pair.file, pair.of, pair.kind) for pair in prepared.report.duplicates}
    assert found == {("copy.wav", "one.wav", "same file"), ("quieter.wav", "one.wav", "same recording")}
    assert {piece.source_name for piece in prepared.slices} <= {"one.wav", "other.wav"}


def test_a_second_speaker_is_named_in_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    files = upload(
        folder,
        mine=speak(WOMAN, 40.0, rate_hz=RATE_HZ, seed=1),
        also=speak(WOMAN, 40.0, rate_hz=RATE_HZ, seed=2),
        guest=speak(MAN, 20.0, rate_hz=RATE_HZ, seed=3),
    )
    report = finish(prepare(files, folder, PrepareSettings())).report
    assert report.second_speaker.heard
    assert report.second_speaker.files == ["guest.wav"]
    assert [file.verdict == "problem" for file in report.files] == [False, False, True]
    assert "guest.wav" in report.advice[0]


def test_noise_reduction_takes_noise_out(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    clean = speak(MAN, 10.0, rate_hz=RATE_HZ, pause_s=1.0)
    files = upload(folder, noisy=with_noise(clean, 15, spoken_samples(clean, RATE_HZ)))
    floors = []
    for settings in (PrepareSettings(), PrepareSettings(reduce_noise=True)):
        wav = np.concatenate(sounds_of(finish(prepare(files, folder, settings))))
        power = np.square(wav[: wav.size // 240 * 240]).reshape(-1, 240).mean(axis=1)
        floors.append(10 * np.log10(np.percentile(power[power > 0], 5) / power.mean()))
    assert floors[1] < floors[0] - 5


def test_rumble_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    rumble = 0.2 * np.sin(2 * np.pi * 15 * np.arange(8 * RATE_HZ) / RATE_HZ)
    files = upload(folder, rumbling=(speak(WOMAN, 8.0, rate_hz=RATE_HZ) + rumble).astype(np.float32))
    for wav in sounds_of(finish(prepare(files, folder, PrepareSettings()))):
        spectrum = np.square(np.abs(np.fft.rfft(wav)))
        hz = np.fft.rfftfreq(wav.size, 1 / RATE_HZ)
        assert spectrum[hz < 25].sum() < 1e-3 * spectrum.sum()


def test_a_recording_without_speech_is_a_problem_and_no_slice(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    hiss = np.random.default_rng(0).normal(scale=0.01, size=5 * RATE_HZ).astype(np.float32)
    files = upload(folder, hiss=hiss, speech=speak(MAN, 8.0, rate_hz=RATE_HZ))
    prepared = finish(prepare(files, folder, PrepareSettings()))
    assert {piece.source_name for piece in prepared.slices} == {"speech.wav"}
    assert prepared.report.files[0].verdict == "problem"


def test_a_very_short_recording_is_filled_up_to_a_slice(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    files = upload(folder, word=speak(MAN, 1.5, rate_hz=RATE_HZ))
    (piece,) = finish(prepare(files, folder, PrepareSettings())).slices
    assert piece.seconds == 2.0


def test_nothing_to_prepare_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="upload"):
        finish(prepare([], tmp_path, PrepareSettings()))


def test_a_recording_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    files = upload(folder, speech=speak(MAN, 3.0, rate_hz=RATE_HZ))
    (folder / files[0].audio).unlink()
    with pytest.raises(AudioError, match=r"speech\.wav"):
        finish(prepare(files, folder, PrepareSettings()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"highpass_hz": 5.0},
        {"highpass_hz": "low"},
        {"slice_level_db": 0.0},
        {"reduce_noise": "yes"},
        {"longest_slice_s": 100.0},
        {"shortest_slice_s": True},
        {"shortest_slice_s": 4.0, "longest_slice_s": 5.0},
        {"highpass_hz": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)) if len(wrong) == 1 else "Slices"):
        PrepareSettings(**wrong)  # type: ignore[arg-type]
