"""Broken but complete: files joined, tagged in between, begun late, torn. All is read, or it is said."""

from __future__ import annotations

import io
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from rvc.audio.reader import AudioInfo, load_mono, probe
from rvc.errors import AudioError
from tests.sounds import CONTAINERS, KINDS, tone, write, write_tracks

RATE = 24_000
SECONDS = 3.0
FIRST_HZ, SECOND_HZ = 220.0, 330.0
ID3 = b"ID3\x03\x00\x00\x00\x00\x03\x10" + bytes(400)
ID3V1 = b"TAG" + b"a title".ljust(125, b"\0")
APE = b"APETAGEX" + b"".join(n.to_bytes(4, "little") for n in (2_000, 600, 1, 0xA000_0000, 0, 0)) + b"x" * 600
HTTP = b"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n"
NOISE = random.Random(7).randbytes(400_000)


def recorded(folder: Path, kind: str, hz: float = FIRST_HZ, rate_hz: int = RATE, channels: int = 1) -> bytes:
    return write(
        folder / "recorded", kind, tone(SECONDS, rate_hz, hz=hz, channels=channels), rate_hz
    ).read_bytes()


def mp3(hz: float = FIRST_HZ, mode: str = "CONSTANT", rate_hz: int = RATE) -> bytes:
    out = io.BytesIO()
    wave = tone(SECONDS, rate_hz, hz=hz)
    sf.write(out, wave, rate_hz, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode)
    return out.getvalue()


def without_length(content: bytes) -> bytes:
    """An MP3 as a radio station sends it: without the first frame, which states its length."""
    starts = [at for at in range(60, 2_000) if content[at : at + 3] == content[:3]]
    return content[starts[0] :]


def read(folder: Path, content: bytes) -> tuple[AudioInfo, np.ndarray, int]:
    path = folder / "sent"
    path.write_bytes(content)
    info = probe(path, name="song")
    return info, *load_mono(path, name="song")


def heard_hz(wav: np.ndarray, rate_hz: int, start_s: float, end_s: float) -> float:
    part = wav[round(start_s * rate_hz) : round(end_s * rate_hz)]
    return float(np.argmax(np.abs(np.fft.rfft(part * np.hanning(part.size)))) * rate_hz / part.size)


def assert_both_are_heard(wav: np.ndarray, rate_hz: int) -> None:
    assert wav.size / rate_hz == pytest.approx(2 * SECONDS, abs=0.15)
    assert heard_hz(wav, rate_hz, 0.5, 2.5) == pytest.approx(FIRST_HZ, abs=1)
    assert heard_hz(wav, rate_hz, 3.5, 5.5) == pytest.approx(SECOND_HZ, abs=1)


@pytest.mark.parametrize("kind", KINDS)
def test_two_joined_files_are_read_one_after_the_other(kind: str, tmp_path: Path) -> None:
    rate_hz = 48_000 if kind in ("webm", "opus") else RATE
    one, other = (recorded(tmp_path, kind, hz, rate_hz) for hz in (FIRST_HZ, SECOND_HZ))
    info, wav, got_hz = read(tmp_path, one + other)
    assert info.container == CONTAINERS[kind]
    assert_both_are_heard(wav, got_hz)
    if kind != "aac":  # there joined frames are one recording
        assert info.note is not None
        assert info.note.startswith("song is joined of 2 recordings")
    if kind not in ("webm", "mkv"):
        assert info.seconds == pytest.approx(wav.size / got_hz, abs=0.15)


@pytest.mark.parametrize("kind", ["wav16", "aiff", "flac", "vorbis", "mp3", "aac", "m4a", "mov"])
def test_joined_files_may_differ_in_rate_and_channels(kind: str, tmp_path: Path) -> None:
    one = recorded(tmp_path, kind, FIRST_HZ)
    other = recorded(tmp_path, kind, SECOND_HZ, 44_100, 2)
    info, wav, rate_hz = read(tmp_path, one + other)
    assert (info.sample_rate_hz, info.channels, rate_hz) == (44_100, 2, 44_100)
    assert_both_are_heard(wav, rate_hz)


@pytest.mark.parametrize("pair", [("vorbis", "opus"), ("opus", "vorbis")])
def test_a_chain_of_ogg_may_change_its_codec(pair: tuple[str, str], tmp_path: Path) -> None:
    one, other = (
        recorded(tmp_path, kind, hz, 48_000) for kind, hz in zip(pair, (FIRST_HZ, SECOND_HZ), strict=True)
    )
    assert_both_are_heard(*read(tmp_path, one + other)[1:])


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("between", [b"", ID3, ID3V1, APE, ID3V1 + ID3, APE + ID3V1 + ID3, bytes(3_000)])
def test_what_lies_between_joined_mp3s_is_passed_over(between: bytes, mode: str, tmp_path: Path) -> None:
    info, wav, rate_hz = read(tmp_path, mp3(FIRST_HZ, mode) + between + mp3(SECOND_HZ, mode))
    assert_both_are_heard(wav, rate_hz)
    assert "joined of 2 recordings" in str(info.note)


@pytest.mark.parametrize("between", [b"", ID3, ID3V1])
def test_joined_mp3s_that_state_no_length_are_read(between: bytes, tmp_path: Path) -> None:
    one, other = without_length(mp3(FIRST_HZ)), without_length(mp3(SECOND_HZ))
    assert_both_are_heard(*read(tmp_path, one + between + other)[1:])


def test_an_mp3_with_more_behind_it_than_it_states_is_read_and_that_is_said(tmp_path: Path) -> None:
    info, wav, rate_hz = read(tmp_path, mp3(FIRST_HZ) + without_length(mp3(SECOND_HZ)))
    assert_both_are_heard(wav, rate_hz)
    assert "song says that it is 3.0 seconds long" in str(info.note)


@pytest.mark.parametrize("kind", ["aac", "flac"])
@pytest.mark.parametrize("between", [ID3, ID3V1])
def test_tags_between_other_joined_files_are_passed_over(between: bytes, kind: str, tmp_path: Path) -> None:
    one, other = (recorded(tmp_path, kind, hz) for hz in (FIRST_HZ, SECOND_HZ))
    assert_both_are_heard(*read(tmp_path, one + between + other)[1:])


@pytest.mark.parametrize("before", [bytes(1_500), HTTP, NOISE[:3_000], bytes(60_000), ID3 + HTTP])
@pytest.mark.parametrize(
    "kind", ["mp3", "aac", "flac", "vorbis", "opus", "wav16", "aiff", "m4a", "mp4", "webm"]
)
def test_what_lies_before_the_sound_is_passed_over(kind: str, before: bytes, tmp_path: Path) -> None:
    rate_hz = 48_000 if kind in ("webm", "opus") else RATE
    info, wav, got_hz = read(tmp_path, before + recorded(tmp_path, kind, rate_hz=rate_hz))
    assert info.container == CONTAINERS[kind]
    assert wav.size / got_hz == pytest.approx(SECONDS, abs=0.1)
    assert heard_hz(wav, got_hz, 0.5, 2.5) == pytest.approx(FIRST_HZ, abs=1)
    assert "no sound; what is there" in str(info.note)


def test_room_that_a_tagger_left_is_not_worth_a_word(tmp_path: Path) -> None:
    info, wav, rate_hz = read(tmp_path, ID3 + bytes(2_000) + mp3())
    assert wav.size / rate_hz == pytest.approx(SECONDS, abs=0.01)
    assert info.note is None


@pytest.mark.parametrize("kind", ["mp3", "aac"])
def test_a_recording_may_begin_amid_a_frame(kind: str, tmp_path: Path) -> None:
    content = recorded(tmp_path, kind)
    for start in (37, 500, 1_001):
        info, wav, rate_hz = read(tmp_path, content[start:])
        assert SECONDS - 0.4 < wav.size / rate_hz < SECONDS + 0.1
        assert heard_hz(wav, rate_hz, 0.5, 2.2) == pytest.approx(FIRST_HZ, abs=1)
        assert "begins with" in str(info.note)


@pytest.mark.parametrize("kind", ["mp3", "aac"])
def test_a_torn_frame_in_the_middle_is_said(kind: str, tmp_path: Path) -> None:
    one, other = recorded(tmp_path, kind), recorded(tmp_path, kind, SECOND_HZ)
    one, other = (without_length(one), without_length(other)) if kind == "mp3" else (one, other)
    info, wav, rate_hz = read(tmp_path, one[: len(one) - 50] + other)
    assert_both_are_heard(wav, rate_hz)
    assert str(info.note).startswith("song is torn in 1 place, where a moment is missing;")


@pytest.mark.parametrize("kind", ["mp3", "aac", "vorbis"])
def test_more_than_a_torn_frame_in_the_middle_is_damage(kind: str, tmp_path: Path) -> None:
    content = recorded(tmp_path, kind)
    middle = len(content) // 2
    for noise in (20_000, 200_000):
        with pytest.raises(AudioError, match=r"^song is (damaged|cut short).*\.$"):
            read(tmp_path, content[:middle] + NOISE[:noise] + content[middle + 3_000 :])


def test_a_joined_file_whose_second_half_is_cut_off_is_refused(tmp_path: Path) -> None:
    for kind in ("vorbis", "flac", "m4a", "mkv", "mp4"):
        content = recorded(tmp_path, kind)
        with pytest.raises(AudioError, match="cut short or damaged"):
            read(tmp_path, content + content[: len(content) // 2])


def test_a_radio_capture_begins_where_it_was_tuned_in(tmp_path: Path) -> None:
    """The first pages tell the codec; those that follow count from the beginning of the programme."""
    for kind in ("vorbis", "opus"):
        content = write(tmp_path / "show", kind, tone(20.0, RATE), RATE).read_bytes()
        pages = [b"OggS\0" + page for page in content.split(b"OggS\0")[1:]]
        heads = [page for page in pages if page[6:14] == bytes(8)][:2]
        late = b"".join([*heads, *pages[len(pages) // 2 :]])
        info, wav, rate_hz = read(tmp_path, late * 2)
        assert info.seconds == pytest.approx(wav.size / rate_hz, abs=0.1)
        assert 8.0 < wav.size / rate_hz < 30.0


def test_text_is_still_text_and_pictures_are_called_by_their_names(tmp_path: Path) -> None:
    frames = without_length(mp3())
    for before, said in (
        (b"just words " * 6_000, "is not a recording"),  # more than 64 kB of them
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG picture"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"MZ" + bytes(100), "is a program"),
        (b"\x7fELF\x02\x01\x01", "is a program"),
    ):
        with pytest.raises(AudioError, match=f"^song {said}; upload a recording"):
            read(tmp_path, before + frames)


def test_more_recordings_than_a_file_may_hold_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "flac", tone(0.1, 8_000), 8_000).read_bytes()
    assert len(probe_of(tmp_path, one * 20).parts) == 20
    with pytest.raises(AudioError, match=r"^song is joined of more than 500 recordings; split it"):
        probe_of(tmp_path, one * 600)


def probe_of(folder: Path, content: bytes) -> AudioInfo:
    (folder / "sent").write_bytes(content)
    return probe(folder / "sent", name="song")


def test_a_note_is_one_sentence_whatever_it_tells(tmp_path: Path) -> None:
    wav = bytearray(recorded(tmp_path, "wav16"))
    wav[40:44] = bytes(4)
    loud, silent = tone(2, RATE), tone(2, RATE) * 0
    film = write_tracks(tmp_path / "film", "mp4", [("aac", silent), ("aac", loud)], RATE, film="mpeg4")
    contents = [bytes(wav) * 2, HTTP + bytes(wav), film.read_bytes() * 2, without_length(mp3())[30:-90] * 3]
    for first, second in itertools.pairwise([b"", *contents]):
        for content in (second, HTTP + second, first + second):
            note = probe_of(tmp_path, content).note
            assert note is not None
            assert note.startswith("song ")
            assert note.endswith(" was read.")
            assert len(note) < 300
