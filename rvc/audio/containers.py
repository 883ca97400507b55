"""What a sound file is, by its first and last bytes: no decoder is opened here.

Names lie and decoders guess, so the first bytes decide which container a file is, and everything
after that is told which one to read. Some containers also promise a length that their decoders
quietly correct to what is there; the raw bytes still tell that a file was cut short.

Sources: RIFF/WAVE (Microsoft 1991), RFC 3533 (Ogg pages), ISO 11172-3 (MPEG frame headers),
         ISO 13818-7 (ADTS), id3.org (ID3v2 tag size).
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import filetype

CONTAINERS = ("wav", "mp3", "flac", "ogg", "m4a", "aac")

_HEAD_BYTES = 16_384
_OGG_PAGE_LIMIT_BYTES = 27 + 255 + 255 * 255
_RIFF_CHUNKS_LIMIT = 1_000
# Writers that cannot seek back leave a size near 2 or 4 GB, or none: "until the end of the file".
_WAV_OPEN_END_BYTES = 0x7FFF_0000
_CUT_TOLERANCE_S = 0.25

# Plain words for what people upload by mistake; anything else is named by its usual extension.
_PLAIN_NAMES = {
    "jpg": "a JPEG picture",
    "png": "a PNG picture",
    "gif": "a GIF picture",
    "webp": "a WebP picture",
    "pdf": "a PDF document",
    "zip": "a zip archive, to be unpacked first",
    "mid": "a MIDI file",
    "exe": "a program",
    "wmv": "a Windows Media file",
}


def sniff(path: Path) -> str | None:
    """Tell the container (one of `CONTAINERS`, or None) of a sound file by its content."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
            return "wav"
        if head[4:8] == b"ftyp":
            return "m4a"
        tagged = head[:3] == b"ID3"
        if tagged:
            head = _after_id3(file, head)
    for magic, container in ((b"fLaC", "flac"), (b"OggS", "ogg")):
        if head[:4] == magic:
            return container
    if _is_adts(head):
        return "aac"
    # Some taggers leave padding behind the tag: the tag alone is taken as an MP3's, and the decoder judges.
    return "mp3" if tagged or _is_mp3(head) else None


def describe(path: Path) -> str | None:
    """Say in plain words what a file is that is no sound file of ours, or None if it cannot be told."""
    kind = filetype.guess(str(path))
    if kind is None:
        return None
    if kind.extension in CONTAINERS:
        return f"a damaged {kind.extension.upper()} file"
    return _PLAIN_NAMES.get(kind.extension, f"a .{kind.extension} file")


def is_cut_short(path: Path, container: str) -> bool:
    """Whether 0.25 s of a WAV is missing or the last Ogg page torn; other decoders tell it themselves."""
    with path.open("rb") as file:
        if container == "wav":
            return _wav_is_cut(file, path.stat().st_size)
        if container == "ogg":
            return _ogg_is_cut(file, path.stat().st_size)
    return False


def states_length(path: Path) -> bool:
    """Tell whether an MP3 states its number of frames (a Xing, Info or VBRI header in its first frame)."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if head[:3] == b"ID3":
            head = _after_id3(file, head)
    return any(tag in head[:256] for tag in (b"Xing", b"Info", b"VBRI"))


def _after_id3(file: BinaryIO, head: bytes) -> bytes:
    """Read the bytes that follow an ID3v2 tag (its size is written in 7 bits a byte)."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    file.seek(10 + size)
    return file.read(_HEAD_BYTES)


def _is_adts(head: bytes) -> bool:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return False
    size = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    following = head[size : size + 2]
    return size >= 7 and (len(following) < 2 or (following[0] == 0xFF and following[1] & 0xF6 == 0xF0))


def _is_mp3(head: bytes) -> bool:
    """Check for a layer III frame header: sync, a version, a bit rate and a rate that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    version_exists = head[1] >> 3 & 0x03 != 1
    bit_rate_exists = 0 < head[2] >> 4 < 15
    return version_exists and bit_rate_exists and head[2] >> 2 & 0x03 != 3


def _wav_is_cut(file: BinaryIO, size_bytes: int) -> bool:
    if file.read(4) != b"RIFF":  # RF64 keeps its sizes elsewhere, and its writers are careful ones
        return False
    position, bytes_per_second = 12, 0
    for _ in range(_RIFF_CHUNKS_LIMIT):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return True  # the file ended before any sound data
        stated = int.from_bytes(header[4:], "little")
        if header[:4] == b"fmt ":
            bytes_per_second = int.from_bytes(file.read(12)[8:12], "little")
        if header[:4] == b"data":
            missing = stated - (size_bytes - position - 8)
            return stated < _WAV_OPEN_END_BYTES and missing > bytes_per_second * _CUT_TOLERANCE_S
        position += 8 + stated + stated % 2
    return False


def _ogg_is_cut(file: BinaryIO, size_bytes: int) -> bool:
    file.seek(max(0, size_bytes - 2 * _OGG_PAGE_LIMIT_BYTES))
    tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0:
        return False
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])
