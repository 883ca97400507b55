"""The two libraries that decode, libsndfile and FFmpeg (PyAV), both confined to one recording of a file.

Shapes:  sound is float32 of shape (n, C), C channels, nominally in -1..1, about a second at a time.
Which:   libsndfile reads WAV, FLAC, Ogg, AIFF, CAF, AU and W64; FFmpeg what it does not (AAC in a CAF), and
         all the rest, MP3 included: of a cut MP3 libsndfile gives as many blocks as the header promised,
         and FFmpeg trims the encoder's padding to the sample.
Trust:   FFmpeg is held to one container, opens no file and no address by itself, and has decoders of sound
         alone, so that pictures and films in a file are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile as sf
from av.container import InputContainer
from av.stream import Discard
from numpy.typing import NDArray

from rvc.audio.containers import WAY_OUT
from rvc.audio.parts import Stretch, cut_short, damaged
from rvc.audio.spans import Span, opened
from rvc.errors import AudioError

Wave = NDArray[np.float32]

_READ_S = 1.0
TRACKS_LIMIT = 8
_PADDING_S = 0.2  # by which frames are longer than the sound in them
# A FLAC from a pipe states no length; libsndfile then says 2**63 - 1, and loses the last block.
_FRAMES_LIMIT = 2**60
_SNDFILE = ("wav", "flac", "ogg", "aiff", "caf", "au", "w64")
_DEMUXERS = {
    "m4a": "mov", "mp4": "mov", "3gp": "mov", "webm": "matroska", "mkv": "matroska", "wma": "asf",
}  # fmt: skip
# Of these FFmpeg guesses the length, or knows how long something is that need not be the sound.
_VAGUE = ("webm", "mkv", "wma", "amr", "mp3", "aac")
_DECODERS = (
    "aac,ac3,adpcm_g726,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_yamaha,alac,amrnb,amrwb,eac3,flac,gsm,gsm_ms,"
    "mace3,mace6,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,pcm_alaw,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,"
    "pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_s8,pcm_u8,qdm2,qdmc,qcelp,speex,vorbis,"
    "wmalossless,wmapro,wmav1,wmav2,wmavoice,libopus,libopencore_amrnb,libopencore_amrwb,libspeex"
)
# What marks sound that only its shop's player reads.
_PROTECTED_TAGS = ("drms", "enca", "aavd")
_PROTECTED_ASF = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_IDLE_PACKETS = 1_000  # in a row that give no sound
_ASF_HEADER_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Track:
    """One sound track of a recording; most have one."""

    number: int  # among the sound tracks of its file
    codec: str  # "pcm_16", "float", "flac", "vorbis", "opus", "mp3", "aac", "alac", ...
    sample_rate_hz: int
    channels: int  # at its beginning
    seconds: float  # by the header: a promise, not a fact
    length_is_stated: bool  # False where it is guessed from the size
    reader: str = "soundfile"  # or "pyav": which library opens it


@dataclass(frozen=True, kw_only=True)
class Part:
    """One recording in a file."""

    span: Span
    tracks: tuple[Track, ...]


def probe_part(path: Path, container: str, stretch: Stretch, name: str) -> Part:
    """Tell what a recording is, without decoding more than its beginning.

    Raises:
        AudioError: It holds no sound, or none that can be read.
    """
    track = _probe_soundfile(path, container, stretch.span, name)
    tracks = (track,) if track else _probe_av(path, container, stretch, name)
    return Part(span=stretch.span, tracks=tracks)


def read(path: Path, container: str, part: Part, track: Track, name: str) -> Iterator[Wave]:
    """Decode one track, as (n, C) about a second at a time; C may change midway.

    Raises:
        AudioError: It is cut short, damaged in the middle, or changes its rate.
    """
    size = round(_READ_S * track.sample_rate_hz)
    if track.reader == "pyav":
        yield from _joined(_read_av(path, container, part.span, track, name), size)
        return
    try:
        with _open_soundfile(path, part.span) as file:
            while len(sound := file.read(size, dtype="float32", always_2d=True)):
                yield sound
    except sf.LibsndfileError as error:
        raise cut_short(name) from error


def _probe_soundfile(path: Path, container: str, span: Span, name: str) -> Track | None:
    """Open with libsndfile; None where FFmpeg is the better or the only reader."""
    if container not in _SNDFILE:
        return None
    try:
        with _open_soundfile(path, span) as file:
            codec, frames = file.subtype.lower(), file.frames
            rate_hz, channels = file.samplerate, file.channels
    except sf.LibsndfileError:
        return None
    if frames > _FRAMES_LIMIT:
        return None
    seconds = frames / rate_hz
    if container == "ogg":  # libsndfile counts only pages that are whole; FFmpeg, what the last one says
        tracks = _probe_av(path, container, Stretch(span=span), name)
        seconds = max(seconds, *(track.seconds for track in tracks))
    return Track(
        number=0,
        codec="flac" if container == "flac" else codec,
        sample_rate_hz=rate_hz,
        channels=channels,
        seconds=seconds,
        length_is_stated=True,
    )


def _probe_av(path: Path, container: str, stretch: Stretch, name: str) -> tuple[Track, ...]:
    """Open with FFmpeg and decode one frame a track: HE-AAC tells its true rate and channels only there."""
    if container == "wma":
        with opened(path, stretch.span) as file:
            head = file.read(_ASF_HEADER_BYTES)
        if any(mark in head for mark in _PROTECTED_ASF):
            raise _protected(name)
    tracks: list[Track] = []
    reason: Exception | None = None
    number, count = 0, 1
    while number < count:
        try:
            with _open_av(path, container, stretch.span) as source:
                count = min(len(source.streams.audio), TRACKS_LIMIT)
                _require_sound(source, name)
                tracks.append(_probe_track(source, container, stretch, number, name))
        except (av.FFmpegError, AudioError) as error:
            reason = reason or error
        number += 1
    if tracks:
        return tuple(tracks)
    if isinstance(reason, AudioError):
        raise reason
    raise AudioError(f"{name} is damaged or cut short; export it again, or {WAY_OUT}.") from reason


def _require_sound(file: InputContainer, name: str) -> None:
    if not file.streams.audio:
        if file.streams.video:
            raise AudioError(f"{name} is a video without sound; {WAY_OUT}.")
        raise AudioError(f"{name} contains no sound; {WAY_OUT}.")


def _probe_track(file: InputContainer, container: str, stretch: Stretch, number: int, name: str) -> Track:
    stream = file.streams.audio[number]
    frame = next(_frames_av(file, container, number, name), None)
    if frame is None:
        raise AudioError(f"{name} is damaged or cut short; export it again, or {WAY_OUT}.")
    seconds = float((stream.duration or 0) * (stream.time_base or 0)) or (file.duration or 0) / av.time_base
    if container == "ogg" and (stream.start_time or 0) > 0:
        seconds = 0.0  # a capture: its pages are counted from where the station began
    if stretch.seconds is not None:
        trimmed = container == "mp3" and 0 <= stretch.seconds - seconds <= _PADDING_S
        seconds = seconds if trimmed else stretch.seconds
    return Track(
        number=number,
        codec=stream.codec_context.codec.canonical_name,
        sample_rate_hz=frame.sample_rate,
        channels=frame.layout.nb_channels,
        seconds=seconds,
        length_is_stated=seconds > 0 and (stretch.seconds is not None or container not in _VAGUE),
        reader="pyav",
    )


def read_tags(path: Path, container: str) -> dict[str, str]:
    """Return what a recording says of itself, name -> text, as FFmpeg calls it; {} if that cannot be read."""
    whole = Span(start=0, end=path.stat().st_size)  # tags stand before and behind the sound
    try:
        with _open_av(path, container, whole) as file:
            tags = {name: text for stream in file.streams for name, text in stream.metadata.items()}
            return tags | dict(file.metadata)
    except (av.FFmpegError, UnicodeError):
        return {}


@contextmanager
def _open_soundfile(path: Path, span: Span) -> Iterator[sf.SoundFile]:
    if span.is_all_of(path):
        # By its descriptor: the name must not tell libsndfile anything, and reading is fastest.
        with path.open("rb") as handle, sf.SoundFile(handle.fileno(), closefd=False) as file:
            yield file
    else:
        with opened(path, span) as handle, sf.SoundFile(handle) as file:
            yield file


@contextmanager
def _open_av(path: Path, container: str, span: Span) -> Iterator[InputContainer]:
    demuxer = _DEMUXERS.get(container, container)
    confined = {"format_whitelist": demuxer, "protocol_whitelist": "none", "codec_whitelist": _DECODERS}
    with (
        opened(path, span) as handle,
        av.open(handle, "r", format=demuxer, container_options=confined, metadata_errors="ignore") as file,
    ):
        yield file


def _read_av(path: Path, container: str, span: Span, track: Track, name: str) -> Iterator[Wave]:
    with _open_av(path, container, span) as file:
        for frame in _frames_av(file, container, track.number, name):
            if frame.sample_rate != track.sample_rate_hz:
                raise AudioError(f"{name} changes its sample rate midway; export it again.")
            yield _samples(frame)


def _joined(pieces: Iterator[Wave], size: int) -> Iterator[Wave]:
    """Join pieces of equal width to such of `size` samples or more: FFmpeg's own are of some twenty ms."""
    waiting: list[Wave] = []
    length = 0
    for piece in pieces:
        if waiting and (length >= size or piece.shape[1] != waiting[0].shape[1]):
            yield np.concatenate(waiting)
            waiting, length = [], 0
        waiting.append(piece)
        length += len(piece)
    if waiting:
        yield np.concatenate(waiting)


def _frames_av(file: InputContainer, container: str, number: int, name: str) -> Iterator[av.AudioFrame]:
    """Decode a sound track; a bad packet is damage, but for one before the sound or an MP3's tag."""
    for other in file.streams:
        other.discard = Discard.all
    stream = file.streams.audio[number]
    stream.discard = Discard.default
    context = stream.codec_context
    if context is not None and context.codec_tag in _PROTECTED_TAGS:
        raise _protected(name)
    if context is None or context.codec.name not in _DECODERS.split(","):
        kind = context.codec.canonical_name if context else "unknown"
        raise AudioError(f"{name} holds sound of a kind that cannot be read ({kind}); {WAY_OUT}.")
    seen = failed = False
    idle = 0
    try:
        for packet in file.demux(stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                failed, frames = seen, []
            idle = 0 if frames else idle + 1
            if (frames and failed) or idle > _IDLE_PACKETS:
                raise damaged(name)
            seen = seen or bool(frames)
            yield from frames
    except av.FFmpegError as error:
        raise cut_short(name) from error
    if failed and container != "mp3":  # MP3 alone carries tags behind the sound that look like packets
        raise cut_short(name)


def _protected(name: str) -> AudioError:
    return AudioError(f"{name} is protected against copying (DRM) and cannot be read; {WAY_OUT}.")


def _samples(frame: av.AudioFrame) -> Wave:
    """Turn FFmpeg's sample formats into float32 of shape (n, channels)."""
    raw: NDArray[Any] = frame.to_ndarray()  # planar: (channels, n); packed: (1, n * channels)
    wave = raw.T if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if np.issubdtype(wave.dtype, np.floating):
        return wave.astype(np.float32, copy=False)
    if wave.dtype == np.uint8:
        return (wave.astype(np.float32) - 128.0) / 128.0
    return (wave / -float(np.iinfo(wave.dtype).min)).astype(np.float32)
