"""Recordings that are small, or in order, and cost much to whoever believes them; and what one costs.

python -m tests.hostile.heavy_recordings FOLDER FILE    take in as a server does, and say what became of it
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from pipelines.recordings.uploads import receive, receive_batch
from pipelines.settings import Settings
from rvc.errors import RvcError
from tests.hostile.bad_files import wav_header
from tests.sounds import tone, write, write_tracks

RATE = 16_000
SETTINGS = Settings(max_file_size_mb=100, max_audio_seconds=60)
MARKUP = "<img src=x onerror=alert(1)>"


def _hours(folder: Path, kind: str, rate_hz: int, channels: int, seconds: float) -> bytes:
    """Silence behind a click, which takes next to no room."""
    path = folder / f"hours.{kind}"
    with sf.SoundFile(path, "w", rate_hz, channels, format=kind) as file:
        file.write(np.full((100, channels), 9_000, np.int16))
        for _ in range(round(seconds)):
            file.write(np.zeros((rate_hz, channels), np.int16))
    return path.read_bytes()


def tables(folder: Path, count: int, kind: str = "m4a") -> bytes:
    """A recording whose tables state so many samples in one chunk: of M4A bytes, of MOV pieces of sound."""
    content = bytearray(write(folder / f"a.{kind}", kind, tone(2.0, RATE), RATE).read_bytes())
    size, duration = (2, 2) if kind == "mov" else (1, 1_024)
    sizes, chunks, times = (content.index(name) for name in (b"stsz", b"stsc", b"stts"))
    content[sizes + 8 : sizes + 16] = struct.pack(">II", size, count)
    content[chunks + 8 : chunks + 24] = struct.pack(">IIII", 1, 1, count, 1)
    content[times + 12 : times + 20] = struct.pack(">II", count, duration)
    return bytes(content)


def box(name: bytes, content: bytes) -> bytes:
    """A box of an M4A."""
    return struct.pack(">I", 8 + len(content)) + name + content


def free(length: int) -> bytes:
    """A box of an M4A that holds nothing."""
    return box(b"free", bytes(length - 8))


def _fragment(folder: Path, count: int) -> bytes:
    """An M4A with a fragment that states so many samples, and nothing of each."""
    whole = write(folder / "a.m4a", "m4a", tone(2.0, RATE), RATE).read_bytes()
    header = box(b"tfhd", struct.pack(">IIII", 0x18, 1, 1_024, 1))
    traf = box(b"traf", header + box(b"trun", struct.pack(">II", 0, count)))
    return whole + box(b"moof", box(b"mfhd", bytes(8)) + traf) + box(b"mdat", bytes(100))


def _cover_of_mp3(folder: Path, length: int) -> bytes:
    sound = write(folder / "a.mp3", "mp3", tone(2.0, RATE), RATE).read_bytes()
    size = bytes(length >> bits & 0x7F for bits in (21, 14, 7, 0))
    frame = b"APIC" + struct.pack(">I", length - 10) + b"\0\0" + b"\0image/png\0\3\0"
    return b"ID3\3\0\0" + size + frame.ljust(length, b"\0") + sound


def _cover_of_flac(folder: Path, length: int) -> bytes:
    whole = write(folder / "a.flac", "flac", tone(2.0, RATE), RATE).read_bytes()
    picture = struct.pack(">II", 3, 9) + b"image/png" + struct.pack(">6I", 0, 50_000, 50_000, 24, 0, length)
    block = b"\6" + struct.pack(">I", len(picture) + length)[1:] + picture + bytes(length)
    return whole[:4] + bytes([whole[4] & 0x7F]) + whole[5:42] + block + whole[42:]


def _cover_of_m4a(folder: Path, length: int) -> bytes:
    whole = write(folder / "a.m4a", "m4a", tone(2.0, RATE), RATE).read_bytes()
    moov = whole.index(b"moov") - 4  # the last box
    picture = box(b"data", struct.pack(">II", 13, 0) + b"\xff\xd8\xff".ljust(length, b"\0"))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    tags = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", box(b"covr", picture))))
    return whole[:moov] + box(b"moov", whole[moov + 8 :] + tags)


def _film(folder: Path, side: int) -> bytes:
    """A film whose pictures claim to be so large."""
    content = bytearray(
        write_tracks(folder / "a.mp4", "mp4", [("aac", tone(2.0, 48_000))], 48_000, film="mpeg4")
        .read_bytes()
    )  # fmt: skip
    at = content.index(b"mp4v") + 28
    content[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(content)


def _tracks(folder: Path, count: int) -> bytes:
    tracks = [("aac", tone(2.0, 48_000))] * count
    return write_tracks(folder / "a.mp4", "mp4", tracks, 48_000).read_bytes()


REFUSED: dict[str, Callable[[Path], bytes]] = {
    "two minutes in 20 kB of FLAC": lambda folder: _hours(folder, "flac", 8_000, 1, 120),
    "two minutes in 20 kB of Vorbis": lambda folder: _hours(folder, "ogg", 8_000, 1, 120),
    "two minutes in 20 kB of MP3": lambda folder: _hours(folder, "mp3", 8_000, 1, 120),
    "eight channels at 192 kHz": lambda folder: _hours(folder, "flac", 192_000, 8, 25),
    "65,535 channels": lambda _: wav_header(channels=65_535, align=0xFFFE, size=4_000_000) + bytes(4_000_000),
    "4 GHz": lambda _: wav_header(rate=0xFFFF_FFFF, size=4_000_000) + bytes(4_000_000),
    "a cover of 90 MB in an M4A": lambda folder: _cover_of_m4a(folder, 90_000_000),
    "a table of 170 million samples": lambda folder: tables(folder, 170_000_000),
    "a table of 30 million samples": lambda folder: tables(folder, 30_000_000),
    "a table of 8 million samples of sound": lambda folder: (
        tables(folder, 8_000_000, "mov") + free(90_000_000)
    ),
}
TAKEN: dict[str, Callable[[Path], bytes]] = {
    "a cover of 80 MB in an MP3": lambda folder: _cover_of_mp3(folder, 80_000_000),
    "a cover of 25 MB in an M4A": lambda folder: _cover_of_m4a(folder, 25_000_000),
    "a cover of 16 MB in a FLAC": lambda folder: _cover_of_flac(folder, 16_000_000),
    "a film of huge pictures": lambda folder: _film(folder, 0xFFFF),
    "thirty tracks": lambda folder: _tracks(folder, 30),
}
EITHER: dict[str, Callable[[Path], bytes]] = {
    "a fragment of 170 million samples": lambda folder: _fragment(folder, 170_000_000),
}


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1_000 for line in lines if line.startswith("VmHWM:"))


def main(folder: Path, sent: Path) -> None:
    """Take in one recording that is in order, and then the other, by itself and for a batch."""
    good = write(folder / "good.m4a", "m4a", tone(2.0, RATE), RATE)
    receive([(good, "good.m4a")], folder / "good", SETTINGS)
    rest_mb, began_s = _peak_mb(), time.process_time()
    said: dict[str, Any] = {"answers": []}
    (folder / "batch").mkdir()
    for take in (receive, receive_batch):
        try:
            take([(sent, "song")], folder / ("batch" if take is receive_batch else "one"), SETTINGS)
            said["answers"].append("")
        except RvcError as error:
            said["answers"].append(str(error))
    said |= {"grown_mb": _peak_mb() - rest_mb, "cpu_s": time.process_time() - began_s}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
