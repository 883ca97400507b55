"""Recordings to clean slices, and a report on the set.

    folder/prepared/slices/<key>/   one folder per recording and settings: NNNN.flac, voice.npz, facts.json
    folder/prepared/report.json     the report (`DatasetReport.to_json`)
    folder/prepared/pieces.json     what the recordings were cut to, for a person to hear (pieces.py)
    folder/prepared/slices.json     the slices of the set, written last

The key is a hash of the recording's content and of the settings, so a second run redoes only what changed. A
recording's folder is built under a hidden name and renamed when it is complete; a run that is stopped
anywhere leaves nothing that a later one would trust.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.events import Done, Events, Progress
from pipelines.job_spec import PrepareSettings
from pipelines.recordings.comparing import FACTS, VOICE, RecordingFacts, compare_recordings, read_facts
from pipelines.recordings.doubts import Usual, doubts
from pipelines.recordings.joining import join_short
from pipelines.recordings.pieces import (
    Piece,
    file_id_of,
    load_pieces,
    rejections_of,
    require_speech,
    save_pieces,
)
from pipelines.recordings.report import GRADES, DatasetReport, FileReport, summarise
from pipelines.recordings.segments import Recording, SliceRef, SliceRendering, rate_of, render
from pipelines.recordings.slice_measures import Analysis, measure_slice
from pipelines.recordings.uploads import StoredFile
from rvc.analysis.fingerprint import fingerprint
from rvc.analysis.noise import noise_of
from rvc.analysis.quality import Measures, active_frames, measure_in_steps
from rvc.analysis.slicing import cut_speech, runs
from rvc.analysis.speakers import log_mel, speaker_windows
from rvc.analysis.vad import SpeechDetector
from rvc.audio.level import FRAMES_PER_S, HOP_16K, RATE_16K_HZ, loud_rms
from rvc.audio.resampling import StreamResampler
from rvc.audio.writer import AudioWriter
from rvc.errors import AudioError
from rvc.files import atomic_write
from rvc.pitch.praat import PraatF0
from rvc.steps import relay, result_of

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
T = TypeVar("T")

VERSION = 3  # part of the key: raise it when the same settings give other slices
JOINED = "joined"
COMPARING, JOINING = (
    0.9,
    0.98,
)  # shares of the work after which recordings are compared, and short ones joined
# The detector of speech is given every recording about this loud, for it misses what is very quiet.
DETECTOR_RMS = 0.05
MAX_DETECTOR_GAIN = 1_000.0
# In a recording this short the detector has little to go by, and a cry is no speech to it: whatever is loud
# counts, if so much of it has a pitch.
SHORT_FRAMES, VOICED_FRAMES = 300, 10
# Of a long recording, excerpts spread over it are measured: five minutes say as much as ninety.
MEASURED_S, EXCERPT_S = 300.0, 20.0
# Nobody is expected to be interrupted within that much speech, or in a pause shorter than that.
TURN_FRAMES, TURN_PAUSE_FRAMES = 180, 25
_BLOCK_S = 5.0
_MEL_FRAMES = 6_000


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What preparing gives: all slices, in the order of the recordings; duplicates have none."""

    slices: list[SliceRef]
    report: DatasetReport


def prepare(files: Sequence[StoredFile], folder: Path, settings: PrepareSettings) -> Events[Prepared]:
    """Clean and cut recordings and report on them, in `prepared` of the upload's folder.

    What an earlier run has done is not done again. Yields at least once a second.
    """
    if not files:
        raise AudioError("There is no recording to prepare; upload at least one.")
    torch.set_num_threads(1)  # the network is tiny: more threads only wait for each other
    target = folder / "prepared"
    (target / "slices").mkdir(parents=True, exist_ok=True)
    for leftover in (target / "slices").glob(".*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    pairs: list[tuple[StoredFile, RecordingFacts]] = []
    total_s = sum(file.seconds for file in files)
    done_s, begun = 0.0, time.monotonic()
    for file in files:
        place = target / "slices" / _key(file, settings)
        if not (place / FACTS).is_file():
            for share in _prepared_recording(file, folder, place, settings):
                fraction = COMPARING * (done_s + share * file.seconds) / total_s
                yield _progress("Listening", fraction, f"Listening to {file.name}.", begun)
        done_s += file.seconds
        yield _progress("Listening", COMPARING * done_s / total_s, f"{file.name} is cut.", begun)
        pairs.append((file, read_facts(place, file.name)))
    steps = _between(COMPARING, 1.0, _set_of(pairs, target, settings))
    prepared = yield from relay(
        steps, lambda fraction: _progress("Comparing", fraction, "Comparing the recordings.", begun)
    )
    _write(target, prepared, [facts.folder for _, facts in pairs], settings)
    said = "prepared %d recordings: %d slices, %.1f s of speech"
    logger.info(said, len(files), len(prepared.slices), prepared.report.speech_s)
    yield Done(result=prepared)


def is_prepared(folder: Path, settings: PrepareSettings) -> bool:
    """Whether the last finished `prepare` of an upload had these settings, in whatever version."""
    try:
        listing = json.loads((folder / "prepared" / "slices.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(listing["settings"] == asdict(settings))


def load_prepared(folder: Path) -> Prepared:
    """Read what the last finished `prepare` wrote; `folder` is the upload's, or `prepared` in it."""
    target = _target(folder)
    try:
        listing = _listing(target)
        report = DatasetReport.from_json(json.loads((target / "report.json").read_text(encoding="utf-8")))
        slices = [SliceRef(**{**row, "path": target / "slices" / row["path"]}) for row in listing["slices"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AudioError("These recordings are not prepared; prepare them (again) first.") from error
    return Prepared(slices=slices, report=report)


def load_slices(folder: Path, work: Path, *, goes_on: bool) -> list[SliceRef]:
    """Return the slices that a training learns from: without what was rejected when it began.

    Short ones are then joined anew, in `work`, the training's folder, so that nothing of what was rejected is
    in them. AudioError if too little is left.
    """
    target = _target(folder)
    slices = load_prepared(target).slices
    rejected = rejections_of(target.parent, work, goes_on=goes_on)
    pieces = load_pieces(target) if rejected.slices or rejected.files else []
    kept = [piece for piece in pieces if not rejected.covers(piece)]
    out = len(pieces) - len(kept)
    require_speech(sum(piece.seconds for piece in (kept if out else slices)), rejected=out)
    if out:  # without, there is nothing to keep: what goes on without a list goes on with all
        work.mkdir(parents=True, exist_ok=True)
        settings = PrepareSettings(**_listing(target)["settings"])
        slices = result_of(join_short(_as_slices(kept, target), work / JOINED, settings)).slices
        rejected.save(work)
    return slices


def _target(folder: Path) -> Path:
    return folder if (folder / "slices.json").is_file() else folder / "prepared"


def _listing(target: Path) -> dict[str, Any]:
    listing: dict[str, Any] = json.loads((target / "slices.json").read_text(encoding="utf-8"))
    return listing


def _key(file: StoredFile, settings: PrepareSettings) -> str:
    said = json.dumps([VERSION, file.sha256, asdict(settings)], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _prepared_recording(
    file: StoredFile, folder: Path, place: Path, settings: PrepareSettings
) -> Generator[float, None, None]:
    """Build a recording's folder beside its place and move it there when it is complete."""
    building = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.part")
    building.mkdir()
    try:
        yield from prepare_recording(file, folder / file.audio, building, settings)
        if place.exists():  # without its facts: what is left of a folder that somebody deleted
            shutil.rmtree(place)
        building.rename(place)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _set_of(
    pairs: Sequence[tuple[StoredFile, RecordingFacts]], target: Path, settings: PrepareSettings
) -> Generator[float, None, Prepared]:
    """Compare the recordings, join what is too short, and sum up; yields the share that is done."""
    found = yield from _between(0.0, JOINING, compare_recordings(pairs))
    pieces = _pieces(pairs, found.files)
    joined = yield from _between(
        JOINING, 1.0, join_short(_as_slices(pieces, target), target / "slices" / JOINED, settings)
    )
    save_pieces(pieces, target)
    return Prepared(
        slices=joined.slices,
        report=summarise(
            found.files, found.second_speaker, found.f0, joined=(joined.recordings, joined.into)
        ),
    )


def _pieces(pairs: Sequence[tuple[StoredFile, RecordingFacts]], reports: Sequence[FileReport]) -> list[Piece]:
    """List what the recordings were cut to and what is doubtful in it; duplicates have none."""
    used = [(*pair, report) for pair, report in zip(pairs, reports, strict=True) if not report.duplicate_of]
    usual = Usual.of([measured for _, facts, _ in used for measured in facts.measured])
    pieces = []
    for file, facts, report in used:
        for ref, measured in zip(facts.slices, facts.measured, strict=True):
            doubt, reasons = doubts(measured, ref.seconds, report.other_speaker_share, usual)
            file_id = file_id_of(file.sha256)
            piece = Piece(
                id=f"{file_id}-{round(ref.start_s * file.sample_rate_hz)}",
                file=file.name,
                file_id=file_id,
                path=f"{ref.path.parent.name}/{ref.path.name}",
                start_s=ref.start_s,
                seconds=ref.seconds,
                rate_hz=rate_of(file.sample_rate_hz),
                grade=GRADES.index(report.verdict),
                doubt=doubt,
                reasons=reasons,
                **vars(measured),
            )
            pieces.append(piece)
    return pieces


def _as_slices(pieces: Sequence[Piece], target: Path) -> list[tuple[SliceRef, int, int]]:
    """Return pieces as `join_short` takes them."""
    return [
        (
            SliceRef(
                path=target / "slices" / piece.path,
                seconds=piece.seconds,
                source_name=piece.file,
                start_s=piece.start_s,
            ),
            piece.rate_hz,
            piece.grade,
        )
        for piece in pieces
    ]


def _write(target: Path, prepared: Prepared, folders: Sequence[Path], settings: PrepareSettings) -> None:
    """Write the report and the list of slices, and remove the folders that are not of this set."""
    rows = [
        asdict(piece) | {"path": f"{piece.path.parent.name}/{piece.path.name}"} for piece in prepared.slices
    ]
    listing = {"version": VERSION, "settings": asdict(settings), "slices": rows}
    for name, content in (("report.json", prepared.report.to_json()), ("slices.json", listing)):
        with atomic_write(target / name) as path:
            path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    used = {folder.name for folder in folders} | {piece.path.parent.name for piece in prepared.slices}
    for other in (target / "slices").iterdir():
        if other.name not in used:
            shutil.rmtree(other, ignore_errors=True)


def _progress(stage: str, fraction: float, message: str, begun: float) -> Progress:
    elapsed = time.monotonic() - begun
    eta_s = elapsed * (1 - fraction) / fraction if fraction > 0.02 and elapsed > 1.0 else None
    return Progress(stage=stage, fraction=fraction, message=message, eta_s=eta_s)


def prepare_recording(
    file: StoredFile, audio: Path, folder: Path, settings: PrepareSettings
) -> Generator[float, None, None]:
    """Prepare one recording, decoded in `audio`, into an empty folder; yield the share that is done."""
    with closing(Recording(audio, file.name)) as recording:
        analysis = yield from _between(0.0, 0.6, _analyse(recording, settings.highpass_hz))
        measures = yield from _between(0.6, 0.75, _measured(recording, analysis.speech))
        yield 0.75
        cuts = cut_speech(
            analysis.speech,
            10 * np.log10(analysis.power + 1e-12),
            shortest=round(settings.shortest_slice_s * FRAMES_PER_S),
            longest=round(settings.longest_slice_s * FRAMES_PER_S),
        )
        yield 0.76
        spoken_db = analysis.speech_db(((0, analysis.speech.size),))
        noise = None
        if settings.reduce_noise:
            read = partial(recording.filtered, highpass_hz=settings.highpass_hz)
            noise = noise_of(read, recording.rate_hz, analysis.speech)
        rendering = SliceRendering(settings=settings, noise=noise, recording_db=spoken_db)
        yield 0.77
        slices = []
        for number, cut in enumerate(cuts):
            wav, rate_hz = render(recording, cut, analysis.speech_db(cut), rendering)
            path, seconds = folder / f"{number:04d}.flac", round(wav.size / rate_hz, 4)
            with AudioWriter(path, rate_hz, "flac", bits=24) as out:
                out.write(wav)
            measured = measure_slice(recording, analysis, cut, wav, spoken_db)
            where = {"file": path.name, "seconds": seconds, "start_s": cut[0][0] / FRAMES_PER_S}
            slices.append(where | asdict(measured))
            yield 0.77 + 0.2 * (number + 1) / len(cuts)
    windows = speaker_windows(analysis.log_mel, analysis.f0_hz, analysis.speech, turns(analysis.speech))
    yield 0.98
    halves = {"log_mel": windows.log_mel, "print": fingerprint(analysis.log_mel)}
    parts = vars(windows) | {name: part.astype(np.float16) for name, part in halves.items()}
    np.savez(folder / VOICE, **parts)
    yield 0.99
    facts = {"measures": asdict(measures), "slices": slices}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def turns(speech: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Divide a recording, shape (T,), where another person might have taken the word.

    Returns frames from..to of stretches that begin and end at pauses, each with some seconds of speech.
    """
    stretches: list[tuple[int, int]] = []
    begin, spoken, end = 0, 0, 0
    for start, stop in runs(speech).tolist():
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


def _analyse(recording: Recording, highpass_hz: float) -> Generator[float, None, Analysis]:
    """Listen to a recording without its offset and rumble, which would pass for loudness."""
    resampler = StreamResampler(recording.rate_hz, RATE_16K_HZ)
    parts: list[Floats] = []
    for start_s in np.arange(0.0, recording.samples / recording.rate_hz, _BLOCK_S).tolist():
        parts.append(resampler.push(recording.filtered(start_s, start_s + _BLOCK_S, highpass_hz)))
        yield 0.05
    wav = np.concatenate([*parts, resampler.finish()])
    parts.clear()
    step, loud = round(_BLOCK_S * RATE_16K_HZ), loud_rms(wav)
    detector = SpeechDetector(min(DETECTOR_RMS / loud, MAX_DETECTOR_GAIN) if loud > 0 else 1.0)
    for start in range(0, wav.size, step):
        detector.push(wav[start : start + step])
        yield 0.05 + 0.45 * min(start + step, wav.size) / wav.size
    speech = detector.finish()
    frames = speech.size
    f0_hz = (yield from _between(0.5, 0.9, PraatF0().track(wav)))[:frames]
    if frames < SHORT_FRAMES:
        active = active_frames(wav, RATE_16K_HZ)
        if np.count_nonzero(f0_hz[active]) >= VOICED_FRAMES:
            speech |= active
    bands = []
    for start in range(0, frames, _MEL_FRAMES):
        first = max(start - 2, 0)  # the half windows on either side of them
        part = wav[first * HOP_16K : (start + _MEL_FRAMES + 2) * HOP_16K]
        bands.append(log_mel(part)[start - first :][:_MEL_FRAMES])
        yield 0.9 + 0.1 * min(start + _MEL_FRAMES, frames) / frames
    blocks_of_10_ms = wav[: frames * HOP_16K].reshape(-1, HOP_16K)
    power = np.einsum("ij,ij->i", blocks_of_10_ms, blocks_of_10_ms, dtype=np.float64) / HOP_16K
    return Analysis(speech=speech, power=power, log_mel=np.concatenate(bands)[:frames], f0_hz=f0_hz)


def _measured(recording: Recording, speech: NDArray[np.bool_]) -> Generator[float, None, Measures]:
    seconds = recording.samples / recording.rate_hz
    starts, length = [0.0], seconds
    if seconds > MEASURED_S:
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
    measures = yield from measure_in_steps(np.concatenate(wavs), recording.rate_hz, np.concatenate(masks))
    return replace(measures, seconds=seconds, speech_seconds=float(speech.sum()) / FRAMES_PER_S)


def _between(since: float, until: float, steps: Generator[float, None, T]) -> Generator[float, None, T]:
    return relay(steps, lambda share: since + (until - since) * share)
