"""Recording -> the same recording in another voice.

Two passes. The first hears the whole recording as the voice's engine wants it: its level, its melody,
hence the transposition. The
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
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.conversion.provenance import RunRecord
from pipelines.events import Done, Events, Progress
from rvc.audio.level import HOP_16K, RATE_16K_HZ, frame_rms
from rvc.audio.loudness import FrameLoudness, Gain, measure_frames
from rvc.audio.reader import WRITABLE, AudioWriter, StreamResampler, blocks, probe
from rvc.engine.interface import Source
from rvc.engine.options import LITE_DEFAULTS, EngineDefaults, SpeakOptions
from rvc.errors import AudioError, ConfigError
from rvc.pitch.estimators import F0_ESTIMATORS
from rvc.pitch.f0 import F0Estimator, F0Statistics, f0_statistics, shift_semitones
from rvc.voice import Voice

logger = logging.getLogger(__name__)

MAX_TRANSPOSE_SEMITONES = 36.0

# Seconds of work per second of sound, measured; only their proportions matter, for the time left.
_READING_COST_S, _WRITING_COST_S = 0.002, 0.003
_READ_S = 5.0
_WRITE_FRAMES = 1_000

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How a recording is converted.

    What is None is as the voice's engine has it best; see `EngineDefaults`.

    Attributes:
        transpose_semitones: How far the melody is moved, -36..36; None moves its median to that of
            the voice.
        index_rate: Share of retrieved content, 0..1; see `SpeakOptions`.
        protect: Protection of unvoiced frames from retrieval, 0..0.5; see `SpeakOptions`.
        follow_loudness: How far the source's loudness is followed, 0..1: by voices of the built-in engine
            every 10 ms, and as a whole always; by RVC's over a second, and not at all at 0.
        f0_estimator: A name in `F0_ESTIMATORS`.
        format: "wav", "flac", "mp3" or "ogg".
        chunk_s: Seconds spoken at once.

    Raises:
        ConfigError: A value is out of range.
    """

    transpose_semitones: float | None = None
    index_rate: float | None = None
    protect: float | None = None
    follow_loudness: float | None = None
    f0_estimator: str | None = None
    format: str = "wav"
    chunk_s: float | None = None

    def __post_init__(self) -> None:
        semitones = self.transpose_semitones
        if semitones is not None and not abs(semitones) <= MAX_TRANSPOSE_SEMITONES:
            raise ConfigError(
                f"A transposition of {semitones:g} semitones is not possible; choose -36 to 36."
            )
        follow = self.follow_loudness
        if follow is not None and not 0.0 <= follow <= 1.0:
            raise ConfigError(f"Following the loudness by {follow:g} is not possible; choose 0 to 1.")
        if self.f0_estimator is not None and self.f0_estimator not in F0_ESTIMATORS:
            known = ", ".join(F0_ESTIMATORS)
            raise ConfigError(f"Unknown F0 estimator {self.f0_estimator!r}; choose one of: {known}.")
        if self.format not in WRITABLE:
            raise ConfigError(f"Unknown audio format {self.format!r}; choose one of: {', '.join(WRITABLE)}.")
        _ = self.speaking(LITE_DEFAULTS)  # checks the rest

    def speaking(self, defaults: EngineDefaults) -> SpeakOptions:
        """Give the part that concerns the voice, with what its engine has best where nothing was asked."""
        asked = {name: getattr(self, name) for name in ("index_rate", "protect", "chunk_s")}
        chosen = {name: getattr(defaults, name) if value is None else value for name, value in asked.items()}
        return SpeakOptions(align_content=defaults.align_content, **chosen)


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
    needs_device: bool = False
    data: dict[str, Any] = field(default_factory=dict)


_Steps = Generator[_Step, None, T]


def convert(  # noqa: PLR0913  # what, where to, who, how, and what is said of it
    source: Path,
    destination: Path,
    voice: Voice,
    options: ConvertOptions,
    estimator: F0Estimator | None = None,
    record: RunRecord | None = None,
) -> Events[ConvertResult]:
    """Convert a recording into another voice.

    Closing the generator leaves nothing behind; the result appears under its name when it is complete.

    Args:
        source: Any sound file that `rvc.audio.reader` reads; stereo is mixed to mono.
        destination: The result; its folder must exist, its format is `options.format`.
        voice: Who shall speak.
        options: How.
        estimator: Who finds the melody; None makes the one that the options name, or else Praat's, neither
            of which needs weights.
        record: What the result says of itself in its tags; None for nothing.

    Yields:
        Progress, with `needs_device` while the voice speaks, then Done.

    Raises:
        AudioError: The source cannot be read or holds no sound.
        ConfigError: The estimator needs weights, or the voice has no melody that could be transposed.
    """
    estimator = estimator or F0_ESTIMATORS.build(options.f0_estimator or "praat")
    costs = {
        "Reading": _READING_COST_S,
        "Melody": estimator.cost_s,
        "Speaking": voice.engine.defaults.cost_s,
        "Writing": _WRITING_COST_S,
    }
    timings = dict.fromkeys(costs, 0.0)
    stage = "Reading"
    with closing(_convert(source, destination, voice, (options, estimator, record))) as steps:
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
            yield _progress(step, costs, sum(timings.values()))
    logger.info("converted %.1f s in %.1f s", result.seconds, sum(timings.values()))
    yield Done(result=replace(result, timings=timings))


def _progress(step: _Step, costs: Mapping[str, float], spent_s: float) -> Progress:
    """Say how far the whole is; the time left follows from the pace so far."""
    stages = list(costs)
    before = sum(costs[name] for name in stages[: stages.index(step.stage)])
    fraction = min((before + step.done * costs[step.stage]) / sum(costs.values()), 1.0)
    return Progress(
        stage=step.stage,
        fraction=fraction,
        eta_s=round(spent_s * (1.0 - fraction) / fraction, 1) if fraction > 0.02 else None,
        needs_device=step.needs_device,
        data=step.data,
    )


def _convert(
    source: Path, destination: Path, voice: Voice, how: tuple[ConvertOptions, F0Estimator, RunRecord | None]
) -> _Steps[ConvertResult]:
    """Do the work; `convert` adds the clock."""
    options, estimator, record = how
    engine = voice.engine
    recorded, length = yield from _read(source, voice.sample_rate_hz)
    source_rms = np.append(frame_rms(recorded), 0.0)[: recorded.size // HOP_16K + 1]
    wav16k = engine.hear(recorded)
    del recorded
    yield _Step(stage="Melody", needs_device=estimator.on_device)
    f0_hz = np.zeros(wav16k.size // HOP_16K + 1)
    if engine.uses_f0:
        f0_hz = yield from _melody(estimator, wav16k)
    statistics = f0_statistics(f0_hz)
    semitones = _transposition(options, voice, statistics)
    heard = engine.source(wav16k, shift_semitones(f0_hz, semitones))
    del wav16k  # an hour is 230 MB, and it may have been heard in another tone
    median_hz = statistics.median_hz if statistics else None
    facts = {"transpose_semitones": semitones, "source_median_hz": median_hz}
    yield _Step(stage="Speaking", needs_device=True, data=facts)
    # Nameless and in the destination's folder: no kill leaves it behind, and it is the disk that has room.
    with tempfile.TemporaryFile(dir=destination.parent) as scratch:
        spoken = yield from _speak(voice, heard, options.speaking(engine.defaults), scratch)
        asked = options.follow_loudness
        follow = engine.defaults.follow_loudness if asked is None else asked
        gain = engine.loudness(heard, source_rms, spoken, follow)
        tags = None if record is None else record.tags(transpose_semitones=round(semitones, 3))
        writer = AudioWriter(destination, voice.sample_rate_hz, options.format, tags=tags)
        yield from _write(scratch, gain, writer, (spoken.rms.size, length))
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
        yield _Step(stage="Melody", done=done, needs_device=estimator.on_device)


def _transposition(options: ConvertOptions, voice: Voice, statistics: F0Statistics | None) -> float:
    """Decide how far the melody is moved."""
    asked = options.transpose_semitones
    if asked and not voice.engine.uses_f0:
        raise ConfigError(
            f"The voice {voice.card.name} was trained without F0, so its pitch cannot be set; "
            "leave it automatic or at 0."
        )
    if asked is not None:
        return asked
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
        yield _Step(stage="Speaking", done=sign.done_frames / heard.spoken_frames, needs_device=True)
    return FrameLoudness(rms=np.concatenate(rms), peak=np.concatenate(peak))


def _write(scratch: IO[bytes], gain: Gain, writer: AudioWriter, sizes: tuple[int, int]) -> _Steps[None]:
    """Write what was spoken, so many frames, at its loudness and length."""
    frames, length = sizes
    hop = writer.rate_hz // 100
    scratch.seek(0)
    with writer:
        for start in range(0, frames, _WRITE_FRAMES):
            yield _Step(stage="Writing", done=start / frames)
            wav = np.frombuffer(scratch.read(_WRITE_FRAMES * hop * 4), dtype=np.float32)
            writer.write(gain.apply(wav, start)[: max(length - start * hop, 0)])
        # The frames cover the recording; rates that divide unevenly may ask for a sample more.
        writer.write(np.zeros(max(length - frames * hop, 0), np.float32))
