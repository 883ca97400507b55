"""Bad files: each is refused in one sentence and leaves nothing, or it is a whole recording after all."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile as sf

from pipelines.recordings.uploads import decode, receive, receive_batch
from pipelines.settings import Settings
from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from rvc.audio.reader import blocks
from rvc.errors import RvcError
from tests.hostile.bad_files import NAMES, bad_recordings, bad_voices, bad_zips, endless, wav_header
from tests.sounds import write_silence
from ui.look.html import voice_card

SETTINGS = Settings(
    max_file_size_mb=5, max_audio_seconds=60, max_files=50, max_batch_mb=10, max_decoded_mb=50
)


def sentence_of(error: RvcError, tmp_path: Path) -> str:
    """What a person reads: one sentence, no path of the server's, nothing of the program's inside."""
    text = str(error)
    assert text.endswith((".", ")")), text
    assert "\n" not in text, text
    assert str(tmp_path) not in text, text
    assert "Traceback" not in text, text
    assert len(text) < 600, text
    return text


def test_there_are_hundreds_of_them(tmp_path: Path) -> None:
    assert len(bad_recordings(tmp_path)) + len(bad_zips()) + len(bad_voices()) + len(NAMES) >= 230


def test_bad_recordings_are_refused_or_whole_and_nothing_is_left(tmp_path: Path) -> None:
    sent, refused = tmp_path / "sent", 0
    for number, (what, content) in enumerate(bad_recordings(tmp_path)):
        sent.write_bytes(content)
        folder = tmp_path / f"job-{number}"
        try:
            (stored,) = receive([(sent, f"{what}.wav")], folder, SETTINGS)
        except RvcError as error:
            sentence_of(error, tmp_path)
            assert not folder.exists(), what
            refused += 1
        else:
            with sf.SoundFile(folder / stored.audio) as file:
                assert file.frames == round(stored.seconds * stored.sample_rate_hz), what
            assert 0.5 <= stored.seconds <= 60.0, what
    assert refused >= 100


def test_bad_recordings_of_a_batch_are_found_at_the_upload_or_when_they_are_decoded(tmp_path: Path) -> None:
    cases = bad_recordings(tmp_path)
    files = []
    for number, (what, content) in enumerate(cases):
        (tmp_path / str(number)).write_bytes(content)
        files.append((tmp_path / str(number), what))
    decoded = tmp_path / "decoded.wav"
    failed = 0
    for start in range(0, len(files), SETTINGS.max_files):
        folder = tmp_path / f"job-{start}"
        folder.mkdir()
        for row in receive_batch(files[start : start + SETTINGS.max_files], folder, SETTINGS):
            failed += row["status"] == "failed"
            if row["status"] == "waiting":
                try:
                    list(decode(folder / row["original"], decoded, row["name"], 60.0))
                except RvcError as error:
                    failed += 1
                    sentence_of(error, tmp_path)
                    assert not decoded.exists()
                decoded.unlink(missing_ok=True)
    assert failed >= 100


def test_files_that_only_ever_begin_are_judged_soon(tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    for what, unit in endless(tmp_path):
        with sent.open("wb") as file:
            for _ in range(12):
                file.write(unit * (1_000_000 // len(unit) or 1))
        began = time.process_time()
        try:
            samples = sum(block.size for block in blocks(sent, max_seconds=60.0, name=what))
        except RvcError as error:
            sentence_of(error, tmp_path)
        else:
            assert samples <= 60 * 192_000, what
        assert time.process_time() - began < 15.0, what


def test_bad_zips_are_no_voices_and_leave_nothing(tmp_path: Path, library: Library) -> None:
    sent = tmp_path / "sent.zip"
    accepted = []
    for what, content in [*bad_zips(), *bad_voices()]:
        sent.write_bytes(content)
        before = left(tmp_path)
        try:
            library.import_voice(Caller("me"), [sent])
        except RvcError as error:
            sentence_of(error, tmp_path)
            assert left(tmp_path) == before, what
        else:
            accepted.append(what)
    # A voice may be called anything that can be shown; who speaks it is asked for when it is used; and
    # what its maker tells of it is left out where it is not of the kind that it should be.
    told = ["a long past", "no time of day", "words for seconds", "infinite seconds", "endless consent"]
    assert accepted == ["a path for a name", "an engine of its own", *told]
    for row in library.list(Caller("me")):
        assert len(voice_card(row)) < 20_000
        assert "<b>" not in voice_card(row)
    assert not (tmp_path.parent / "x").exists()


def test_bad_zips_are_refused_or_give_recordings_under_numbers(tmp_path: Path) -> None:
    sent, folder = tmp_path / "sent.zip", tmp_path / "job"
    refused = 0
    for what, content in bad_zips():
        sent.write_bytes(content)
        folder.mkdir()
        try:
            rows = receive_batch([(sent, "songs.zip")], folder, SETTINGS)
        except RvcError as error:
            sentence_of(error, tmp_path)
            assert left(folder) == {}, what
            refused += 1
        else:
            kept = [row["original"] for row in rows if row["status"] == "waiting"]
            assert set(left(folder)) == set(kept), what
            assert all(re.fullmatch(r"inputs/\d{3}\.original\.wav", name) for name in kept), what
        shutil.rmtree(folder)
        assert set(left(tmp_path)) == set(), what
    assert refused >= 30


def test_hostile_names_never_become_paths(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    sound.write_bytes(wav_header(size=32_000) + b"\x10\x20" * 16_000)
    for number, name in enumerate(NAMES):
        folder = tmp_path / f"job-{number}"
        folder.mkdir()
        (row,) = receive_batch([(sound, name)], folder, SETTINGS)
        assert row["name"].isprintable(), name
        assert 1 <= len(row["name"]) <= 120, name
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {
            "inputs",
            "inputs/000.original.wav",
        }
        json.dumps(row)


def test_an_hour_of_silence_in_a_small_file_is_too_long(tmp_path: Path) -> None:
    """A hole in the file takes no room until it is decoded."""
    path = write_silence(tmp_path / "hole.wav", 120.0, 16_000)
    with pytest.raises(RvcError, match=r"long|minutes|seconds"):
        receive([(path, "hole.wav")], tmp_path / "job", SETTINGS)
    with pytest.raises(RvcError, match=r"long|minutes|seconds"):
        list(decode(path, tmp_path / "out.wav", "hole.wav", 60.0))
    assert {path.name for path in tmp_path.iterdir()} == {"hole.wav"}


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    registry = Registry(tmp_path / "data")
    yield Library(tmp_path / "data", registry)
    registry.close()


def left(folder: Path) -> dict[str, int]:
    """Every file with its size, but what was sent in."""
    kept: Callable[[Path], bool] = lambda path: path.is_file() and path.name != "sent.zip"  # noqa: E731
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if kept(path)
    }
