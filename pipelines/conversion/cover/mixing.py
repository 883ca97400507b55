"""The converted voice, the backing, and what rings after the original vocals -> one song.

It has the backing's rate, channels and length. Nothing is clipped: a mix that would be too loud is made
softer as a whole. All is read twice, in pieces, first to find its loudest sample.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from pipelines.conversion.cover.feed import Feed
from pipelines.conversion.cover.reverb import Tail
from pipelines.job_spec import CoverOptions
from rvc.audio.loudness import CEILING
from rvc.audio.reader import blocks
from rvc.audio.writer import AudioWriter

Wave = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Files: the converted voice in mono, at any rate; vocals and backing of the song at the same rate."""

    voice: Path
    vocals: Path
    backing: Path


def mix(
    parts: Parts, options: CoverOptions, destination: Path, tags: Mapping[str, str]
) -> Generator[float, None, float]:
    """Write the mix; yields the share that is done, returns its gain in dB, 0 or below."""
    info = sf.info(parts.backing)
    loudest, heard = 0.0, 0
    for block in _mixed(parts, options, info.samplerate):
        loudest, heard = max(loudest, float(np.abs(block).max(initial=0.0))), heard + len(block)
        yield 0.5 * heard / info.frames
    softer = np.float32(min(1.0, CEILING / max(loudest, 1e-9)))
    writer = AudioWriter(destination, info.samplerate, options.format, tags=tags, channels=info.channels)
    with writer as out:
        for block in _mixed(parts, options, info.samplerate):
            out.write(block * softer)
            yield 0.5 + 0.5 * out.samples / info.frames
    return float(20 * np.log10(softer))


def _mixed(parts: Parts, options: CoverOptions, rate_hz: int) -> Iterator[Wave]:
    """Yield the mix, (n,) or (n, 2) as the backing is, before it is known how loud it gets."""
    voice = Feed(blocks(parts.voice, rate_hz=rate_hz))
    tail = Feed(_tail(parts.vocals, rate_hz) if options.reverb else ())
    voice_gain, backing_gain = (
        np.float32(10 ** (gain_db / 20)) for gain_db in (options.voice_gain_db, options.backing_gain_db)
    )
    for block in blocks(parts.backing, block_s=5.0, stereo=True):
        sung = voice_gain * voice.take(len(block))
        if options.reverb:
            rings = np.float32(options.reverb) * voice_gain * tail.take(len(block))
            sung = sung[:, None] + rings if block.ndim == 2 else sung + rings.mean(axis=1)
        elif block.ndim == 2:
            sung = sung[:, None]
        yield backing_gain * block + sung


def _tail(vocals: Path, rate_hz: int) -> Iterator[Wave]:
    """Yield what rings after the vocals, (n, C)."""
    tail: Tail | None = None
    for block in blocks(vocals, block_s=5.0, stereo=True):
        sound = block.reshape(len(block), -1)
        tail = tail or Tail(rate_hz, sound.shape[1])
        yield tail.push(sound)
    if tail is not None:
        yield tail.finish()
