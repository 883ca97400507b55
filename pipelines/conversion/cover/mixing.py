"""The converted voice, the backing, and what rings after the original vocals -> one song.

It has the backing's rate, channels and length. Nothing is clipped: a mix that would be too loud is made
softer as a whole. All is read twice, in pieces, first to find its loudest sample.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.conversion.cover.feed import Feed
from pipelines.conversion.cover.reverb import Tail
from pipelines.job_spec import CoverOptions
from pipelines.marks.provenance import Provenance
from pipelines.marks.writing import ResultWriter
from rvc.audio.loudness import CEILING
from rvc.audio.reader import AudioInfo, blocks, probe
from rvc.audio.watermark import marked

Wave = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Files: the converted voice in mono, at any rate; vocals and backing of the song at the same rate."""

    voice: Path
    vocals: Path
    backing: Path


def mix(
    parts: Parts,
    options: CoverOptions,
    destination: Path,
    record: Provenance | None = None,
    found_out: Mapping[str, object] | None = None,
) -> Generator[float, None, float]:
    """Write the mix; yields the share that is done, returns its gain in dB, 0 or below.

    The voice has been marked as it was converted: what is mixed to it gets the same watermark here.
    """
    info = probe(parts.backing)
    loudest, heard, length = 0.0, 0, info.seconds * info.sample_rate_hz
    marks = record is not None and record.watermark
    for block in _mixed(parts, options, info, marks=marks):
        loudest, heard = max(loudest, float(np.abs(block).max(initial=0.0))), heard + len(block)
        yield 0.5 * heard / length
    softer = np.float32(min(1.0, CEILING / max(loudest, 1e-9)))
    writer = ResultWriter(
        destination,
        info.sample_rate_hz,
        options.format,
        record,
        channels=info.channels,
        marked=True,
        found_out=found_out,
    )
    with writer as out:
        for block in _mixed(parts, options, info, marks=marks):
            out.write(block * softer)
            yield 0.5 + 0.5 * out.samples / length
    return float(20 * np.log10(softer))


def _mixed(parts: Parts, options: CoverOptions, info: AudioInfo, *, marks: bool) -> Iterator[Wave]:
    """Yield the mix, (n,) or (n, 2) as the backing is, before it is known how loud it gets."""
    rate_hz = info.sample_rate_hz
    voice = Feed(blocks(parts.voice, rate_hz=rate_hz))
    bed = _bed(parts, options, rate_hz)
    for block in marked(bed, rate_hz, info.channels) if marks else bed:
        sung = _gain(options.voice_gain_db) * voice.take(len(block))
        yield block + (sung[:, None] if block.ndim == 2 else sung)


def _bed(parts: Parts, options: CoverOptions, rate_hz: int) -> Iterator[Wave]:
    """Yield what the voice is laid on: the backing, and what rings after the vocals."""
    tail = Feed(_tail(parts.vocals, rate_hz) if options.reverb else ())
    ringing = np.float32(options.reverb) * _gain(options.voice_gain_db)
    for block in blocks(parts.backing, block_s=5.0, stereo=True):
        bed = _gain(options.backing_gain_db) * block
        if options.reverb:
            rings = ringing * tail.take(len(block))
            bed = bed + (rings if block.ndim == 2 else rings.mean(axis=1))
        yield bed


def _gain(gain_db: float) -> np.float32:
    return np.float32(10 ** (gain_db / 20))


def _tail(vocals: Path, rate_hz: int) -> Iterator[Wave]:
    """Yield what rings after the vocals, (n, C)."""
    tail: Tail | None = None
    for block in blocks(vocals, block_s=5.0, stereo=True):
        sound = block.reshape(len(block), -1)
        tail = tail or Tail(rate_hz, sound.shape[1])
        yield tail.push(sound)
    if tail is not None:
        yield tail.finish()
