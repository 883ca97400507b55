"""The only audio input and output: files in, mono float32 blocks out, and back.

Shapes:  N = samples. Audio is mono, float32, shape (N,), nominally in -1..1.
Reads:   WAV, MP3, FLAC, OGG (Vorbis, Opus), M4A and AAC. libsndfile reads WAV, FLAC and Ogg; FFmpeg (PyAV)
         reads the rest, MP3 included: for a cut MP3 libsndfile's blocks come out as many as the header
         promised, and FFmpeg trims the encoder's padding to the sample.
Trust:   a file is a stranger's. Its content decides what it is (containers.py), FFmpeg is confined to these
         formats and to local files, and lengths are counted while decoding, because headers lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile as sf
from av.container import InputContainer
from numpy.typing import NDArray

from rvc.audio.containers import describe, is_cut_short, sniff, states_length
from rvc.audio.resampling import StreamResampler
from rvc.errors import AudioError

Wave = NDArray[np.float32]

MAX_CHANNELS = 2
MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 192_000
# +24 dB over full scale: a float file beyond it was written in another unit (int16 values as floats).
MAX_MAGNITUDE = 16.0

_READ_S = 1.0
# Encoders trim and pad by a frame or two; a file is cut short when more than this is missing.
_MISSING_S = 0.25
_MISSING_SHARE = 0.002

# A FLAC from a pipe states no length; libsndfile then says 2**63 - 1, and loses the last block.
_FRAMES_LIMIT = 2**60

_FORMATS = {"wav": "wav", "mp3": "mp3", "flac": "flac", "ogg": "ogg", "m4a": "mov", "aac": "aac"}
_CONFINED = {"format_whitelist": "wav,mp3,mov,mp4,m4a,flac,ogg,aac", "protocol_whitelist": "file"}
_WAY_OUT = "upload WAV, MP3, FLAC, OGG, M4A or AAC"


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    container: str  # one of `CONTAINERS`, by content
    codec: str  # "pcm_16", "float", "flac", "vorbis", "opus", "mp3", "aac", "alac", ...
    sample_rate_hz: int
    channels: int
    seconds: float  # by the header: a promise, not a fact
    length_is_stated: bool = True  # False where it is guessed from the size (AAC, MP3 without a Xing header)
    reader: str = "soundfile"  # or "pyav": which library opens it


def probe(path: Path, *, name: str | None = None) -> AudioInfo:
    """Tell what a sound file is, by its content, without decoding it all; messages call it `name`.

    Raises:
        AudioError: It is missing, empty, no sound file of a known kind, cut short by its own account, has
            more than two channels, or a rate outside 4-192 kHz.
    """
    name = name or path.name
    if not path.is_file():
        raise AudioError(f"{name} does not exist; choose the file again.")
    if path.stat().st_size == 0:
        raise AudioError(f"{name} is empty (0 bytes); record or export it again.")
    container = sniff(path)
    if container is None:
        raise AudioError(f"{name} is {describe(path) or 'not a recording'}; {_WAY_OUT}.")
    if is_cut_short(path, container):
        raise _cut_short(name)
    info = _probe_soundfile(path, container, name) or _probe_av(path, container, name)
    if info.channels > MAX_CHANNELS:
        raise AudioError(f"{name} has {info.channels} channels; export it as mono or stereo.")
    if not MIN_RATE_HZ <= info.sample_rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"{name} is sampled at {info.sample_rate_hz} Hz; export it at 48000 Hz.")
    return info


def blocks(  # noqa: PLR0913 -- by name, and all have a default
    path: Path,
    *,
    rate_hz: int | None = None,
    block_s: float = 10.0,
    max_seconds: float | None = None,
    name: str | None = None,
    info: AudioInfo | None = None,
) -> Iterator[Wave]:
    """Decode a recording piece by piece, mixed to mono, in memory that does not grow with its length.

    The pieces joined are round(N * rate_hz / file rate) samples for N decoded ones, the same whatever
    `block_s` is. Whoever has probed the file already passes on what was found.

    Raises:
        AudioError: See `probe`; or the recording is longer than `max_seconds`, cut short, damaged, or
            contains samples that are not numbers or far outside -1..1.
    """
    name = name or path.name
    info = info or probe(path, name=name)
    if max_seconds is not None and info.length_is_stated and info.seconds > max_seconds:
        raise _too_long(name, max_seconds)
    rate_hz = rate_hz or info.sample_rate_hz
    size = max(1, round(block_s * rate_hz))
    resampler = StreamResampler(info.sample_rate_hz, rate_hz)
    waiting: list[Wave] = []
    length = 0
    for piece in _resampled(_mono(path, info, max_seconds, name), resampler):
        waiting.append(piece)
        length += piece.size
        if length >= size:
            joined = np.concatenate(waiting)
            whole = length - length % size
            yield from (joined[i : i + size] for i in range(0, whole, size))
            waiting, length = [joined[whole:]], length - whole
    if length:
        yield np.concatenate(waiting)


def load_mono(
    path: Path, *, rate_hz: int | None = None, max_seconds: float | None = None, name: str | None = None
) -> tuple[Wave, int]:
    """Decode a whole recording, mixed to mono; see `blocks`. Returns samples of shape (N,) and their rate."""
    info = probe(path, name=name)
    rate_hz = rate_hz or info.sample_rate_hz
    wav = np.empty(0, dtype=np.float32)
    length = 0
    # Grown in place by a quarter: joining a list of blocks would hold an hour twice.
    for block in blocks(path, rate_hz=rate_hz, max_seconds=max_seconds, name=name, info=info):
        if length + block.size > wav.size:
            wav.resize(max(length + block.size, wav.size * 5 // 4), refcheck=False)
        wav[length : length + block.size] = block
        length += block.size
    wav.resize(length, refcheck=False)
    return wav, rate_hz


def _probe_soundfile(path: Path, container: str, name: str) -> AudioInfo | None:
    """Open with libsndfile; None where FFmpeg is the better or the only reader."""
    if container not in ("wav", "flac", "ogg"):
        return None
    try:
        with path.open("rb") as handle, sf.SoundFile(handle.fileno(), closefd=False) as file:
            codec, frames = file.subtype.lower(), file.frames
            rate_hz, channels = file.samplerate, file.channels
    except sf.LibsndfileError:
        return None
    if frames > _FRAMES_LIMIT:
        return None
    seconds = frames / rate_hz
    if container == "ogg":  # libsndfile counts only pages that are whole; FFmpeg, what the last one says
        seconds = max(seconds, _probe_av(path, container, name).seconds)
    return AudioInfo(
        container=container,
        codec="flac" if container == "flac" else codec,
        sample_rate_hz=rate_hz,
        channels=channels,
        seconds=seconds,
    )


def _probe_av(path: Path, container: str, name: str) -> AudioInfo:
    """Open with FFmpeg and decode one frame: HE-AAC tells its true rate and channels only there."""
    try:
        with _open_av(path, container) as file:
            if not file.streams.audio:
                raise AudioError(f"{name} contains no sound; {_WAY_OUT}.")
            stream = file.streams.audio[0]
            frame = next(_frames_av(file, container, name))
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
            stated = container != "aac" and (container != "mp3" or states_length(path))
            return AudioInfo(
                container=container,
                codec=stream.codec_context.codec.canonical_name,
                sample_rate_hz=frame.sample_rate,
                channels=frame.layout.nb_channels,
                seconds=seconds,
                length_is_stated=stated and seconds > 0,
                reader="pyav",
            )
    except (av.FFmpegError, StopIteration) as error:
        raise AudioError(f"{name} is damaged or cut short; export it again, or {_WAY_OUT}.") from error


def _open_av(path: Path, container: str) -> InputContainer:
    # An absolute path: FFmpeg would read "a:b.mp3" as an address of protocol "a".
    return av.open(
        str(path.absolute()),
        format=_FORMATS[container],
        container_options=_CONFINED,
        metadata_errors="ignore",
    )


def _resampled(pieces: Iterator[Wave], resampler: StreamResampler) -> Iterator[Wave]:
    for piece in pieces:
        yield resampler.push(piece)
    yield resampler.finish()


def _mono(path: Path, info: AudioInfo, max_seconds: float | None, name: str) -> Iterator[Wave]:
    """Decode, check and mix down; count what is decoded against what was promised and allowed."""
    read = _read_soundfile if info.reader == "soundfile" else _read_av
    seconds = 0.0
    for frames in read(path, info, name):  # (n, channels)
        seconds += len(frames) / info.sample_rate_hz
        if max_seconds is not None and seconds > max_seconds:
            raise _too_long(name, max_seconds)
        magnitude = float(np.abs(frames).max(initial=0.0))
        if not np.isfinite(magnitude):
            raise AudioError(f"{name} contains samples that are not numbers (NaN); export it again.")
        if magnitude > MAX_MAGNITUDE:
            raise AudioError(f"{name} holds samples up to {magnitude:.3g} instead of 1; export it as 16-bit.")
        yield frames.mean(axis=1, dtype=np.float32)
    if info.length_is_stated and info.seconds - seconds > max(_MISSING_S, _MISSING_SHARE * info.seconds):
        raise _cut_short(name)


def _read_soundfile(path: Path, info: AudioInfo, name: str) -> Iterator[Wave]:
    size = round(_READ_S * info.sample_rate_hz)
    try:
        # A descriptor, not a path: the name must not tell libsndfile anything.
        with path.open("rb") as handle, sf.SoundFile(handle.fileno(), closefd=False) as file:
            while len(frames := file.read(size, dtype="float32", always_2d=True)):
                yield frames
    except sf.LibsndfileError as error:
        raise _cut_short(name) from error


def _read_av(path: Path, info: AudioInfo, name: str) -> Iterator[Wave]:
    """Decode with FFmpeg, a second at a time (its own frames are some twenty milliseconds)."""
    size = round(_READ_S * info.sample_rate_hz)
    waiting: list[Wave] = []
    length = 0
    with _open_av(path, info.container) as file:
        for frame in _frames_av(file, info.container, name):
            if frame.sample_rate != info.sample_rate_hz or frame.layout.nb_channels > MAX_CHANNELS:
                raise AudioError(f"{name} changes its sample rate or channels midway; export it again.")
            # Mixed here: HE-AAC may go from mono to stereo midway, and mono is all that is asked for.
            waiting.append(_samples(frame).mean(axis=1, keepdims=True, dtype=np.float32))
            length += frame.samples
            if length >= size:
                yield np.concatenate(waiting)
                waiting, length = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _frames_av(file: InputContainer, container: str, name: str) -> Iterator[av.AudioFrame]:
    """Decode the first audio stream; a bad packet is damage, but for one before the sound or an MP3's tag."""
    seen = failed = False
    try:
        for packet in file.demux(file.streams.audio[0]):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                failed = seen
                continue
            if frames and failed:
                raise AudioError(f"{name} is damaged in the middle; export it again.")
            seen = seen or bool(frames)
            yield from frames
    except av.FFmpegError as error:
        raise _cut_short(name) from error
    if failed and container != "mp3":  # MP3 alone carries tags behind the sound that look like packets
        raise _cut_short(name)


def _samples(frame: av.AudioFrame) -> Wave:
    """Turn FFmpeg's sample formats into float32 of shape (n, channels)."""
    raw: NDArray[Any] = frame.to_ndarray()  # planar: (channels, n); packed: (1, n * channels)
    wave = raw.T if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if np.issubdtype(wave.dtype, np.floating):
        return wave.astype(np.float32, copy=False)
    if wave.dtype == np.uint8:
        return (wave.astype(np.float32) - 128.0) / 128.0
    return (wave / -float(np.iinfo(wave.dtype).min)).astype(np.float32)


def _too_long(name: str, max_seconds: float) -> AudioError:
    limit = f"{max_seconds / 60:.4g} minutes" if max_seconds >= 120 else f"{max_seconds:g} seconds"
    return AudioError(f"{name} is longer than {limit}; cut it into shorter recordings.")


def _cut_short(name: str) -> AudioError:
    return AudioError(f"{name} is cut short or damaged: its end is missing; upload or export it again.")
