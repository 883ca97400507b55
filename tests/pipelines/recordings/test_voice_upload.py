"""The recordings of a voice: what can be used is taken, the rest listed once, and nothing of it is left."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.recordings.uploads import receive_voice
from pipelines.settings import Settings
from rvc.audio.reader import AudioInfo, probe
from rvc.errors import AudioError, LimitError
from tests.hostile.bad_files import zipped
from tests.sounds import tone, write

RATE = 8_000
SETTINGS = Settings(max_file_size_mb=1, max_voice_files=60)
Named = list[tuple[Path, str]]


@pytest.fixture
def line(tmp_path: Path) -> bytes:
    """A second of sound."""
    return write(tmp_path / "line", "wav16", tone(1.0, RATE), RATE).read_bytes()


def lines(folder: Path, content: bytes, count: int = 12) -> Named:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}").write_bytes(content)
    return [(folder / f"{number}", f"line_{number:02d}.wav") for number in range(count)]


def useless(folder: Path) -> Named:
    """What lies about in a folder of game voices, and what is wrong with each."""
    folder.mkdir(exist_ok=True)
    write(folder / "grunt", "wav16", tone(0.1, RATE), RATE)
    write(folder / "breath", "wav16", tone(1.0, RATE) * 0, RATE)
    write(folder / "offset", "wavfloat", tone(1.0, RATE) * 0 + np.float32(0.3), RATE)
    write(folder / "room", "wav16", tone(1.0, RATE, channels=9), RATE)
    (folder / "notes").write_text("lines of the second act\n")
    (folder / "desktop").write_text("[.ShellClassInfo]\n")
    (folder / "nothing").write_bytes(b"")
    (folder / "large").write_bytes(bytes(1_200_000))
    (folder / "locked").write_bytes(zipped({"../a.wav": b"x"}))
    return [(path, path.name) for path in sorted(folder.iterdir())]


def test_the_good_ones_are_taken_and_each_of_the_others_is_listed_once_with_its_reason(
    tmp_path: Path, line: bytes
) -> None:
    good, bad = lines(tmp_path / "good", line), useless(tmp_path / "bad")
    mixed = [*good[:5], *bad, *good[5:]]
    stored, refused = receive_voice(mixed, tmp_path / "job", SETTINGS)
    assert [file.name for file in stored] == [name for _, name in good]
    reasons = {row["name"]: row["reason"] for row in refused}
    assert [row["name"] for row in refused] == [name for _, name in bad]
    for name, said in {
        "breath": "is silent", "desktop": "is not a recording", "grunt": "is only 0.10 seconds long",
        "large": "has 1.2 MB", "locked": "points elsewhere", "notes": "is not a recording",
        "nothing": "is empty (0 bytes)", "offset": "is silent", "room": "has 9 channels",
    }.items():  # fmt: skip
        assert said in reasons[name]
        assert reasons[name].endswith(".")
    kept = {path.name for path in (tmp_path / "job" / "inputs").iterdir()}
    assert kept == {Path(path).name for file in stored for path in (file.original, file.audio)}
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["inputs"]


def test_with_too_little_left_one_sentence_says_how_much_and_what_was_not_used(
    tmp_path: Path, line: bytes
) -> None:
    files = [*lines(tmp_path / "good", line, 3), *useless(tmp_path / "bad")]
    with pytest.raises(AudioError) as refusal:
        receive_voice(files, tmp_path / "job", SETTINGS)
    sentence = str(refusal.value)
    assert "3.0 seconds long; a voice needs at least 10 seconds" in sentence
    for said in ("breath is silent", "notes is not a recording", "nothing is empty", "grunt is only 0.10"):
        assert said in sentence
    assert "\n" not in sentence
    assert not (tmp_path / "job").exists()


def test_when_none_can_be_used_all_are_named_or_counted(tmp_path: Path) -> None:
    bad = useless(tmp_path / "bad")
    with pytest.raises(
        AudioError, match=r"^None of the 9 files can be used: breath is silent, .*room has 9 "
    ):
        receive_voice(bad, tmp_path / "job", SETTINGS)
    with pytest.raises(AudioError, match=r", and 26 more\.$") as refusal:
        receive_voice(bad * 4, tmp_path / "job", SETTINGS)
    assert len(str(refusal.value)) < 1_000
    with pytest.raises(AudioError, match=r"^notes is not a recording; upload a recording"):
        receive_voice([file for file in bad if file[1] == "notes"], tmp_path / "job", SETTINGS)
    with pytest.raises(AudioError, match="No file was chosen"):
        receive_voice([], tmp_path / "job", SETTINGS)
    assert not (tmp_path / "job").exists()


def test_recordings_come_in_zips_as_well_beside_others(tmp_path: Path, line: bytes) -> None:
    inside: dict[str, bytes | str] = {f"act 1/line_{n}.wav": line for n in range(9)}
    inside |= {"act 1/notes.txt": "words", "__MACOSX/act 1/._line_0.wav": b"x", "act 1/desktop.ini": "x"}
    inside |= {"act 2/": b"", "act 2/again.zip": zipped({"a.wav": line})}
    content = bytearray(zipped(inside | {"act 2/bent.wav": line}, zipfile.ZIP_STORED))
    content[content.rindex(b"RIFF") + 2_000] ^= 0xFF
    (tmp_path / "act.zip").write_bytes(bytes(content))
    (tmp_path / "cut.zip").write_bytes(bytes(content)[: len(content) // 2])
    files = [*lines(tmp_path / "good", line, 4), (tmp_path / "act.zip", "act.zip")]
    stored, refused = receive_voice([*files, (tmp_path / "cut.zip", "cut.zip")], tmp_path / "job", SETTINGS)
    assert [file.name for file in stored][4:] == [f"line_{n}.wav" for n in range(9)]
    assert [row["name"] for row in refused] == ["notes.txt", "again.zip", "bent.wav", "cut.zip"]
    for row, said in zip(refused, ("not a recording", "a zip", "is damaged", "is damaged"), strict=True):
        assert said in row["reason"]
    assert len(list((tmp_path / "job" / "inputs").iterdir())) == 2 * len(stored)


def test_count_and_size_of_all_together_are_bounded(tmp_path: Path, line: bytes) -> None:
    many = lines(tmp_path / "good", line, 1) * 61
    with pytest.raises(AudioError, match="These are 61 files; send at most 60 at a time"):
        receive_voice(many, tmp_path / "job", SETTINGS)
    with zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(8):
            archive.writestr(f"{number}.wav", bytes(1_000_000))
    bomb = [(tmp_path / "z", "bomb.zip")]
    with pytest.raises(AudioError, match=r"bomb\.zip unpacks to 8 MB; send at most 5 MB at a time"):
        receive_voice(bomb, tmp_path / "job", Settings(max_decoded_mb=5))
    assert not (tmp_path / "job").exists()


def test_no_room_for_this_user_refuses_all_and_leaves_nothing(tmp_path: Path, line: bytes) -> None:
    asked: list[int] = []

    def little(count: int) -> None:
        asked.append(count)
        if sum(asked) > 300_000:
            raise LimitError("full.")

    with pytest.raises(LimitError):
        receive_voice(lines(tmp_path / "good", line), tmp_path / "job", SETTINGS, little)
    assert not (tmp_path / "job").exists()
    taken: list[int] = []
    receive_voice(lines(tmp_path / "good", line), tmp_path / "job", SETTINGS, taken.append)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "job").rglob("*") if path.is_file())
    assert sum(taken) == pytest.approx(on_disk, rel=0.01)


def test_what_the_reader_notes_goes_with_the_recording(
    tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "Its header says two hours, it holds a second."

    def noted(path: Path, *, name: str | None = None) -> AudioInfo:
        return replace(probe(path, name=name), note=note)

    monkeypatch.setattr("pipelines.recordings.uploads.probe", noted)
    stored, _ = receive_voice(lines(tmp_path / "good", line), tmp_path / "job", SETTINGS)
    assert {file.note for file in stored} == {note}


def test_more_than_all_may_be_in_all_refuses_all_not_the_last_ones(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(AudioError, match="These recordings take more than 1 MB when decoded"):
        receive_voice(lines(tmp_path / "good", line, 40), tmp_path / "job", Settings(max_decoded_mb=1))
    assert not (tmp_path / "job").exists()


def test_room_that_was_kept_for_what_is_not_taken_is_given_back(tmp_path: Path, line: bytes) -> None:
    silent = write(tmp_path / "silent", "wav16", np.zeros((60 * RATE, 1), np.float32), RATE)
    taken: list[int] = []
    files = [(silent, "silent.wav"), *lines(tmp_path / "good", line)]
    receive_voice(files, tmp_path / "job", SETTINGS, taken.append)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "job").rglob("*") if path.is_file())
    assert sum(taken) == pytest.approx(on_disk, rel=0.01)
