"""One recording: heard, measured, cut, written. What it yields is the share that is done.

Writes into a folder: NNN.flac (the slices), voice.npz (what comparing it with others needs) and, last,
facts.json.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.job_spec import PrepareSettings
from pipelines.recordings.segments import Recording, Treatment, noise_of, render
from pipelines.recordings.uploads import StoredFile
from rvc.analysis.fingerprint import fingerprint
from rvc.analysis.quality import Measures, measuring
from rvc.analysis.slicing import FRAMES_PER_S, Cut, cut_speech
from rvc.analysis.speaker_windows import SpeakerWindows, log_mel, speaker_windows
from rvc.analysis.vad import HOP, RATE_HZ, SpeechDetector, runs
from rvc.audio.level import loud_rms
from rvc.audio.reader import AudioWriter, blocks
from rvc.pitch.praat import PraatF0

Floats = NDArray[np.float32]
T = TypeVar("T")

FACTS = "facts.json"
VOICE = "voice.npz"

HEARD_RMS = 0.05
"""The detector of speech is given every recording about this loud, for it misses what is very quiet."""

MOST_HEARD_GAIN = 300.0
MEASURED_S, EXCERPT_S = 300.0, 20.0
"""Of a long recording, excerpts spread over it are measured: five minutes say as much as ninety."""

TURN_FRAMES, TURN_PAUSE_FRAMES = 180, 25
"""Nobody is expected to be interrupted within that much speech, or in a pause shorter than that."""

_BLOCK_S = 5.0


@dataclass(frozen=True, kw_only=True)
class SliceFacts:
    """One slice: `file` in the recording's folder, its length, and where it begins in the recording."""

    file: str
    seconds: float
    start_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingFacts:
    """What is known of a prepared recording.

    Attributes:
        folder: Where it lies.
        measures: What was measured.
        slices: Its slices.
        windows: Its speech, to compare speakers with.
        print: Its fingerprint, to find duplicates with.
    """

    folder: Path
    measures: Measures
    slices: tuple[SliceFacts, ...]
    windows: SpeakerWindows
    print: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class _Heard:
    """A recording at 16 kHz and what is in it, in frames of 10 ms."""

    speech: NDArray[np.bool_]
    power: NDArray[np.float64]
    log_mel: Floats
    f0_hz: NDArray[np.float64]


def prepare_recording(
    file: StoredFile, audio: Path, folder: Path, settings: PrepareSettings
) -> Generator[float, None, None]:
    """Prepare one recording.

    Args:
        file: The stored file.
        audio: Its decoded sound.
        folder: Where the results are written; exists and is empty.
        settings: What to do.

    Yields:
        The share that is done, 0..1, at least once a second.

    Raises:
        AudioError: The recording can no longer be read.
    """
    heard = yield from _shared(_hear(audio, file.name), 0.0, 0.6)
    recording = Recording(audio, file.name)
    try:
        measures = yield from _shared(_measured(recording, heard.speech), 0.6, 0.75)
        yield 0.75
        level_db = 10 * np.log10(heard.power + 1e-12)
        cuts = cut_speech(
            heard.speech,
            level_db,
            shortest=round(settings.shortest_slice_s * FRAMES_PER_S),
            longest=round(settings.longest_slice_s * FRAMES_PER_S),
        )
        yield 0.76
        spoken_db = _speech_db(heard, [(0, heard.speech.size)])
        treatment = Treatment(
            highpass_hz=settings.highpass_hz,
            target_db=settings.slice_level_db,
            shortest_s=settings.shortest_slice_s,
            noise=noise_of(recording, heard.speech, settings.highpass_hz) if settings.reduce_noise else None,
            recording_db=spoken_db,
        )
        yield 0.77
        slices = []
        for number, cut in enumerate(cuts):
            slices.append(_write_slice(recording, cut, folder / f"{number:04d}.flac", (heard, treatment)))
            yield 0.77 + 0.2 * (number + 1) / len(cuts)
    finally:
        recording.close()
    windows = speaker_windows(heard.log_mel, heard.f0_hz, heard.speech, turns(heard.speech))
    yield 0.98
    _keep(folder, windows, heard.log_mel)
    yield 0.99
    facts = {"measures": asdict(measures), "slices": [asdict(piece) for piece in slices]}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def read_facts(folder: Path) -> RecordingFacts:
    """Read what `prepare_recording` wrote."""
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    with np.load(folder / VOICE, allow_pickle=False) as voice:
        windows = SpeakerWindows(
            log_mel=voice["log_mel"].astype(np.float32),
            f0_hz=voice["f0_hz"],
            ends=voice["ends"],
            floor=voice["floor"],
        )
        print_ = voice["print"].astype(np.float32)
    return RecordingFacts(
        folder=folder,
        measures=Measures(**facts["measures"]),
        slices=tuple(SliceFacts(**piece) for piece in facts["slices"]),
        windows=windows,
        print=print_,
    )


def turns(speech: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Divide a recording where another person might have taken the word.

    Args:
        speech: Where somebody speaks, shape (T,).

    Returns:
        Frames from..to of stretches that begin and end at pauses, each with some seconds of speech.
    """
    stretches: list[tuple[int, int]] = []
    begin, spoken, end = 0, 0, 0
    for start, stop in runs(speech):
        if spoken >= TURN_FRAMES and start - end >= TURN_PAUSE_FRAMES:
            stretches.append((begin, end))
            begin, spoken = start, 0
        spoken += stop - start
        end = stop
    if spoken >= TURN_FRAMES or not stretches:
        stretches.append((begin, end))
    elif spoken:  # too little to stand alone
        stretches[-1] = (stretches[-1][0], end)
    return stretches


def _keep(folder: Path, windows: SpeakerWindows, bands: Floats) -> None:
    np.savez(
        folder / VOICE,
        log_mel=windows.log_mel.astype(np.float16),
        f0_hz=windows.f0_hz,
        ends=windows.ends,
        floor=windows.floor,
        print=fingerprint(bands).astype(np.float16),
    )


def _hear(audio: Path, name: str) -> Generator[float, None, _Heard]:
    """Read a recording at 16 kHz; find speech, F0, loudness and spectrum."""
    parts: list[Floats] = []
    for block in blocks(audio, rate_hz=RATE_HZ, block_s=_BLOCK_S, name=name):
        parts.append(block)
        yield 0.05
    wav = np.concatenate(parts)
    parts.clear()
    step = round(_BLOCK_S * RATE_HZ)
    loud = loud_rms(wav)
    detector = SpeechDetector(min(HEARD_RMS / loud, MOST_HEARD_GAIN) if loud > 0 else 1.0)
    for start in range(0, wav.size, step):
        detector.push(wav[start : start + step])
        yield 0.05 + 0.45 * min(start + step, wav.size) / wav.size
    speech = detector.finish()
    f0_hz = yield from _shared(PraatF0().track(wav), 0.5, 0.9)
    bands = np.empty((speech.size, 0), dtype=np.float32)
    rows = []
    for start in range(0, speech.size, 6_000):
        # 6000 frames and the half windows on either side of them
        first = max(start - 2, 0)
        rows.append(log_mel(wav[first * HOP : (start + 6_000 + 2) * HOP])[start - first :][:6_000])
        yield 0.9 + 0.1 * min(start + 6_000, speech.size) / speech.size
    bands = np.concatenate(rows)[: speech.size] if rows else bands
    stretches = wav[: speech.size * HOP].reshape(-1, HOP)
    power = np.einsum("ij,ij->i", stretches, stretches, dtype=np.float64) / HOP
    return _Heard(speech=speech, power=power, log_mel=bands, f0_hz=f0_hz[: speech.size])


def _measured(recording: Recording, speech: NDArray[np.bool_]) -> Generator[float, None, Measures]:
    """Measure a recording, of a long one excerpts, at its own rate."""
    seconds = recording.samples / recording.rate_hz
    if seconds <= MEASURED_S:
        starts, length = [0.0], seconds
    else:
        count = round(MEASURED_S / EXCERPT_S)
        # Whole seconds, so that excerpts begin on frames at every rate.
        starts = [float(int(at)) for at in np.linspace(0, seconds - EXCERPT_S - 1, count)]
        length = EXCERPT_S
    wavs, masks = [], []
    for start in starts:
        wavs.append(recording.read(start, start + length))
        first = round(start * FRAMES_PER_S)
        masks.append(speech[first : first + round(length * FRAMES_PER_S)])
        yield 0.0
    steps = measuring(np.concatenate(wavs), recording.rate_hz, np.concatenate(masks))
    measures = yield from steps
    spoken_s = float(speech.sum()) / FRAMES_PER_S
    return Measures(**{**asdict(measures), "seconds": seconds, "speech_seconds": spoken_s})


def _speech_db(heard: _Heard, spans: list[tuple[int, int]]) -> float:
    """Level of the speech in some stretches, dBFS; of all there is if nobody speaks."""
    power = np.concatenate([heard.power[start:stop] for start, stop in spans])
    speech = np.concatenate([heard.speech[start:stop] for start, stop in spans])
    chosen = power[speech] if speech.any() else power
    return float(10 * np.log10(chosen.mean() + 1e-12)) if chosen.size else -120.0


def _write_slice(recording: Recording, cut: Cut, path: Path, known: tuple[_Heard, Treatment]) -> SliceFacts:
    heard, treatment = known
    wav, rate_hz = render(recording, cut, _speech_db(heard, list(cut.spans)), treatment)
    with AudioWriter(path, rate_hz, "flac", bits=24) as out:
        out.write(wav)
    return SliceFacts(
        file=path.name, seconds=round(wav.size / rate_hz, 4), start_s=cut.spans[0][0] / FRAMES_PER_S
    )


def _shared(steps: Generator[float, None, T], since: float, until: float) -> Generator[float, None, T]:
    """Fit a step's shares between two shares of the whole."""
    while True:
        try:
            share = next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield since + (until - since) * share
