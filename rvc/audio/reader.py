"""The only audio input: files in, float32 blocks out, mono unless both channels of a song are wanted.

Shapes:  N = samples. Audio is float32, nominally in -1..1, shape (N,); of a song in stereo (N, 2).
Trust:   a file is a stranger's. Its content decides what it is (containers.py) and where its recordings are
         (parts.py), the libraries are confined (decoding.py), and lengths are counted while decoding, because
         headers lie. What is read otherwise than its header says is told in `AudioInfo.note`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvc.audio.containers import WAY_OUT, Located, describe, locate
from rvc.audio.decoding import Part, Track, probe_part, read
from rvc.audio.mixing import Listener
from rvc.audio.parts import Found, cut_short, recordings
from rvc.audio.resampling import StreamResampler
from rvc.errors import AudioError

Wave = NDArray[np.float32]

MAX_CHANNELS = 8
MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 192_000
# Samples a second, of all channels and tracks, up to which a recording may be as long as is allowed: two
# tracks of six channels. One of more is decoded for no longer than those.
FULL_LENGTH_HZ = 12 * 48_000
# +24 dB over full scale: a float file beyond it was written in another unit (int16 values as floats).
MAX_MAGNITUDE = 16.0

# Encoders trim and pad by a frame or two; a file is cut short when more than this is missing.
_MISSING_S = 0.25
_MISSING_SHARE = 0.002
_LOUDER = 1.26  # 1 dB: another sound track than the first is taken if it is so much louder


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    container: str  # one of `CONTAINERS`, by content
    codec: str  # "pcm_16", "float", "flac", "vorbis", "opus", "mp3", "aac", "alac", ...
    sample_rate_hz: int  # the highest of all tracks and parts
    channels: int  # the most of them
    seconds: float  # by the header: a promise, not a fact
    length_is_stated: bool = True  # False where it is guessed from the size
    note: str | None = None  # what a person should know: how it was read otherwise than its header says
    parts: tuple[Part, ...] = ()  # the recordings that it is joined of, in order; mostly one


def probe(path: Path, *, name: str | None = None) -> AudioInfo:
    """Tell what a sound file is, by its content, without decoding it all; messages call it `name`.

    Raises:
        AudioError: It is missing, empty, no sound file of a known kind, cut short by its own account,
            damaged, has more than eight channels, or a rate outside 4-192 kHz.
    """
    name = name or path.name
    if not path.is_file():
        raise AudioError(f"{name} does not exist; choose the file again.")
    if path.stat().st_size == 0:
        raise AudioError(f"{name} is empty (0 bytes); record or export it again.")
    located = locate(path)
    if located is None:
        if kind := describe(path):
            raise AudioError(f"{name} is {kind}; {WAY_OUT}.")
        raise AudioError(f"{name} is not a recording; {WAY_OUT}.")
    found = recordings(path, located, name)
    parts = tuple(probe_part(path, located.container, stretch, name) for stretch in found.stretches)
    tracks = [track for part in parts for track in part.tracks]
    for track in tracks:
        if not 1 <= track.channels <= MAX_CHANNELS:
            raise AudioError(f"{name} has {track.channels} channels; export it with at most {MAX_CHANNELS}.")
        if not MIN_RATE_HZ <= track.sample_rate_hz <= MAX_RATE_HZ:
            raise AudioError(f"{name} is sampled at {track.sample_rate_hz} Hz; export it at 48000 Hz.")
    return AudioInfo(
        container=located.container,
        codec=tracks[0].codec,
        sample_rate_hz=max(track.sample_rate_hz for track in tracks),
        channels=max(track.channels for track in tracks),
        seconds=sum(max(track.seconds for track in part.tracks) for part in parts),
        length_is_stated=all(track.length_is_stated for track in tracks),
        note=_note(located, found, parts, name),
        parts=parts,
    )


def blocks(  # noqa: PLR0913 -- by name, and all have a default
    path: Path,
    *,
    rate_hz: int | None = None,
    block_s: float = 10.0,
    max_seconds: float | None = None,
    name: str | None = None,
    info: AudioInfo | None = None,
    stereo: bool = False,
) -> Iterator[Wave]:
    """Decode a recording piece by piece, mixed to mono, in memory that does not grow with its length.

    The pieces joined are round(N * rate_hz / file rate) samples for N decoded ones, the same whatever
    `block_s` is. Whoever has probed the file already passes on what was found. With `stereo`, the pieces
    of a recording with two channels have both.

    Raises:
        AudioError: See `probe`; or the recording is longer than `max_seconds`, cut short, damaged, contains
            samples that are not numbers or far outside -1..1, or, with `stereo`, has over two channels.
    """
    name = name or path.name
    info = info or probe(path, name=name)
    if stereo and info.channels > 2:
        raise AudioError(f"{name} has {info.channels} channels; export it in stereo.")
    if max_seconds is not None:
        held_hz = max(sum(t.sample_rate_hz * t.channels for t in part.tracks) for part in info.parts)
        max_seconds *= min(1.0, FULL_LENGTH_HZ / held_hz)
        if info.length_is_stated and info.seconds > max_seconds:
            raise _too_long(name, max_seconds)
    rate_hz = rate_hz or info.sample_rate_hz
    size = max(1, round(block_s * rate_hz))
    waiting: list[Wave] = []
    length = 0
    decoding = _Decoding(path, info, max_seconds, name)
    for piece in decoding.pieces(rate_hz, channels_read(info, stereo=stereo)):
        waiting.append(piece)
        length += len(piece)
        if length >= size:
            joined = np.concatenate(waiting)
            whole = length - length % size
            yield from (joined[i : i + size] for i in range(0, whole, size))
            waiting, length = [joined[whole:]], length - whole
    if length:
        yield np.concatenate(waiting)


def channels_read(info: AudioInfo, *, stereo: bool) -> int:
    """Say how many channels the pieces of a recording have that `blocks` gives."""
    return 2 if stereo and info.channels == 2 else 1


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


class _Decoding:
    """Reads the parts of one file, checks and mixes them, and counts what is read against what is allowed."""

    def __init__(self, path: Path, info: AudioInfo, max_seconds: float | None, name: str) -> None:
        self._path, self._info, self._most, self._name = path, info, max_seconds, name
        self._seconds = 0.0  # of the parts before this one

    def pieces(self, rate_hz: int, channels: int) -> Iterator[Wave]:
        """Yield pieces at `rate_hz`, mixed to mono, or with two channels."""
        resampler: StreamResampler | None = None
        for part in self._info.parts:
            track, weights = self._choose(part, channels)
            if resampler is not None and resampler.from_hz != track.sample_rate_hz:
                yield resampler.finish()
                resampler = None
            resampler = resampler or StreamResampler(track.sample_rate_hz, rate_hz, channels)
            seconds = 0.0
            for sound in self._read(part, track):
                seconds += len(sound) / track.sample_rate_hz
                if channels == 1:
                    yield resampler.push(_mixed(sound, weights.get(sound.shape[1])))
                else:
                    yield resampler.push(_in_stereo(sound, self._name))
            missing = track.seconds - seconds
            if track.length_is_stated and missing > max(_MISSING_S, _MISSING_SHARE * track.seconds):
                raise cut_short(self._name)
            self._seconds += seconds
        if resampler is not None:
            yield resampler.finish()

    def _choose(self, part: Part, channels: int) -> tuple[Track, dict[int, Wave]]:
        """Choose the loudest track, and find the weights of its channels for every number of them it has."""
        if len(part.tracks) == 1 and (channels == 2 or part.tracks[0].channels == 1):
            return part.tracks[0], {}
        heard = []
        for track in part.tracks:
            listeners: dict[int, Listener] = {}  # HE-AAC may go from mono to stereo midway
            for sound in self._read(part, track):
                count = sound.shape[1]
                listeners.setdefault(count, Listener(track.sample_rate_hz)).hear(sound)
            found = {count: listener.judge() for count, listener in listeners.items()}
            loudness = max((power for _, power in found.values()), default=0.0)
            heard.append((loudness, track, {count: weights for count, (weights, _) in found.items()}))
        best = heard[0]
        for other in heard[1:]:
            best = other if other[0] > best[0] * _LOUDER else best
        return best[1], best[2]

    def _read(self, part: Part, track: Track) -> Iterator[Wave]:
        seconds, name = self._seconds, self._name
        for sound in read(self._path, self._info.container, part, track, name):
            seconds += len(sound) / track.sample_rate_hz
            if self._most is not None and seconds > self._most:
                raise _too_long(name, self._most)
            if sound.shape[1] > MAX_CHANNELS:
                raise _changes_channels(name)
            magnitude = float(np.abs(sound).max(initial=0.0))
            if not np.isfinite(magnitude):
                raise AudioError(f"{name} contains samples that are not numbers (NaN); export it again.")
            if magnitude > MAX_MAGNITUDE:
                raise AudioError(
                    f"{name} holds samples up to {magnitude:.3g} instead of 1; export it as 16-bit."
                )
            yield sound


def _mixed(sound: Wave, weights: Wave | None) -> Wave:
    """Mix channels, (n, C) -> (n,); by their mean where no weights are known."""
    count = sound.shape[1]
    if count == 1:
        return sound[:, 0]
    return sound @ (np.full(count, 1 / count, np.float32) if weights is None else weights)


def _in_stereo(sound: Wave, name: str) -> Wave:
    """Return sound of one or two channels with two, (n, 2)."""
    if sound.shape[1] > 2:
        raise _changes_channels(name)
    return np.broadcast_to(sound, (len(sound), 2))


def _changes_channels(name: str) -> AudioError:
    return AudioError(f"{name} changes its channels midway; export it again.")


def _note(located: Located, found: Found, parts: Sequence[Part], name: str) -> str | None:
    """Say in one sentence how a file is read otherwise than its header says."""
    facts = []
    if located.skipped:
        facts.append(f"begins with {located.skipped} bytes that are no sound")
    held = [part.tracks[0].seconds for part in parts]
    promises = [stretch.promised for stretch in found.stretches]
    if any(promised == 0 for promised in promises):
        facts.append("does not say how long it is")
    elif any(promised is not None for promised in promises):
        said = sum(s if p is None else s * p for s, p in zip(held, promises, strict=True))
        if abs(said - sum(held)) > _MISSING_S:
            facts.append(f"says that it is {said:.1f} seconds long")
    if found.joined > 1:
        facts.append(f"is joined of {found.joined} recordings")
    if found.torn:
        facts.append(
            f"is torn in {found.torn} place{'s' if found.torn > 1 else ''}, where a moment is missing"
        )
    if any(len(part.tracks) > 1 for part in parts):
        facts.append("has several sound tracks, of which the loudest is taken")
    if not facts:
        return None
    length = f", {sum(held):.1f} seconds," if all(held) else ""
    return f"{name} {' and '.join(facts)}; what is there{length} was read."


def _too_long(name: str, max_seconds: float) -> AudioError:
    limit = f"{max_seconds / 60:.4g} minutes" if max_seconds >= 120 else f"{max_seconds:g} seconds"
    return AudioError(f"{name} is longer than {limit}; cut it into shorter recordings.")
