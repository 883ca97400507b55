from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rvc.audio.containers import describe, sniff
from tests.sounds import CONTAINERS, KINDS, tone, write

ID3 = b"ID3\x04\x00\x00\x00\x00\x02\x00" + b"\0" * 256


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "anything.txt", kind, tone(0.3, 48_000), 48_000)
    assert sniff(path) == CONTAINERS[kind]


@pytest.mark.parametrize("kind", ["mp3", "aac", "flac"])
def test_a_tag_before_the_sound_hides_nothing(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "song", kind, tone(0.3, 48_000), 48_000)
    path.write_bytes(ID3 + path.read_bytes())
    assert sniff(path) == CONTAINERS[kind]


@pytest.mark.parametrize(
    "content",
    [
        b"To be, or not to be\n" * 200,
        "Zürich".encode("utf-16") * 200,  # begins with FF FE, almost an MPEG frame
        b"\xff" * 2_000,
        bytes(2_000),
        b"RIFF\x00\x01\x00\x00AVI LIST" + bytes(500),
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"x",
    ],
)
def test_what_is_no_sound_is_not_taken_for_one(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    assert sniff(path) is None


def test_random_bytes_are_hardly_ever_taken_for_sound(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    random = np.random.default_rng(5)
    taken = 0
    for _ in range(500):
        path.write_bytes(random.bytes(400))
        taken += sniff(path) is not None
    assert taken <= 3


def test_common_mistakes_are_called_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    assert describe(path) == "a PNG picture"
    path.write_bytes(b"PK\x03\x04" + bytes(500))
    assert describe(path) == "a zip archive, to be unpacked first"
    path.write_bytes(b"MThd\x00\x00\x00\x06\x00\x01\x00\x01" + bytes(500))
    assert describe(path) == "a MIDI file, which holds notes and no sound"
    path.write_bytes(b"RIFF\x00\x01\x00\x00AVI LIST" + bytes(500))
    assert describe(path) == "an AVI video"
    path.write_bytes(b"wvpk" + bytes(500))
    assert describe(path) == "a WavPack file"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1" + bytes(500))
    assert describe(path) == "a HEIC picture"
    path.write_bytes(b"nothing that has a name")
    assert describe(path) is None
