"""Bad files sent to "Is this synthetic?": each is refused in a sentence, or answered; nothing hangs."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from pipelines.marks.inspection import _inspect, inspect
from pipelines.marks.manifest import READABLE, read_manifest
from rvc.errors import RvcError
from tests.hostile.bad_files import SEED, bad_recordings, wav_header
from tests.hostile.test_files import sentence_of
from tests.sounds import tone, write
from ui.look.marks_found import marks_card

# What a manifest lies in: a box of JUMBF, in a chunk of a WAV.
BOX = bytes.fromhex("00000040") + b"jumb" + bytes.fromhex("0000001e") + b"jumdc2pa"
BOX += bytes.fromhex("00110010800000aa00389b7103") + b"c2pa\0"


def test_every_bad_recording_is_answered_or_refused(tmp_path: Path) -> None:
    """As in the child, which runs each in its own; the first dozen of each kind of damage do here."""
    sent, refused, answered = tmp_path / "sent", 0, 0
    for what, content in bad_recordings(tmp_path)[::3]:
        sent.write_bytes(content)
        try:
            found = _inspect({"path": str(sent), "name": what})
        except RvcError as error:
            sentence_of(error, tmp_path)
            refused += 1
        else:
            assert found.startswith(b"{"), what
            answered += 1
    assert refused > 30
    assert answered > 5


def test_a_manifest_that_is_none_is_told_as_found_and_not_believed(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    whole = write(tmp_path / "whole.wav", "wav16", tone(1.5, 16_000), 16_000).read_bytes()
    for box in (BOX, BOX[:20], BOX + chance.randbytes(4_000), b"\xff\xff\xff\xff" + BOX[4:], BOX * 2_000):
        chunk = b"C2PA" + len(box).to_bytes(4, "little") + box + bytes(len(box) % 2)
        content = bytearray(whole + chunk)
        content[4:8] = (len(content) - 8).to_bytes(4, "little")
        path = tmp_path / "sent.wav"
        path.write_bytes(content)
        found = inspect(path, "sent.wav")
        assert found["manifest"].get("state") not in ("Valid", "Trusted")
        assert not found["manifest"].get("synthetic")
        assert "sent.wav" in marks_card(found)


@pytest.mark.parametrize("container", READABLE)
def test_noise_under_any_name_has_no_manifest(container: str, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    for content in (
        b"",
        b"\0" * 5_000,
        chance.randbytes(20_000),
        BOX * 50,
        b"RIFF\xff\xff\xff\xffWAVE" + BOX,
    ):
        (tmp_path / "x").write_bytes(content)
        found = read_manifest(tmp_path / "x", container)
        assert found.get("state") not in ("Valid", "Trusted")


def test_a_small_file_that_promises_much_costs_one_child(tmp_path: Path) -> None:
    path = tmp_path / "sent.wav"
    path.write_bytes(wav_header(size=0xFFFF_FFF0) + bytes(2_000))
    began = time.monotonic()
    try:
        inspect(path, "sent.wav")
    except RvcError as error:
        sentence_of(error, tmp_path)
    assert time.monotonic() - began < 60.0
