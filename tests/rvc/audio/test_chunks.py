"""Headers whose sizes are wrong: what a file holds is read to its end, and a person is told what it said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from rvc.audio.reader import load_mono, probe
from rvc.errors import AudioError
from tests.sounds import PLAIN, tone, write

RATE = 16_000
SECONDS = 4.0
# Where the size of the sound is: behind this name, in so many bytes, which count so many more, in this order.
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
SIZES = {
    "wav16": (b"data", 4, 0, "little"),
    "wav24": (b"data", 4, 0, "little"),
    "wavfloat": (b"data", 4, 0, "little"),
    "aiff": (b"SSND", 4, 8, "big"),
    "caf": (b"data", 8, 4, "big"),
    "w64": (W64_DATA, 8, 24, "little"),
    "au": (b".snd\x00\x00\x00\x18", 4, 0, "big"),
}
PIPED = {"wav16": 0xFFFF_FFFF, "wav24": 0x7FFF_FFFF, "aiff": 0x7FFF_FFFF, "caf": 2**64 - 1, "au": 0xFFFF_FFFF}


def recorded(folder: Path, kind: str) -> bytes:
    return write(folder / "recorded", kind, tone(SECONDS, RATE), RATE).read_bytes()


def with_size(content: bytes, kind: str, change: float | int) -> bytes:
    """The file with another size of its sound: a share of the right one, or, if it is an int, just that."""
    name, length, added, order = SIZES[kind]
    at = content.index(name) + len(name)
    size = int.from_bytes(content[at : at + length], order)  # type: ignore[arg-type]
    if isinstance(change, float):
        change = round((size - added) * change) // 12 * 12 + added
    return content[:at] + change.to_bytes(length, order) + content[at + length :]  # type: ignore[arg-type]


def sent(folder: Path, content: bytes) -> Path:
    path = folder / "sent"
    path.write_bytes(content)
    return path


def assert_all_is_read(path: Path, seconds: float = SECONDS) -> None:
    wav, rate_hz = load_mono(path)
    assert rate_hz == RATE
    assert wav.size == pytest.approx(seconds * RATE, abs=0.02 * RATE)
    np.testing.assert_allclose(wav[: 3 * RATE], tone(3, RATE)[: wav.size, 0], atol=1e-4)


@pytest.mark.parametrize("change", [0, 0.5, 0.1, 3.0])
@pytest.mark.parametrize("kind", SIZES)
def test_a_wrong_size_is_put_right_and_said(kind: str, change: float | int, tmp_path: Path) -> None:
    path = sent(tmp_path, with_size(recorded(tmp_path, kind), kind, change))
    assert_all_is_read(path)
    info = probe(path, name="memo")
    assert info.seconds == pytest.approx(SECONDS, abs=0.01)
    said = f"says that it is {SECONDS * change:.1f} seconds long" if change else "does not say how long it is"
    assert info.note == f"memo {said}; what is there, 4.0 seconds, was read."


@pytest.mark.parametrize("kind", PIPED)
def test_an_open_end_is_read_to_the_end_of_the_file(kind: str, tmp_path: Path) -> None:
    path = sent(tmp_path, with_size(recorded(tmp_path, kind), kind, PIPED[kind]))
    assert_all_is_read(path)
    assert probe(path).note is None


@pytest.mark.parametrize("riff_size", [0, 36, 0xFFFF_FFFF])
@pytest.mark.parametrize("data_size", [0, 0xFFFF_FFFF, 1.0])
def test_a_recorder_that_was_cut_off_leaves_any_pair_of_sizes(
    riff_size: int, data_size: float | int, tmp_path: Path
) -> None:
    content = with_size(recorded(tmp_path, "wav16"), "wav16", data_size)
    assert_all_is_read(sent(tmp_path, content[:4] + riff_size.to_bytes(4, "little") + content[8:]))


@pytest.mark.parametrize("share", [0.4, 0.8])
@pytest.mark.parametrize("kind", PLAIN)
def test_plain_sound_that_was_cut_off_is_read_as_far_as_it_goes_and_that_is_said(
    kind: str, share: float, tmp_path: Path
) -> None:
    content = recorded(tmp_path, kind)
    path = sent(tmp_path, content[: int(len(content) * share)])
    wav, _ = load_mono(path)
    assert wav.size == pytest.approx(share * SECONDS * RATE, rel=0.08)
    np.testing.assert_allclose(wav[:RATE], tone(1, RATE)[:, 0], atol=0.01)
    note = probe(path, name="Grandma.wav").note
    assert note is not None
    assert note.startswith("Grandma.wav says that it is 4.0 seconds long; what is there, ")


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
@pytest.mark.parametrize("size", [None, 0, 40_000, 2**40, 2**64 - 1])
def test_a_wav_for_more_than_4_gb_is_read_whatever_its_size_says(
    magic: bytes, size: int | None, tmp_path: Path
) -> None:
    content = recorded(tmp_path, "rf64")
    if size is not None:
        content = content[:28] + size.to_bytes(8, "little") + content[36:]
    assert_all_is_read(sent(tmp_path, magic + content[4:]))


def test_a_big_endian_wav_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.wav"
    sf.write(path, tone(SECONDS, RATE), RATE, format="WAV", subtype="PCM_16", endian="BIG")
    assert path.read_bytes()[:4] == b"RIFX"
    assert_all_is_read(path)
    content = path.read_bytes()
    at = content.index(b"data") + 4
    assert_all_is_read(sent(tmp_path, content[:at] + bytes(4) + content[at + 4 :]))


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST\x1a\x00\x00\x00INFOISFT\x0e\x00\x00\x00Lavf58.29.100\x00",
        b"LIST\x04\x00\x00\x00INFO" * 50 + b"id3 \x00\x20\x00\x00" + bytes(8_192),
        b"ID3\x04\x00\x00\x00\x00\x40\x00" + b"\x01" * 8_192,
        b"TAG" + bytes(125),
        b"\xff" * 3_000,
        bytes(50_000),
    ],
)
def test_what_lies_behind_the_sound_is_no_sound(behind: bytes, tmp_path: Path) -> None:
    path = sent(tmp_path, recorded(tmp_path, "wav16") + behind)
    assert load_mono(path)[0].size == SECONDS * RATE
    assert probe(path).note is None


def test_a_chunk_that_follows_an_odd_one_without_padding_is_no_sound(tmp_path: Path) -> None:
    content = write(tmp_path / "old.wav", "wav8", tone(1.0, RATE)[:-1], RATE).read_bytes()
    content = content[: 44 + RATE - 1]  # libsndfile pads
    path = sent(tmp_path, content + b"LIST\xff\x1f\x00\x00" + bytes(8_191))
    assert load_mono(path)[0].size == RATE - 1
    assert probe(path).note is None


@pytest.mark.parametrize("kind", SIZES)
def test_a_header_alone_holds_nothing(kind: str, tmp_path: Path) -> None:
    content = recorded(tmp_path, kind)
    name, length, added, _ = SIZES[kind]
    begins = content.index(name) + len(name) + length + (added if added != 24 else 0)
    begins = 24 if kind == "au" else begins
    path = sent(tmp_path, with_size(content, kind, 0)[:begins])
    try:
        assert load_mono(path)[0].size == 0
    except AudioError as error:
        assert str(error).endswith(".")


def test_a_wav_without_its_format_or_its_sound_is_refused(tmp_path: Path) -> None:
    content = recorded(tmp_path, "wav16")
    for bad in (content[:12] + content[36:], content[:36], content[:12], content[:20]):
        with pytest.raises(AudioError, match=r"^memo is (damaged or cut short|cut short or damaged).*\.$"):
            probe(sent(tmp_path, bad), name="memo")


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(b"id3 " + (90_000).to_bytes(4, "little") + bytes(range(1, 200)) * 300, id="cut-off tag"),
        pytest.param(b"\xff\xd8\xff\xe0" + bytes(range(1, 250)) * 100, id="picture"),
        pytest.param(b"<?xml version='1.0'?>" + b"<a>text</a>" * 2_000, id="text"),
    ],
)
def test_what_lies_behind_the_sound_and_is_none_is_not_heard(behind: bytes, tmp_path: Path) -> None:
    path = sent(tmp_path, recorded(tmp_path, "wav16") + behind)
    assert np.abs(load_mono(path)[0][round(SECONDS * RATE) :]).max(initial=0.0) < 0.01
