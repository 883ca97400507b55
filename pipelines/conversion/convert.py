"""Recording -> the same recording in another voice.

Two passes. The first hears the whole recording as the voice's engine wants it: its level, its melody, hence
the transposition. The second speaks it piece by piece into a nameless scratch file, then writes that at the
source's loudness. So every decision is made with the whole in view, and an hour needs no more memory than its
16 kHz samples (230 MB) and what one piece takes.

Shapes:  N = samples at 16 kHz, T = N // 160 + 1 frames of 10 ms.
Length:  the result has exactly round(samples read * output rate / input rate) samples.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.events import Done, Events, Progress, timed
from pipelines.marks.provenance import WATERMARK, Provenance
from pipelines.marks.writing import ResultWriter
from rvc.analysis.noise import cleaned
from rvc.analysis.quality import measure
from rvc.audio.level import HOP_16K, RATE_16K_HZ, frame_deviations, frame_rms
from rvc.audio.loudness import FrameLoudness, Gain, measure_frames
from rvc.audio.reader import blocks, probe
from rvc.audio.resampling import StreamResampler
from rvc.audio.rumble import remove_rumble
from rvc.audio.watermark_search import find_watermark
from rvc.engine.options import ConvertOptions, EngineDefaults
from rvc.errors import AudioError, ConfigError
from rvc.pitch.estimators import f0_estimator
from rvc.pitch.f0 import F0Estimator, f0_statistics, shift_semitones
from rvc.pitch.transposition import automatic_transposition
from rvc.steps import relay
from rvc.voice import Voice

logger = logging.getLogger(__name__)

# Seconds of work per second of sound, measured; only their proportions matter, for the time left.
_READING_COST_S, _CLEANING_COST_S, _WRITING_COST_S = 0.002, 0.01, 0.003
_READ_S = 5.0
MEASURED_S = 20.0  # of a recording tell how noisy it is
MOVING_AT_LEAST = 2.0  # times its deviation within 10 ms: as loud is no sound above 40 Hz
_WRITE_FRAMES = 1_000


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    path: Path
    seconds: float
    sample_rate_hz: int
    transpose_semitones: float
    source_median_hz: float | None  # None if nothing in it is voiced
    source_snr_db: float | None  # of speech over noise, as it was sent in; None if there is no speech
    source_marked: bool = False  # whether the recording had this program's watermark itself
    timings: dict[str, float] = field(default_factory=dict)  # seconds of work by stage


def convert(  # noqa: PLR0913  # what, where to, who, how, and what is said of it
    source: Path,
    destination: Path,
    voice: Voice,
    options: ConvertOptions,
    estimator: F0Estimator | None = None,
    record: Provenance | None = None,
    *,
    sung: bool | None = None,
) -> Events[ConvertResult]:
    """Convert a recording into another voice; the tags of the result tell the record.

    Whether it is sung, and so keeps its key, is heard in it where nobody knows it.

    Closing the generator leaves nothing behind; the result appears under its name when it is complete.

    Raises:
        AudioError: The source cannot be read or holds no sound.
        ConfigError: The estimator needs weights, or the voice has no melody that could be transposed.
    """
    estimator = estimator or f0_estimator(options.f0_estimator or "swift")
    cleaning = {"Cleaning": _CLEANING_COST_S} if options.reduce_noise else {}
    clock = _Clock(**cleaning, Melody=estimator.cost_s, Speaking=voice.engine.defaults.cost_s)
    steps = _convert(source, destination, voice, options, estimator, record, sung)
    result = yield from relay(timed(steps, clock.count), clock.in_the_whole)
    logger.info("converted %.1f s in %.1f s", result.seconds, clock.spent_s)
    yield Done(result=replace(result, timings=clock.timings))


def _convert(  # noqa: PLR0913  # as `convert`
    source: Path,
    destination: Path,
    voice: Voice,
    options: ConvertOptions,
    estimator: F0Estimator,
    record: Provenance | None,
    sung: bool | None,
) -> Generator[Progress, None, ConvertResult]:
    """Do the work; the fractions are those of each stage."""
    engine, rate_hz = voice.engine, voice.sample_rate_hz
    chosen = engine.defaults.with_asked(options)
    speaking_at = partial(_at, "Speaking", needs_device=_speaks_on_device(chosen))

    # Hear all of it, at the level and with the ends that the engine wants.
    recorded, length = yield from _read(source, rate_hz)
    snr_db, source_marked = _snr_db(recorded), record is not None and _is_marked(recorded)
    recorded = yield from _cleaned(recorded, chosen)
    source_rms = _without_rumble(recorded)
    wav16k = engine.preprocess(recorded)
    del recorded

    # Find its melody, and move that to where the voice lies.
    melody_at = partial(_at, "Melody", needs_device=estimator.on_device)
    yield melody_at(0.0)
    f0_hz = np.zeros(wav16k.size // HOP_16K + 1)
    if engine.uses_f0:
        f0_hz = yield from relay(estimator.track(wav16k), melody_at)
    statistics = f0_statistics(f0_hz)
    semitones = _transposition(chosen, voice, f0_hz, sung)
    heard = engine.source(wav16k, shift_semitones(f0_hz, semitones))
    del wav16k  # an hour is 230 MB, and it may have been heard in another tone

    median_hz = None if statistics is None else statistics.median_hz
    facts: dict[str, Any] = {"transpose_semitones": semitones, "source_median_hz": median_hz}

    # Speak it, piece by piece: content, drawn to the voice's own by retrieval, then sound.
    yield speaking_at(0.0, data=facts)
    # Nameless and in the destination's folder: no kill leaves it behind, and it is the disk that has room.
    with tempfile.TemporaryFile(dir=destination.parent) as scratch:
        measured = []
        for sign in voice.speak(heard, chosen):
            if sign.wav is not None:
                measured.append(measure_frames(sign.wav, rate_hz // 100))
                scratch.write(sign.wav.astype(np.float32, copy=False).tobytes())
            yield speaking_at(sign.done_frames / heard.spoken_frames)

        # Write it as loud as the source.
        spoken = _joined(measured)
        gain = engine.loudness(heard, source_rms, spoken, chosen.follow_loudness)
        writer = _writer(destination, rate_hz, chosen, record, semitones, source_marked)
        yield from _write(scratch, gain, writer, spoken.rms.size, length)
    return ConvertResult(
        path=destination,
        seconds=length / rate_hz,
        sample_rate_hz=rate_hz,
        source_snr_db=snr_db,
        source_marked=source_marked,
        **facts,
    )


def _speaks_on_device(chosen: EngineDefaults) -> bool:
    """Whether it takes the device: the GPU or, without one, the cores, which a training then leaves to it."""
    return chosen.on_gpu or not torch.cuda.is_available()


def _at(stage: str, done: float, **more: Any) -> Progress:  # noqa: ANN401  # fields of Progress
    return Progress(stage=stage, fraction=done, **more)


def _read(source: Path, result_hz: int) -> Generator[Progress, None, tuple[NDArray[np.float32], int]]:
    """Decode to 16 kHz mono; also say how many samples the result shall have."""
    yield _at("Reading", 0.0)
    info = probe(source)
    resampler = StreamResampler(info.sample_rate_hz, RATE_16K_HZ)
    wav = np.empty(0, dtype=np.float32)
    samples = filled = 0
    for block in chain(blocks(source, block_s=_READ_S, info=info), [None]):
        ready = resampler.finish() if block is None else resampler.push(block)
        samples += 0 if block is None else block.size
        # Grown in place by a quarter: joining a list of blocks would hold an hour twice.
        if filled + ready.size > wav.size:
            wav.resize(max(filled + ready.size, wav.size * 5 // 4), refcheck=False)
        wav[filled : filled + ready.size] = ready
        filled += ready.size
        yield _at("Reading", samples / max(info.seconds * info.sample_rate_hz, samples, 1.0))
    if not samples:
        raise AudioError(f"{source.name} holds no sound; record or export it again.")
    wav.resize(filled, refcheck=False)
    return wav, round(samples * result_hz / info.sample_rate_hz)


def _snr_db(wav16k: NDArray[np.float32]) -> float | None:
    """Measure speech over noise at the beginning of a recording; None without speech."""
    snr_db = measure(wav16k[: round(MEASURED_S * RATE_16K_HZ)], RATE_16K_HZ).snr_db
    return None if snr_db is None else round(snr_db, 1)


def _is_marked(wav16k: NDArray[np.float32]) -> bool:
    """Whether a recording has this program's watermark; in pieces, as an hour would be held twice."""
    step = round(_READ_S * RATE_16K_HZ)
    return find_watermark(wav16k[at : at + step] for at in range(0, wav16k.size, step)).found


def _cleaned(
    wav16k: NDArray[np.float32], chosen: EngineDefaults
) -> Generator[Progress, None, NDArray[np.float32]]:
    """Take steady noise out of a recording, if that is asked for."""
    if not chosen.reduce_noise:
        return wav16k
    return (yield from relay(cleaned(wav16k, RATE_16K_HZ), partial(_at, "Cleaning")))


def _without_rumble(wav16k: NDArray[np.float32]) -> NDArray[np.float64]:
    """Take out of a recording, in place, what is not heard; measure the RMS of each of its frames, (T,)."""
    moving = frame_deviations(wav16k)
    remove_rumble(wav16k)
    # Where nothing moves, a filter that rings from what is beside it is no sound.
    rms = np.minimum(frame_rms(wav16k), MOVING_AT_LEAST * moving)
    return np.append(rms, 0.0)[: wav16k.size // HOP_16K + 1]


def _joined(parts: Sequence[FrameLoudness]) -> FrameLoudness:
    return FrameLoudness(
        rms=np.concatenate([part.rms for part in parts]), peak=np.concatenate([part.peak for part in parts])
    )


def _transposition(
    options: ConvertOptions, voice: Voice, f0_hz: NDArray[np.float64], sung: bool | None
) -> float:
    """Decide how far the melody is moved, in semitones."""
    asked = options.transpose_semitones
    if asked and not voice.engine.uses_f0:
        raise ConfigError(
            f"The voice {voice.card.name} was trained without F0, so its pitch cannot be set; "
            "leave it automatic or at 0."
        )
    return automatic_transposition(f0_hz, voice.card.f0, sung=sung) if asked is None else asked


def _writer(  # noqa: PLR0913  # what, how, and what is said of it
    path: Path,
    rate_hz: int,
    chosen: EngineDefaults,
    record: Provenance | None,
    semitones: float,
    source_marked: bool,
) -> ResultWriter:
    record = record.with_source(WATERMARK) if record and source_marked else record
    moved = {"transpose_semitones": round(semitones, 3)}
    return ResultWriter(path, rate_hz, chosen.format, record, found_out=moved)


def _write(
    scratch: IO[bytes], gain: Gain, writer: ResultWriter, frames: int, length: int
) -> Generator[Progress, None, None]:
    """Write what was spoken, so many frames, at its loudness and length."""
    hop = writer.rate_hz // 100
    scratch.seek(0)
    with writer:
        for start in range(0, frames, _WRITE_FRAMES):
            yield _at("Writing", start / frames)
            wav = np.frombuffer(scratch.read(_WRITE_FRAMES * hop * 4), dtype=np.float32)
            writer.write(gain.apply(wav, start)[: max(length - start * hop, 0)])
        # The frames cover the recording; rates that divide unevenly may ask for a sample more.
        writer.write(np.zeros(max(length - frames * hop, 0), np.float32))


class _Clock:
    """Makes of a stage's fraction that of the whole, and foretells the end by the pace so far."""

    def __init__(self, **costs_s: float) -> None:
        self._costs_s = {"Reading": _READING_COST_S, **costs_s, "Writing": _WRITING_COST_S}
        self._stage = "Reading"
        self.timings = dict.fromkeys(self._costs_s, 0.0)

    @property
    def spent_s(self) -> float:
        return sum(self.timings.values())

    def count(self, seconds: float) -> None:
        self.timings[self._stage] += seconds

    def in_the_whole(self, step: Progress) -> Progress:
        self._stage = step.stage
        stages = list(self._costs_s)
        before = sum(self._costs_s[name] for name in stages[: stages.index(step.stage)])
        done = before + step.fraction * self._costs_s[step.stage]
        fraction = min(done / sum(self._costs_s.values()), 1.0)
        eta_s = round(self.spent_s * (1.0 - fraction) / fraction, 1) if fraction > 0.02 else None
        return replace(step, fraction=fraction, eta_s=eta_s)
