"""What a sound file is, by its first bytes: no decoder is opened here.

Names lie and decoders guess, so the first bytes decide which container a file is, and everything after that
is told which one to read. Zeros, text or half a frame may lie before the sound.

Sources: RIFF/WAVE (Microsoft 1991), RFC 3533 (Ogg pages), ISO 14496-12 (MP4 boxes), RFC 8794 (EBML), the ASF
         specification (Microsoft 2004), RFC 4867 (AMR), Apple's AIFF and CAF, Sony's Wave64.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import filetype

from rvc.audio.frames import HEADERS, SEARCH_BYTES, find, tags_end
from rvc.audio.spans import is_zero, read_at

CONTAINERS = (
    "wav", "mp3", "flac", "ogg", "m4a", "aac", "aiff", "caf", "au", "w64", "amr",
    "wma", "webm", "mkv", "mp4", "mov", "3gp",
)  # fmt: skip
WAY_OUT = (
    "upload a recording (WAV, MP3, FLAC, OGG, M4A, AAC, AIFF, WMA) or a video with sound (MP4, MOV, WebM)"
)

_HEAD_BYTES = 64
_DAMAGED = "a damaged "
_BLOCK_BYTES = 1 << 22
_TRIES_LIMIT = 10_000
_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
# What to look for in the middle of a file, and how far behind the beginning of a recording it stands.
_LANDMARKS = {
    "wav": (b"WAVE", 8),
    "flac": (b"fLaC", 0),
    "ogg": (b"OggS", 0),
    "aiff": (b"AIF", 8),
    "caf": (b"caff", 0),
    "au": (b".snd", 0),
    "w64": (_W64, 0),
    "amr": (b"#!AMR", 0),
    "wma": (_ASF, 0),
    "mkv": (b"\x1aE\xdf\xa3", 0),
    "mp4": (b"ftyp", 4),
}
_SIGNS = {
    b"fLaC\x00\x00\x00\x22": "flac",
    b"fLaC\x80\x00\x00\x22": "flac",
    b"OggS\x00": "ogg",
    b"caff\x00\x01": "caf",
    _W64: "w64",
    _ASF: "wma",
    b"#!AMR": "amr",
}
_BRANDS = {b"M4": "m4a", b"3g": "3gp"}
_FAMILIES = {"webm": "mkv", "m4a": "mp4", "mov": "mp4", "3gp": "mp4"}
_PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jxl ")

# Plain words for what people upload by mistake; anything else is named by its usual extension.
_PLAIN_NAMES = {
    "jpg": "a JPEG picture",
    "png": "a PNG picture",
    "gif": "a GIF picture",
    "webp": "a WebP picture",
    "heic": "a HEIC picture",
    "avif": "an AVIF picture",
    "pdf": "a PDF document",
    "zip": "a zip archive, to be unpacked first",
    "midi": "a MIDI file, which holds notes and no sound",
    "exe": "a program",
    "elf": "a program",
    "avi": "an AVI video",
    "flv": "a Flash video",
    "mpg": "an MPEG video",
}
_UNREADABLE = {  # kinds of sound that filetype does not know
    b"MAC ": "a Monkey's Audio file",
    b"wvpk": "a WavPack file",
    b"TTA1": "a True Audio file",
    b"MPCK": "a Musepack file",
    b"MP+": "a Musepack file",
    b"DSD ": "a DSD file",
    b"FRM8": "a DSD file",
    b".RMF": "a RealMedia file",
    b".ra\xfd": "a RealAudio file",
    b"ADIF": "an AAC file of the ADIF kind",
    b"\x0bw": "a Dolby Digital (AC-3) file",
    b"\x7f\xfe\x80\x01": "a DTS file",
    b"Creative Voice File": "a Creative Voice file",
    b"NIST_1A": "a NIST SPHERE file",
}


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where the sound of a file begins, and in what it is packed."""

    container: str  # one of `CONTAINERS`
    start: int
    skipped: int = 0  # bytes before it that are no tag


def sniff(path: Path) -> str | None:
    """Tell the container (one of `CONTAINERS`, or None) of a sound file by its content."""
    located = locate(path)
    return located.container if located else None


def locate(path: Path) -> Located | None:
    """Find the sound in a file: at its beginning, behind tags, or behind up to 64 kB of something else."""
    end = path.stat().st_size
    with path.open("rb") as file:
        tags = tags_end(file)
        start = tags if tags < end else 0
        for at in dict.fromkeys((0, start)):
            if container := container_of(read_at(file, at, _HEAD_BYTES)):
                return Located(container=container, start=at)
        found = []
        for container, header in HEADERS.items():
            place = find(file, start, end, header)
            if place.found:
                padded = start > 0 and is_zero(
                    file, start, place.at
                )  # some taggers leave room behind the tag
                skipped = 0 if padded else place.skipped
                found.append(Located(container=container, start=place.at, skipped=skipped))
        if all(located.skipped for located in found):  # the weaker evidence: only where nothing else is known
            kind = describe(path)
            if kind is not None and not kind.startswith(_DAMAGED):
                return None
            for container in _LANDMARKS:
                begins = next_start(file, container, start, min(end, start + SEARCH_BYTES))
                if begins is not None:
                    exactly = container_of(read_at(file, begins, _HEAD_BYTES)) or container
                    found.append(Located(container=exactly, start=begins, skipped=begins - start))
    return min(found, key=lambda located: located.skipped, default=None)


def describe(path: Path) -> str | None:
    """Say in plain words what a file is that is no sound file of ours, or None if it cannot be told."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for magic, name in _UNREADABLE.items():
        if head.startswith(magic):
            return name
    kind = filetype.guess(str(path))
    if kind is None:
        return None
    if kind.extension in CONTAINERS:
        return f"{_DAMAGED}{kind.extension.upper()} file"
    return _PLAIN_NAMES.get(kind.extension, f"a .{kind.extension} file")


def container_of(head: bytes) -> str | None:
    """Tell the container that begins with these 64 bytes, or None; MP3 and AAC have no such sign."""
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] in (b".snd", b"dns."):
        order: Literal["little", "big"] = "big" if head[:4] == b".snd" else "little"
        return "au" if 24 <= int.from_bytes(head[4:8], order) < 1 << 16 else None
    if head[:4] == b"\x1aE\xdf\xa3":
        return "webm" if b"webm" in head else "mkv"
    if head[4:8] == b"ftyp":
        size, brand = int.from_bytes(head[:4]), head[8:12]
        if not 16 <= size <= 1_024 or not brand.isascii() or brand in _PICTURES:
            return None
        return "mov" if brand == b"qt  " else _BRANDS.get(brand[:2], "mp4")
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):  # QuickTime before it had brands
        return "mov"
    return next((container for sign, container in _SIGNS.items() if head.startswith(sign)), None)


def begins_with(head: bytes, container: str) -> bool:
    """Whether a file of this container, or of its family, begins with these bytes."""
    found = container_of(head)
    return found is not None and _FAMILIES.get(found, found) == _FAMILIES.get(container, container)


def next_start(file: BinaryIO, container: str, at: int, end: int) -> int | None:
    """Find where another recording of this container, or of its family, begins in these bytes of a file."""
    sign, before = _LANDMARKS[_FAMILIES.get(container, container)]
    tries = 0
    while at < end:
        block = read_at(file, at, min(_BLOCK_BYTES, end - at))
        found = block.find(sign, before)
        while found >= 0:
            begins = found - before
            if begins_with(block[begins : begins + _HEAD_BYTES], container):
                return at + begins
            tries += 1
            found = block.find(sign, found + 1) if tries < _TRIES_LIMIT else -1
        if len(block) < _BLOCK_BYTES or tries == _TRIES_LIMIT:
            return None
        at += len(block) - _HEAD_BYTES
    return None
