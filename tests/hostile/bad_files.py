"""Bad files, made from a seed: recordings cut, bent or mislabelled, sizes that lie, zips with tricks."""

from __future__ import annotations

import io
import json
import random
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile as sf

from tests.sounds import tone, write

SEED = 20_260_801
KINDS = (
    "wav16", "wavfloat", "rf64", "aiff", "caf", "w64", "au", "flac", "vorbis", "opus", "mp3", "aac", "m4a",
    "mp4", "mov", "webm", "mkv",
)  # fmt: skip
CUTS, FLIPS = 6, 8
"""How many of each kind of recording."""

NAMES = (
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/shadow",
    "C:\\boot.ini",
    "a\0b.wav",
    "a\nb.wav",
    "\u202egpj.wav",
    "CON",
    "nul.wav",
    ".",
    "..",
    "",
    " ",
    "x" * 5_000 + ".wav",
    "<script>alert(1)</script>.wav",
    "'; DROP TABLE jobs; --.wav",
    "=HYPERLINK(1).wav",
    "%00.wav",
    "%2e%2e%2fregistry.json",
    "-rf",
    "💥" * 200,
    "registry.json",
)
"""What a file, or a voice, may be called."""

Case = tuple[str, bytes]
"""What it is, and the file."""


def bad_recordings(folder: Path) -> list[Case]:
    """Recordings as they should not be; what is bent may by chance still be one."""
    chance = random.Random(SEED)
    cases: list[Case] = []
    for kind in KINDS:
        rate_hz = 48_000 if kind == "webm" else 16_000
        whole = write(folder / f"whole.{kind}", kind, tone(1.2, rate_hz), rate_hz).read_bytes()
        for _ in range(CUTS):
            length = chance.randrange(1, len(whole))
            cases.append((f"{kind} cut to {length}", whole[:length]))
        cases += [(f"{kind} bent {number}", bent(whole, chance)) for number in range(FLIPS)]
        for other in ("junk before", "junk after"):
            junk = chance.randbytes(chance.randrange(1, 4_000))
            cases.append((f"{kind} {other}", junk + whole if other == "junk before" else whole + junk))
    return [*cases, *_mislabelled(chance), *_lying_headers()]


def endless(folder: Path) -> Iterator[Case]:
    """What to fill a file with so that it begins again and again, and never comes to the sound."""
    frame = b"\xff\xf3\x14\xc0" + bytes(20)  # 24 bytes are the least that an MP3 frame takes
    page = b"OggS\0\0" + bytes(21)
    w64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
    small = {
        kind: write(folder / kind, kind, tone(0.01, 16_000), 16_000).read_bytes()
        for kind in ("wav16", "aiff", "flac", "vorbis", "aac", "mkv")
    }
    yield "frames", frame
    yield "sync words", frame[:4]
    yield "sync bits", b"\xff"
    yield "frames and sync words", frame * 4 + frame[:4] * 16_000
    yield "frames and tags", frame * 4 + b"ID3\3\0\0\0\0\0\0" * 15
    yield "frames that state a length", frame[:4] + bytes(9) + b"Xing" + bytes(7) + frame * 3
    yield "tags", b"ID3\3\0\0\0\0\0\0"
    yield "short AAC frames", bytes([0xFF, 0xF1, 0x50, 0x80, 0x01, 0x1F, 0xFC, 0])
    yield "pages", page
    yield "pages and a byte each", page + b"x"
    yield "first pages", page[:5] + b"\2" + page[6:] + page
    yield "almost pages", b"OggS\1"
    yield "FLAC signs", b"fLaC"
    yield "FLAC heads", b"fLaC\0\0\0\x22"
    yield "MP4 heads", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
    yield "MP4 boxes", b"\0\0\0\x08free"
    yield "Matroska heads", b"\x1aE\xdf\xa3\x9fB\x82\x84webm"
    yield "WMA heads", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
    yield "AMR heads", b"#!AMR\n"
    yield "W64 heads", w64 + bytes(24)
    for kind, whole in small.items():
        yield f"small {kind}", whole
    for head in (b"RIFF\xff\xff\xff\xffWAVE", b"FORM\0\0\0\0AIFF", b"caff\0\1\0\0", w64 + bytes(24)):
        yield f"chunks behind {head[:4]!r}", head + b"junkjunkjunkjunk\x18\0\0\0\0\0\0\0" * 100_000
    yield "WAV signs", small["wav16"][:40] + bytes(4) + b"WAVE" * 100_000
    yield "WAVs of many chunks", small["wav16"][:36] + b"abcd\0\0\0\0" * 9_000 + small["wav16"][36:]
    yield "chunks behind the sound", small["wav16"] + b"junk\0\0\0\0" * 100_000


def bent(whole: bytes, chance: random.Random) -> bytes:
    """The bytes with some bits turned over, half of the time in the first hundred bytes."""
    content = bytearray(whole)
    within = min(len(content), 100) if chance.random() < 0.5 else len(content)
    for _ in range(chance.randrange(1, 20)):
        content[chance.randrange(within)] ^= 1 << chance.randrange(8)
    return bytes(content)


def _mislabelled(chance: random.Random) -> Iterator[Case]:
    yield "empty", b""
    yield "zeros", bytes(50_000)
    yield "noise", chance.randbytes(50_000)
    starts = {
        "program": b"\x7fELF\x02\x01\x01",
        "windows program": b"MZ\x90\x00",
        "picture": b"\x89PNG\r\n\x1a\n",
        "jpeg": b"\xff\xd8\xff\xe0",
        "pdf": b"%PDF-1.7\n",
        "page": b"<!doctype html><script>alert(1)</script>",
        "vector picture": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "playlist": b"#EXTM3U\nfile:///etc/passwd\n",
        "concat list": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
        "gzip": b"\x1f\x8b\x08\x00",
        "rar": b"Rar!\x1a\x07\x01\x00",
        "midi": b"MThd\x00\x00\x00\x06\x00\x01\x00\x01",
        "riff avi": b"RIFF\x24\x00\x00\x00AVI LIST",
        "matroska": b"\x1aE\xdf\xa3",
        "cue": b'FILE "/etc/passwd" BINARY\n',
    }
    for name, start in starts.items():
        yield name, start
        yield f"long {name}", start + chance.randbytes(20_000)


def _lying_headers() -> Iterator[Case]:
    """WAV files whose header promises what nobody can keep."""
    for name, fields in {
        "no channels": {"channels": 0},
        "60,000 channels": {"channels": 60_000},
        "nine channels": {"channels": 9},
        "no rate": {"rate": 0},
        "1 Hz": {"rate": 1},
        "4 GHz": {"rate": 0xFFFF_FFFF},
        "4 GB of data": {"size": 0xFFFF_FFFF},
        "no data": {"size": 0},
        "no bits": {"bits": 0},
        "a thousand bits": {"bits": 1_000},
        "another codec": {"codec": 0x1234},
        "no block": {"align": 0},
    }.items():
        yield f"wav with {name}", wav_header(**fields) + bytes(8_000)
    huge = (1 << 62, (1 << 63) - 1, (1 << 64) - 1)
    for size in huge:
        yield f"caf of {size}", b"caff\0\1\0\0free" + size.to_bytes(8, "big") + bytes(2_000)
        w64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
        yield f"w64 of {size}", w64 + bytes(24) + b"j" * 16 + size.to_bytes(8, "little") + bytes(2_000)
        box = b"\0\0\0\1moov" + size.to_bytes(8, "big")
        yield f"mp4 of {size}", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + box + bytes(2_000)
        yield (
            f"mkv of {size}",
            b"\x1aE\xdf\xa3" + (size | 1 << 56).to_bytes(9, "big")[-8:] + b"webm" + bytes(2_000),
        )
        yield (
            f"rf64 of {size}",
            b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0" + size.to_bytes(8, "little") * 3 + bytes(2_000),
        )
    yield "au far away", b".snd\0\0\xff\xff\0\0\0\0\0\0\0\3\0\0\x3e\x80\0\0\0\1" + bytes(2_000)
    yield "ID3 of 256 MB", b"ID3\3\0\0\x7f\x7f\x7f\x7f" + bytes(2_000)
    yield "playlist before sound", b"#EXTM3U\nfile:///etc/passwd\n" + b"\xff\xf3\x14\xc0" + bytes(20)
    values = {"not a number": np.nan, "infinity": np.inf, "huge values": 1e30}
    for name, value in values.items():
        out = io.BytesIO()
        sf.write(out, np.full(16_000, value, np.float32), 16_000, subtype="FLOAT", format="WAV")
        yield f"wav of {name}", out.getvalue()


def wav_header(  # noqa: PLR0913  # the fields of the format
    *,
    channels: int = 1,
    rate: int = 16_000,
    size: int = 8_000,
    bits: int = 16,
    codec: int = 1,
    align: int = 2,
) -> bytes:
    """A WAV header of 44 bytes with these fields."""
    rest = min(rate * align, 0xFFFF_FFFF)
    form = struct.pack("<HHIIHH", codec, channels, rate, rest, align, bits)
    riff = min(36 + size, 0xFFFF_FFFF)
    return (
        b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt \x10\0\0\0" + form + b"data" + struct.pack("<I", size)
    )


def zipped(content: Mapping[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files; names are taken as they are."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # some names occur twice
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name.replace("\0", "?")), data, method)
    return out.getvalue()


def recording() -> bytes:
    """A second of noise that is in order."""
    return wav_header(size=32_000) + random.Random(SEED).randbytes(32_000)


def card_with(**fields: object) -> bytes:
    """The card of `voice` with these fields."""
    card = {"format_version": 1, "engine": "lite", "name": "x", "sample_rate_hz": 24_000}
    return json.dumps(card | {"content_encoder": "toy", "content_dim": 64} | fields).encode()


def voice() -> dict[str, bytes]:
    """The files of a voice, in form."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(4)
    return {"card.json": card_with(), "model.safetensors": weights}


def bad_zips() -> list[Case]:
    """Zips that are neither recordings nor a voice, whole or in part."""
    chance = random.Random(SEED + 1)
    inside, good = {"a.wav": b"no sound"}, {**voice(), "a.wav": recording()}
    whole = zipped(good)
    cases = [(f"name {name[:20]!r}", zipped({**good, name: b"x"})) for name in NAMES if name]
    cases += [(f"cut {n}", whole[: chance.randrange(5, len(whole))]) for n in range(10)]
    cases += [(f"bent {n}", bent(whole, chance)) for n in range(15)]
    cases += [("empty", zipped({})), ("in a zip", zipped({"in.zip": zipped(inside)}))]
    cases += [("a bomb", zipped({f"{n}.wav": bytes(6_000_000) for n in range(3)}))]
    cases += [("many files", zipped({f"{n}.wav": b"" for n in range(2_000)}, zipfile.ZIP_STORED))]
    cases += [("a link", _of_mode(stat.S_IFLNK)), ("a device", _of_mode(stat.S_IFCHR))]
    cases += [("a pipe", _of_mode(stat.S_IFIFO)), ("a wrong size", _with_size(whole, 0xFFFF_FFF0))]
    cases += [("another size", _with_size(whole, 7)), ("deep", zipped({"d/" * 500 + "a.wav": b"x"}))]
    return cases


def bad_voices() -> list[Case]:
    """Zips of a voice of which one file is wrong."""
    chance = random.Random(SEED + 2)
    good = voice()
    cards: dict[str, bytes] = {
        "no json": b"{",
        "a list": b"[]",
        "deep json": b"[" * 100_000,
        "a newer format": b'{"format_version": 99}',
        "a wrong rate": good["card.json"].replace(b"24000", b"-1"),
        "a number for a name": good["card.json"].replace(b'"x"', b"5"),
        "a path for a name": good["card.json"].replace(b'"x"', b'"../../x"'),
        "half a character": good["card.json"].replace(b'"x"', b'"\\ud800"'),
        "an engine of its own": good["card.json"].replace(b"lite", b"os.system"),
        "no numbers": good["card.json"].replace(b"64", b"NaN"),
        "a long past": card_with(created_at="0001-01-01T00:00:00+23:59"),
        "no time of day": card_with(created_at="yesterday", consent={"given_at": 5, "statement": ["x"]}),
        "words for seconds": card_with(training={"seconds_of_audio": "many", "scores": "good"}),
        "infinite seconds": card_with(training={"seconds_of_audio": 1e300}, facts=[1], licence={"a": 1}),
        "endless consent": card_with(consent="yes " * 100_000, facts={"x\n" * 500: "<b>" * 500}),
        "a long card": b" " * 2_000_000 + good["card.json"],
    }
    weights: dict[str, bytes] = {
        "no weights": b"",
        "a huge header": struct.pack("<Q", 2**63) + b"{}",
        "a header of nothing": struct.pack("<Q", 2) + b"[]",
        "overlapping tensors": _overlapping(),
        "noise": chance.randbytes(5_000),
    }
    cases = [(name, zipped({**good, "card.json": content})) for name, content in cards.items()]
    cases += [(name, zipped({**good, "model.safetensors": content})) for name, content in weights.items()]
    pickle = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."
    others: dict[str, dict[str, bytes | str]] = {
        "only an index": {"added.index": b"IwFl" + bytes(90)},
        "an index with a name of markup": {"<b>'; DROP\u202e\n.index": b"IwFl"},
        "a voice in a zip in a zip": {"a.zip": zipped({"b.zip": zipped(good)})},
        "many voices": {f"{'x' * 200}{number}.pth": pickle for number in range(50)},
        "voices of one name": {"../x.pth": pickle, "/x.pth": pickle, "C:\\x.pth": pickle},
        "a voice that is a program": {"x.pth": pickle},
    }
    return cases + [(name, zipped(content)) for name, content in others.items()]


def _of_mode(mode: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (voice() | {"a.wav": recording()}).items():
            archive.writestr(name, data)
        info = zipfile.ZipInfo("b.wav")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def _with_size(whole: bytes, size: int) -> bytes:
    """The zip whose first entry states another unpacked size."""
    content = bytearray(whole)
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", size)
    return bytes(content)


def _overlapping() -> bytes:
    header = json.dumps({name: {"data_offsets": [0, 4]} for name in "ab"}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)
