"""A song -> its vocals and the rest, in windows that overlap; what is found is kept, so that it can go on.

    song -> windows -> vocals of each -> overlap-add -> the song's rate and channels; backing = song - vocals

Shapes:  M = samples at the network's rate, N = samples at the song's. Memory does not grow with either.
Resume:  what is finished lies in a file of raw float32, (M, 2). Windows that reach behind its end are heard
         again, so that a separation that was stopped gives what one in one go gives.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from pipelines.conversion.cover.feed import Feed
from rvc.audio.reader import blocks
from rvc.audio.resampling import StreamResampler
from rvc.audio.writer import AudioWriter
from rvc.errors import AudioError

Wave = NDArray[np.float32]

OVERLAP = 0.25  # of a window with the next
_FRAME_BYTES = 2 * 4  # of the raw file
_READ_FRAMES = 1 << 18
# A song's loudest second of vocals lies above this share of its own loudest second, unless nobody sings.
NO_VOCALS = 10 ** (-40 / 20)


class FindsVocals(Protocol):
    rate_hz: int
    window: int  # samples of a window

    def vocals(self, window: Wave) -> Wave:
        """Return the vocals of a window at unit deviation, (2, W) -> (2, W)."""


def window_starts(length: int, window: int) -> list[int]:
    """Say where the windows begin that cover a song: evenly, but for the last, which ends with it."""
    stride = round((1 - OVERLAP) * window)
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def find_vocals(song: Path, found: Path, separator: FindsVocals) -> Generator[float, None, None]:
    """Write the vocals of a song to a raw file, from where it ends; yields the share that is done.

    The song is a WAV of one or two channels. A step is one window.
    """
    info = sf.info(song)
    length = round(info.frames * separator.rate_hz / info.samplerate)
    starts = window_starts(length, separator.window)
    borders = [*starts, length]
    finished = _finished(found, borders)
    if finished == len(starts):
        return
    first = next(n for n, start in enumerate(starts) if start + separator.window > borders[finished])
    mean, deviation = _spread(song)
    weight = _triangle(separator.window)
    total, sum_of_weights = (
        np.zeros((2, separator.window), np.float32),
        np.zeros(separator.window, np.float32),
    )
    windows = _windows(song, separator, starts[first:])
    with found.open("ab", buffering=0) as file:
        for number, window in enumerate(windows, first):
            yield max(number, finished) / len(starts)
            total += separator.vocals((window - mean) / deviation) * weight
            sum_of_weights += weight
            ready = borders[number + 1] - borders[number]
            if number >= finished:
                vocals = total[:, :ready] / sum_of_weights[:ready] * deviation
                file.write(np.ascontiguousarray(vocals.T, np.float32).tobytes())
            for sums in (total, sum_of_weights):
                sums[..., : separator.window - ready] = sums[..., ready:].copy()
                sums[..., separator.window - ready :] = 0.0


def write_stems(
    song: Path, found: Path, found_hz: int, stems: tuple[Path, Path], name: str
) -> Generator[float, None, None]:
    """Write vocals and backing of a song from what was found, as a WAV of float32 each; yields the share.

    Raises:
        AudioError: Nobody sings; nothing is written then.
    """
    info = sf.info(song)
    rate_hz, channels = info.samplerate, info.channels
    sung = Feed(_resampled(found, found_hz, rate_hz))
    loudest = {"song": 0.0, "vocals": 0.0}

    def writer(path: Path) -> AudioWriter:
        return AudioWriter(path, rate_hz, "wav", bits=32, channels=channels)

    with writer(stems[0]) as vocals, writer(stems[1]) as backing:
        for block in blocks(song, block_s=1.0, stereo=True):
            part = sung.take(len(block))
            part = part if channels == 2 else part.mean(axis=1)
            vocals.write(part)
            backing.write(block - part)
            for what, heard in (("song", block), ("vocals", part)):
                loudest[what] = max(loudest[what], float(np.sqrt(np.mean(np.square(heard)))))
            yield vocals.samples / info.frames
        if loudest["vocals"] <= NO_VOCALS * loudest["song"]:
            raise AudioError(
                f"Nobody sings in {name} as far as can be heard; choose a song with vocals, or send in its "
                "vocals and its backing as two files."
            )


def _finished(found: Path, borders: list[int]) -> int:
    """Return how many windows a raw file holds what is before the next of; what is more of it is cut off."""
    held = found.stat().st_size // _FRAME_BYTES if found.is_file() else 0
    finished = max(number for number, border in enumerate(borders) if border <= held)
    with found.open("ab") as file:
        file.truncate(borders[finished] * _FRAME_BYTES)
    return finished


def _spread(song: Path) -> tuple[np.float32, np.float32]:
    """Return mean and deviation of a song, its channels mixed: the network was trained on songs at those."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks(song, stereo=True):
        mono = block.reshape(len(block), -1).mean(axis=1, dtype=np.float64)
        count, total, squares = count + mono.size, total + mono.sum(), squares + np.square(mono).sum()
    mean = total / count
    return np.float32(mean), np.float32(max(squares / count - mean**2, 1e-16) ** 0.5)


def _windows(song: Path, separator: FindsVocals, starts: list[int]) -> Iterator[Wave]:
    """Read a song in windows of two channels, (2, W), silence behind its end."""
    sound = Feed(_in_stereo(block) for block in blocks(song, rate_hz=separator.rate_hz, stereo=True))
    sound.skip(starts[0])
    held = np.empty((0, 2), np.float32)
    at = starts[0]
    for start in starts:
        held = held[start - at :]
        held, at = np.concatenate([held, sound.take(separator.window - len(held))]), start
        yield held.T


def _in_stereo(block: Wave) -> Wave:
    return np.broadcast_to(block.reshape(len(block), -1), (len(block), 2))


def _triangle(window: int) -> Wave:
    rise = np.arange(1, window + 1, dtype=np.float32)
    return (np.minimum(rise, rise[::-1]) / (window / 2)).astype(np.float32)


def _resampled(found: Path, from_hz: int, to_hz: int) -> Iterator[Wave]:
    """Read a raw file at another rate, (n, 2) at a time."""
    resampler = StreamResampler(from_hz, to_hz, 2)
    with found.open("rb") as file:
        while chunk := file.read(_READ_FRAMES * _FRAME_BYTES):
            yield resampler.push(np.frombuffer(chunk, np.float32).reshape(-1, 2))
    yield resampler.finish()
