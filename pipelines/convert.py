"""Recording -> the same recording in another voice.

Two passes. The first hears the whole recording: its level, its melody, hence the transposition. The
second speaks it piece by piece into a nameless scratch file, then writes that at the source's loudness.
So every decision is made with the whole in view, and an hour needs no more memory than its 16 kHz
samples (230 MB) and what one piece takes.

Shapes:  N = samples at 16 kHz, T = N // 160 + 1 frames of 10 ms.
Length:  the result has exactly round(samples read * output rate / input rate) samples.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.events import Done, Events, Progress
from rvc.audio import WRITABLE, AudioWriter, StreamResampler, blocks, probe
from rvc.errors import AudioError, ConfigError
from rvc.f0 import F0_ESTIMATORS, F0Estimator, F0Statistics, f0_statistics, shift_semitones
from rvc.level import HOP_16K, RATE_16K_HZ, frame_rms, normalisation_gain
from rvc.loudness import FrameLoudness, apply_gain, gain_contour, measure_frames
from rvc.voice import Source, SpeakOptions, Voice

logger = logging.getLogger(__name__)

MAX_TRANSPOSE_SEMITONES = 36.0

# Seconds of work per second of sound, measured; only their proportions matter, for the time left.
_COST = {"Reading": 0.002, "Melody": 0.006, "Speaking": 0.03, "Writing": 0.003}
_READ_S = 5.0
_WRITE_FRAMES = 1_000

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How a recording is converted.

    Attributes:
        transpose_semitones: How far the melody is moved, -36..36; None moves its median to that of
            the voice.
        index_rate: Share of retrieved content, 0..1; see `SpeakOptions`.
        protect: Protection of unvoiced frames from retrieval, 0..0.5; see `SpeakOptions`.
        follow_loudness: 1 makes every moment as loud as in the source, 0 only the whole.
        f0_estimator: A name in `F0_ESTIMATORS`.
        format: "wav", "flac", "mp3" or "ogg".
        chunk_s: Seconds spoken at once.

    Raises:
        ConfigError: A value is out of range.
    """

    transpose_semitones: float | None = None
    index_rate: float = SpeakOptions.index_rate
    protect: float = SpeakOptions.protect
    follow_loudness: float = 1.0
    f0_estimator: str = "praat"
    format: str = "wav"
    chunk_s: float = SpeakOptions.chunk_s

    def __post_init__(self) -> None:
        semitones = self.transpose_semitones
        if semitones is not None and not abs(semitones) <= MAX_TRANSPOSE_SEMITONES:
            raise ConfigError(
                f"A transposition of {semitones:g} semitones is not possible; choose -36 to 36."
            )
        if not 0.0 <= self.follow_loudness <= 1.0:
            raise ConfigError(
                f"Following the loudness by {self.follow_loudness:g} is not possible; choose 0 to 1."
            )
        if self.f0_estimator not in F0_ESTIMATORS:
            known = ", ".join(F0_ESTIMATORS)
            raise ConfigError(f"Unknown F0 estimator {self.f0_estimator!r}; choose one of: {known}.")
        if self.format not in WRITABLE:
            raise ConfigError(f"Unknown audio format {self.format!r}; choose one of: {', '.join(WRITABLE)}.")
        _ = self.speaking  # checks the rest

    @property
    def speaking(self) -> SpeakOptions:
        """The part that concerns the voice."""
        return SpeakOptions(index_rate=self.index_rate, protect=self.protect, chunk_s=self.chunk_s)


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """What came of a conversion.

    Attributes:
        path: The converted recording.
        seconds: Its length.
        sample_rate_hz: Its rate.
        transpose_semitones: How far the melody was moved.
        source_median_hz: Median F0 of the source; None if nothing in it is voiced.
        timings: Seconds of work by stage, without the time between the calls of `next`.
    """

    path: Path
    seconds: float
    sample_rate_hz: int
    transpose_semitones: float
    source_median_hz: float | None
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The work that comes next: its stage, and the share of the stage that is done."""

    stage: str
    done: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)


_Steps = Generator[_Step, None, T]


def convert(source: Path, destination: Path, voice: Voice, options: ConvertOptions) -> Events[ConvertResult]:
    """Convert a recording into another voice.

    Closing the generator leaves nothing behind; the result appears under its name when it is complete.

    Args:
        source: Any sound file that `rvc.audio` reads; stereo is mixed to mono.
        destination: The result; its folder must exist, its format is `options.format`.
        voice: Who shall speak.
        options: How.

    Yields:
        Progress, with `needs_device` while the voice speaks, then Done.

    Raises:
        AudioError: The source cannot be read or holds no sound.
    """
    estimator = F0_ESTIMATORS.build(options.f0_estimator)
    timings = dict.fromkeys(_COST, 0.0)
    stage = "Reading"
    with closing(_convert(source, destination, voice, (options, estimator))) as steps:
        while True:
            started_s = time.perf_counter()
            try:
                step = next(steps)
            except StopIteration as stop:
                result: ConvertResult = stop.value
                break
            finally:
                timings[stage] += time.perf_counter() - started_s
            stage = step.stage
            yield _progress(step, sum(timings.values()))
    logger.info("converted %.1f s in %.1f s", result.seconds, sum(timings.values()))
    yield Done(result=replace(result, timings=timings))


def _progress(step: _Step, spent_s: float) -> Progress:
    """Say how far the whole is; the time left follows from the pace so far."""
    stages = list(_COST)
    before = sum(_COST[name] for name in stages[: stages.index(step.stage)])
    fraction = min((before + step.done * _COST[step.stage]) / sum(_COST.values()), 1.0)
    return Progress(
        stage=step.stage,
        fraction=fraction,
        eta_s=round(spent_s * (1.0 - fraction) / fraction, 1) if fraction > 0.02 else None,
        needs_device=step.stage == "Speaking",
        data=step.data,
    )


def _convert(
    source: Path, destination: Path, voice: Voice, how: tuple[ConvertOptions, F0Estimator]
) -> _Steps[ConvertResult]:
    """Do the work; `convert` adds the clock."""
    options, estimator = how
    wav16k, length = yield from _read(source, voice.sample_rate_hz)
    source_rms = np.append(frame_rms(wav16k), 0.0)[: wav16k.size // HOP_16K + 1]
    yield _Step(stage="Melody")
    f0_hz = yield from _melody(estimator, wav16k)
    statistics = f0_statistics(f0_hz)
    semitones = _transposition(options, voice, statistics)
    wav16k *= np.float32(normalisation_gain(wav16k))
    heard = Source.of(wav16k, shift_semitones(f0_hz, semitones))
    median_hz = statistics.median_hz if statistics else None
    yield _Step(stage="Speaking", data={"transpose_semitones": semitones, "source_median_hz": median_hz})
    # Nameless and in the destination's folder: no kill leaves it behind, and it is the disk that has room.
    with tempfile.TemporaryFile(dir=destination.parent) as scratch:
        spoken = yield from _speak(voice, heard, options.speaking, scratch)
        gain = gain_contour(source_rms, spoken, options.follow_loudness)
        writer = AudioWriter(destination, voice.sample_rate_hz, options.format)
        yield from _write(scratch, gain, writer, length)
    return ConvertResult(
        path=destination,
        seconds=length / voice.sample_rate_hz,
        sample_rate_hz=voice.sample_rate_hz,
        transpose_semitones=semitones,
        source_median_hz=median_hz,
    )


def _read(source: Path, result_hz: int) -> _Steps[tuple[NDArray[np.float32], int]]:
    """Decode to 16 kHz mono; also say how many samples the result shall have."""
    yield _Step(stage="Reading")
    info = probe(source)
    resampler = StreamResampler(info.sample_rate_hz, RATE_16K_HZ)
    wav = np.empty(0, dtype=np.float32)
    samples = filled = 0
    for block in chain(blocks(source, block_s=_READ_S), [None]):
        ready = resampler.finish() if block is None else resampler.push(block)
        samples += 0 if block is None else block.size
        # Grown in place by a quarter: joining a list of blocks would hold an hour twice.
        if filled + ready.size > wav.size:
            wav.resize(max(filled + ready.size, wav.size * 5 // 4), refcheck=False)
        wav[filled : filled + ready.size] = ready
        filled += ready.size
        share = samples / max(info.seconds * info.sample_rate_hz, samples, 1.0)
        yield _Step(stage="Reading", done=share)
    if not samples:
        raise AudioError(f"{source.name} holds no sound; record or export it again.")
    wav.resize(filled, refcheck=False)
    return wav, round(samples * result_hz / info.sample_rate_hz)


def _melody(estimator: F0Estimator, wav16k: NDArray[np.float32]) -> _Steps[NDArray[np.float64]]:
    """Estimate F0."""
    steps = estimator.track(wav16k)
    while True:
        try:
            done = next(steps)
        except StopIteration as stop:
            contour: NDArray[np.float64] = stop.value
            return contour
        yield _Step(stage="Melody", done=done)


def _transposition(options: ConvertOptions, voice: Voice, statistics: F0Statistics | None) -> float:
    """Decide how far the melody is moved."""
    if options.transpose_semitones is not None:
        return options.transpose_semitones
    if statistics is None or voice.card.f0 is None:
        return 0.0
    semitones = 12.0 * math.log2(voice.card.f0.median_hz / statistics.median_hz)
    return min(max(semitones, -MAX_TRANSPOSE_SEMITONES), MAX_TRANSPOSE_SEMITONES)


def _speak(voice: Voice, heard: Source, options: SpeakOptions, scratch: IO[bytes]) -> _Steps[FrameLoudness]:
    """Let the voice speak into the scratch file and measure the loudness of every frame."""
    rms, peak = [], []
    for sign in voice.speak(heard, options):
        if sign.wav is not None:
            measured = measure_frames(sign.wav, voice.sample_rate_hz // 100)
            rms.append(measured.rms)
            peak.append(measured.peak)
            scratch.write(sign.wav.astype(np.float32, copy=False).tobytes())
        yield _Step(stage="Speaking", done=sign.done_frames / heard.frames)
    return FrameLoudness(rms=np.concatenate(rms), peak=np.concatenate(peak))


def _write(scratch: IO[bytes], gain: NDArray[np.float64], writer: AudioWriter, length: int) -> _Steps[None]:
    """Write what was spoken, at its loudness and length."""
    frames = gain.size - 1
    hop = writer.rate_hz // 100
    scratch.seek(0)
    with writer:
        for start in range(0, frames, _WRITE_FRAMES):
            yield _Step(stage="Writing", done=start / frames)
            stop = min(start + _WRITE_FRAMES, frames)
            wav = np.frombuffer(scratch.read((stop - start) * hop * 4), dtype=np.float32)
            writer.write(apply_gain(wav, gain[start : stop + 1], hop)[: max(length - start * hop, 0)])
        # The frames cover the recording; rates that divide unevenly may ask for a sample more.
        writer.write(np.zeros(max(length - frames * hop, 0), np.float32))
