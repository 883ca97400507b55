"""Sound files for tests: known tones in every container, written by the libraries themselves."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import soundfile as sf
from numpy.typing import NDArray

_SOUNDFILE = {
    "wav16": ("WAV", "PCM_16"),
    "wav8": ("WAV", "PCM_U8"),
    "wav24": ("WAV", "PCM_24"),
    "wav32": ("WAV", "PCM_32"),
    "wavfloat": ("WAV", "FLOAT"),
    "wavdouble": ("WAV", "DOUBLE"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
_AV = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "alac": ("ipod", "alac")}

KINDS = (*_SOUNDFILE, *_AV)
CONTAINERS = {
    **{kind: format.lower() for kind, (format, _) in _SOUNDFILE.items()},
    "m4a": "m4a",
    "aac": "aac",
    "alac": "m4a",
}


def tone(seconds: float, rate_hz: int, *, hz: float = 220.0, channels: int = 1) -> NDArray[np.float32]:
    """A sine at -10 dBFS, shape (N, channels); the channels are the same."""
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def write(path: Path, kind: str, wave: NDArray[np.float32], rate_hz: int) -> Path:
    """Write samples of shape (N, channels) as one of `KINDS`, under any name."""
    if kind in _AV:
        return _write_av(path, kind, wave, rate_hz)
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


def _write_av(path: Path, kind: str, wave: NDArray[np.float32], rate_hz: int) -> Path:
    container, codec = _AV[kind]
    layout = "mono" if wave.shape[1] == 1 else "stereo"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        planar = np.ascontiguousarray(wave.T)
        if codec == "alac":
            planar = (planar * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            planar, format="s16p" if codec == "alac" else "fltp", layout=layout
        )
        frame.sample_rate = rate_hz
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path
