"""Sound files for tests: known tones in every container, written by the libraries themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile as sf
from av.container import OutputContainer
from numpy.typing import NDArray

_SOUNDFILE = {
    "wav16": ("WAV", "PCM_16"),
    "wav8": ("WAV", "PCM_U8"),
    "wav24": ("WAV", "PCM_24"),
    "wav32": ("WAV", "PCM_32"),
    "wavfloat": ("WAV", "FLOAT"),
    "wavdouble": ("WAV", "DOUBLE"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
_AV = {
    "m4a": ("ipod", "aac"),
    "aac": ("adts", "aac"),
    "alac": ("ipod", "alac"),
    "mp4": ("mp4", "aac"),
    "mov": ("mov", "pcm_s16le"),
    "3gp": ("3gp", "aac"),
    "webm": ("webm", "libopus"),
    "mkv": ("matroska", "flac"),
}

KINDS = (*_SOUNDFILE, *_AV)
# Sound as it is, sample by sample, behind a header that says how much.
PLAIN = ("wav16", "wav8", "wav24", "wav32", "wavfloat", "wavdouble", "rf64", "aiff", "au", "caf", "w64")
PACKED = tuple(kind for kind in KINDS if kind not in PLAIN)
CONTAINERS = {
    **{kind: format.lower() for kind, (format, _) in _SOUNDFILE.items()},
    **{kind: kind for kind in _AV},
    "rf64": "wav",
    "alac": "m4a",
}


def tone(seconds: float, rate_hz: int, *, hz: float = 220.0, channels: int = 1) -> NDArray[np.float32]:
    """A sine at -10 dBFS, shape (N, channels); the channels are the same."""
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def below_hearing(samples: int, rate_hz: int) -> dict[str, NDArray[np.float64]]:
    """What a microphone may add that nobody hears, as loud as speech: (N,) each."""
    time_s = np.arange(samples) / rate_hz
    return {
        "offset": np.full(samples, 0.3),
        "15 Hz": 0.3 * np.sin(2 * np.pi * 15 * time_s),
        "30 Hz": 0.3 * np.sin(2 * np.pi * 30 * time_s),
        "drift": np.linspace(-0.3, 0.3, samples),
    }


def write(path: Path, kind: str, wave: NDArray[np.float32], rate_hz: int) -> Path:
    """Write samples of shape (N, channels) as one of `KINDS`, under any name."""
    if kind in _AV:
        format, codec = _AV[kind]
        return write_tracks(path, format, [(codec, wave)], rate_hz)
    container, subtype = _SOUNDFILE[kind]
    with sf.SoundFile(path, "w", rate_hz, wave.shape[1], format=container, subtype=subtype) as file:
        for start in range(0, len(wave), 65_536):
            file.write(wave[start : start + 65_536])
    return path


def write_silence(path: Path, seconds: float, rate_hz: int) -> Path:
    """Write a 16-bit WAV of any length at once: a header, and a hole in the file for the sound."""
    sf.write(path, np.zeros(1), rate_hz, subtype="PCM_16", format="WAV")
    content = bytearray(path.read_bytes())
    size_at = content.index(b"data") + 4
    size_bytes = round(seconds * rate_hz) * 2
    content[size_at : size_at + 4] = size_bytes.to_bytes(4, "little")
    path.write_bytes(content)
    os.truncate(path, size_at + 4 + size_bytes)
    return path


def write_tracks(
    path: Path,
    format: str,
    tracks: Sequence[tuple[str, NDArray[np.float32]]],
    rate_hz: int,
    *,
    film: str | None = None,
) -> Path:
    """Write sound tracks, each a codec and samples (N, channels), and a film of 2 s if its codec is named."""
    with av.open(str(path), "w", format=format) as file:
        pictures = file.add_stream(film, rate=5) if film else None
        if isinstance(pictures, av.VideoStream):
            pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        streams = []
        for codec, wave in tracks:
            stream = file.add_stream(codec, rate=rate_hz)
            assert isinstance(stream, av.AudioStream)
            stream.layout = {1: "mono", 2: "stereo", 6: "5.1"}[wave.shape[1]]
            stream.bit_rate = 128_000 if rate_hz > 8_000 else 12_200
            streams.append(stream)
        if isinstance(pictures, av.VideoStream):
            for number in range(10):
                grey = np.full((64, 64, 3), 20 * number, np.uint8)
                picture = av.VideoFrame.from_ndarray(grey, format="rgb24")
                picture.pts = number
                file.mux(pictures.encode(picture))
            file.mux(pictures.encode(None))
        for stream, (_, wave) in zip(streams, tracks, strict=True):
            _encode(file, stream, wave, rate_hz)
    return path


def _encode(file: OutputContainer, stream: av.AudioStream, wave: NDArray[np.float32], rate_hz: int) -> None:
    formats = [format.name for format in stream.codec_context.codec.audio_formats or ()]
    format = next(name for name in ("fltp", "flt", "s16p", "s16") if name in formats)
    samples: NDArray[Any] = wave if format.startswith("f") else (wave * 32767).astype(np.int16)
    samples = samples.T if format.endswith("p") else samples.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples), format=format, layout=stream.layout.name
    )
    frame.sample_rate = rate_hz
    frame.pts = 0
    file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
