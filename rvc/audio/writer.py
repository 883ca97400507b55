"""Sound files out: WAV, FLAC, MP3 and Ogg Vorbis, block by block, and whole or not at all.

Shapes:  N = samples; audio is float32 in -1..1: mono of shape (N,), or (N, C) of C channels.
Atomic:  a file appears under its name only when it is complete (a hidden file beside it, then a rename).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from rvc.audio.resampling import StreamResampler
from rvc.errors import AudioError, ConfigError

logger = logging.getLogger(__name__)

WRITABLE = ("wav", "flac", "mp3", "ogg")

_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# libsndfile's Vorbis encoder puts a whole write on the stack: a minute at once overflows it.
_WRITE_SAMPLES = 65_536
_WAV_LIMIT_BYTES = 2**32 - 2**16
_DEFAULT_BITS = {"wav": 16, "flac": 24}
_SUBTYPES = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}
# What a file of every format can say of itself: INFO chunk of WAV, ID3 of MP3, comments of FLAC and Ogg.
TAGS = ("title", "artist", "software", "date", "comment")


class AudioWriter:
    """Write a recording block by block: `with AudioWriter(path, 24_000) as out: out.write(block)`.

    The file exists under its name only after the `with` ends without an error; otherwise nothing is left. MP3
    knows nine rates: other ones are raised to the next. `bits` is 16, 24, or 32 for WAV as floating point
    (16 for WAV and 24 for FLAC by default; MP3 and Ogg have none). `tags` has names of `TAGS`; the formats
    disagree about letters beyond ASCII, so these become question marks. `on_written` may change the file
    before it gets its name.
    """

    def __init__(  # noqa: PLR0913 -- by name, and all have a default
        self,
        path: Path,
        rate_hz: int,
        format: str = "wav",
        *,
        bits: int | None = None,
        tags: Mapping[str, str] | None = None,
        channels: int = 1,
        on_written: Callable[[Path], None] | None = None,
    ) -> None:
        if format not in WRITABLE:
            raise ConfigError(f"Unknown audio format {format!r}; choose one of: {', '.join(WRITABLE)}.")
        allowed = {"wav": (16, 24, 32), "flac": (16, 24)}.get(format, ())
        if bits is not None and bits not in allowed:
            raise ConfigError(f"A {format} file cannot have {bits} bits per sample; leave the bits out.")
        if unknown := set(tags or {}) - set(TAGS):
            raise ValueError(f"A sound file has no tags {unknown}.")
        self._tags = dict(tags or {})
        self._on_written = on_written
        self.path = path
        self.rate_hz = rate_hz
        self.format = format
        self.bits = bits or _DEFAULT_BITS.get(format)
        self.channels = channels
        self.samples = 0
        self.clipped_samples = 0
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        self._file: sf.SoundFile | None = None
        self._resampler = StreamResampler(rate_hz, _file_rate(rate_hz, format), channels)

    def __enter__(self) -> AudioWriter:
        options: dict[str, object] = {"subtype": _SUBTYPES[self.bits]} if self.bits else {}
        if self.format == "mp3":
            options = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.0}
        elif self.format == "ogg":
            options = {"subtype": "VORBIS", "compression_level": 0.3}
        try:
            self._file = sf.SoundFile(
                self._temporary,
                "w",
                self._resampler.to_hz,
                self.channels,
                format=self.format.upper(),
                **options,
            )
            # Before the first sample: only then do FLAC, Ogg and MP3 have a place for them.
            for name, text in self._tags.items():
                setattr(self._file, name, text.encode("ascii", "replace").decode())
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise
        return self

    def write(self, block: NDArray[np.float32]) -> None:
        """Append samples, shape (n,) or (n, C), in -1..1; those outside are clipped and counted."""
        block = np.asarray(block, dtype=np.float32)
        if not np.isfinite(block).all():
            raise ValueError(f"{self.path.name}: a block to be written contains NaN or infinity.")
        self.samples += len(block)
        if self.format == "wav" and self.samples * self.channels * (self.bits or 16) // 8 > _WAV_LIMIT_BYTES:
            raise AudioError(f"{self.path.name} would be larger than a WAV file can be; choose FLAC.")
        self._append(self._resampler.push(block))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._append(self._resampler.finish())
            if self._file is not None:
                self._file.close()
            if kind is None:
                if self._on_written is not None and self.samples:
                    self._on_written(self._temporary)
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
        if self.clipped_samples:
            logger.warning("%s: %d of %d samples clipped", self.path.name, self.clipped_samples, self.samples)

    def _append(self, wav: NDArray[np.float32]) -> None:
        assert self._file is not None, "write inside the with block"
        if self.bits != 32:  # floating point keeps what lies outside
            self.clipped_samples += int(np.count_nonzero(np.abs(wav) > 1.0))
            wav = np.clip(wav, -1.0, 1.0)
        for start in range(0, len(wav), _WRITE_SAMPLES):
            self._file.write(wav[start : start + _WRITE_SAMPLES])


def save(path: Path, wav: NDArray[np.float32], rate_hz: int, *, bits: int | None = None) -> None:
    """Write a whole mono recording, in the format that the extension names (see `AudioWriter`)."""
    with AudioWriter(path, rate_hz, path.suffix.lower().removeprefix("."), bits=bits) as file:
        file.write(wav)


def _file_rate(rate_hz: int, format: str) -> int:
    if format != "mp3":
        return rate_hz
    return next((known for known in _MP3_RATES_HZ if known >= rate_hz), _MP3_RATES_HZ[-1])
