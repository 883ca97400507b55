"""Cases of files: joined, cut off, with wrong sizes, in containers of every kind."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soundfile as sf

from tests.cases.case import App, Row, judged
from tests.cases.sounds import RATE_HZ, syllables

SECONDS = 6.0
# Container and codec that FFmpeg writes them with.
VIDEO_KINDS = {
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "flac", 48_000),
    "mp4": ("mp4", "aac", 48_000),
    "mov": ("mov", "aac", 48_000),
    "3gp": ("3gp", "aac", 48_000),
    "wma": ("asf", "wmav2", 44_100),
}


def cases(app: App, folder: Path) -> Iterator[Row]:
    for kind, files in (("joined or begun late", _mpeg()), ("chained", _chained()), ("sizes", _wav_sizes())):
        for name, (content, seconds) in files.items():
            yield _heard(app, folder, (kind, name), content, seconds)
    for name in ("aiff", "caf", "au", "w64", "rf64"):
        buffer = io.BytesIO()
        sf.write(buffer, syllables(SECONDS), RATE_HZ, format=name.upper(), subtype="PCM_16")
        yield _heard(app, folder, ("container", name), buffer.getvalue(), SECONDS)
    for name, (container, codec, rate_hz) in VIDEO_KINDS.items():
        yield _heard(app, folder, ("container", name), _muxed(container, codec, rate_hz), SECONDS)


def _heard(app: App, folder: Path, case: tuple[str, str], content: bytes, seconds: float) -> Row:
    kind, name = case
    within_s = 0.2 if kind == "container" else 0.1  # their encoders pad
    path = folder / name.replace(" ", "_")
    path.write_bytes(content)
    expected = f"{seconds:g} s within {within_s:g} s"

    def read() -> tuple[str, bool]:
        (file,) = app.upload(path)["files"]
        said = f" ({file['note']})" if file.get("note") else ""
        return f"{file['seconds']:.2f} s{said}", abs(file["seconds"] - seconds) <= within_s

    return judged(kind, name, expected, read)


def _mpeg() -> dict[str, tuple[bytes, float]]:
    buffer = io.BytesIO()
    options = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.5}
    sf.write(buffer, syllables(SECONDS), RATE_HZ, format="MP3", **options)
    whole = buffer.getvalue()
    id3v2 = b"ID3\x03\x00\x00" + bytes([0, 0, 3, 16]) + bytes(400)
    id3v1 = b"TAG" + bytes(125)
    second = next(
        i
        for i in range(200, len(whole))
        if whole[i] == 0xFF and whole[i + 1] & 0xE0 == 0xE0 and whole[i + 2] >> 4 not in (0, 15)
    )
    return {
        "mp3 twice": (whole + whole, 2 * SECONDS),
        "mp3 twice, a tag between": (whole + id3v2 + whole, 2 * SECONDS),
        "mp3 twice, a tag behind each": (whole + id3v1 + whole + id3v1, 2 * SECONDS),
        "mp3 from amid a frame": (whole[second + 37 :], SECONDS),
        "mp3 behind zeros": (bytes(1500) + whole[second:], SECONDS),
        "mp3 behind text": (b"HTTP/1.0 200 OK\r\n\r\n" + whole[second:], SECONDS),
    }


def _chained() -> dict[str, tuple[bytes, float]]:
    kinds = {
        "ogg": ("OGG", "VORBIS"),
        "opus": ("OGG", "OPUS"),
        "flac": ("FLAC", "PCM_16"),
        "wav": ("WAV", "PCM_16"),
    }
    made = {}
    for name, (container, subtype) in kinds.items():
        buffer = io.BytesIO()
        sf.write(buffer, syllables(SECONDS), RATE_HZ, format=container, subtype=subtype)
        made[f"{name} twice"] = (buffer.getvalue() * 2, 2 * SECONDS)
    return made


def _wav_sizes() -> dict[str, tuple[bytes, float]]:
    buffer = io.BytesIO()
    sf.write(buffer, syllables(SECONDS), RATE_HZ, format="WAV", subtype="PCM_16")
    whole = buffer.getvalue()
    at = whole.index(b"data")
    size, riff = len(whole) - at - 8, len(whole) - 8
    sizes = {
        "data 0": (36, 0),
        "riff and data 0": (0, 0),
        "data 0, riff right": (riff, 0),
        "riff 0": (0, size),
        "open end": (0xFFFF_FFFF, 0xFFFF_FFFF),
        "half": (riff, size // 4 * 2),
        "twice as much as there is": (2 * riff, 2 * size),
    }
    return {
        name: (
            whole[:4]
            + struct.pack("<I", stated)
            + whole[8 : at + 4]
            + struct.pack("<I", data)
            + whole[at + 8 :],
            SECONDS,
        )
        for name, (stated, data) in sizes.items()
    }


def _muxed(container: str, codec: str, rate_hz: int) -> bytes:
    wav = np.interp(
        np.arange(round(SECONDS * rate_hz)) / rate_hz,
        np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ,
        syllables(SECONDS),
    )
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.AudioStream)
        stream.layout, stream.bit_rate = "mono", 96_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate_hz)
        frame = av.AudioFrame.from_ndarray(wav[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, 0
        fifo = av.AudioFifo()
        for part in resampler.resample(frame):
            fifo.write(part)
        while (chunk := fifo.read(stream.frame_size or 1024, partial=True)) is not None:
            file.mux(stream.encode(chunk))
        file.mux(stream.encode(None))
    return buffer.getvalue()
