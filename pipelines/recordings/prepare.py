"""Recordings to clean slices, and a report on the set.

    folder/prepared/slices/<key>/   one folder per recording and settings: NNN.flac, voice.npz, facts.json
    folder/prepared/report.json     the report (`DatasetReport.to_json`)
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.events import Done, Events, Progress
from pipelines.job_spec import PrepareSettings
from pipelines.recordings.compare import assemble
from pipelines.recordings.prepare_recording import FACTS, RecordingFacts, prepare_recording, read_facts
from pipelines.recordings.report import DatasetReport
from pipelines.recordings.uploads import StoredFile
from rvc.errors import AudioError

__all__ = ["PrepareSettings", "Prepared", "SliceRef", "load_prepared", "prepare"]

logger = logging.getLogger(__name__)

VERSION = 1
"""Part of the key: raise it when the same settings give other slices."""

COMPARING = 0.9
"""Share of the work after which only the comparison of the recordings is left."""


@dataclass(frozen=True, kw_only=True)
class SliceRef:
    """One slice on disk.

    Attributes:
        path: FLAC file, mono, 24 bits.
        seconds: Length.
        source_name: What the recording it was cut from is called.
        start_s: Where in that recording it begins.
    """

    path: Path
    seconds: float
    source_name: str
    start_s: float


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What preparing gives.

    Attributes:
        slices: All slices, in the order of the recordings; duplicates have none.
        report: The report on the set.
    """

    slices: list[SliceRef]
    report: DatasetReport


def prepare(files: Sequence[StoredFile], folder: Path, settings: PrepareSettings) -> Events[Prepared]:
    """Clean and cut recordings and report on them; what an earlier run has done is not done again.

    Args:
        files: The recordings of an upload.
        folder: The upload's folder; `prepared` in it is written.
        settings: What to do.

    Yields:
        Progress at least once a second, then Done. It may be closed at any of them.

    Raises:
        AudioError: There is no recording, or one can no longer be read.
    """
    if not files:
        raise AudioError("There is no recording to prepare; upload at least one.")
    torch.set_num_threads(1)  # the network is tiny: more threads only wait for each other
    target = folder / "prepared"
    (target / "slices").mkdir(parents=True, exist_ok=True)
    for leftover in (target / "slices").glob(".*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    facts: list[RecordingFacts] = []
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
        facts.append(read_facts(place))
    report = yield from _compared(list(zip(files, facts, strict=True)), begun)
    slices = _write(target, report, facts, settings)
    logger.info(
        "prepared %d recordings: %d slices, %.1f s of speech", len(files), len(slices), report.speech_s
    )
    yield Done(result=Prepared(slices=slices, report=report))


def load_prepared(folder: Path) -> Prepared:
    """Read what `prepare` wrote.

    Args:
        folder: The upload's folder, or `prepared` in it.

    Returns:
        What the last finished run gave.

    Raises:
        AudioError: The recordings have not been prepared, or what was written is damaged.
    """
    target = folder if (folder / "slices.json").is_file() else folder / "prepared"
    try:
        listing = json.loads((target / "slices.json").read_text(encoding="utf-8"))
        report = DatasetReport.from_json(json.loads((target / "report.json").read_text(encoding="utf-8")))
        slices = [SliceRef(**{**row, "path": target / "slices" / row["path"]}) for row in listing["slices"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AudioError("These recordings are not prepared; prepare them (again) first.") from error
    return Prepared(slices=slices, report=report)


def _key(file: StoredFile, settings: PrepareSettings) -> str:
    """Name the work on a recording by all that decides its result."""
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


def _compared(
    pairs: list[tuple[StoredFile, RecordingFacts]], begun: float
) -> Generator[Progress, None, DatasetReport]:
    steps = assemble(pairs)
    while True:
        try:
            share = next(steps)
        except StopIteration as stop:
            report: DatasetReport = stop.value
            return report
        yield _progress("Comparing", COMPARING + (1 - COMPARING) * share, "Comparing the recordings.", begun)


def _write(
    target: Path, report: DatasetReport, facts: Sequence[RecordingFacts], settings: PrepareSettings
) -> list[SliceRef]:
    """Write the report and the list of slices, and remove the folders that are not of this set."""
    rows: list[dict[str, Any]] = []
    for file, known in zip(report.files, facts, strict=True):
        if file.duplicate_of is None:
            rows += [
                {
                    "path": f"{known.folder.name}/{piece.file}",
                    "seconds": piece.seconds,
                    "source_name": file.name,
                    "start_s": piece.start_s,
                }
                for piece in known.slices
            ]
    _replace(target / "report.json", report.to_json())
    _replace(target / "slices.json", {"version": VERSION, "settings": asdict(settings), "slices": rows})
    used = {known.folder.name for known in facts}
    for other in (target / "slices").iterdir():
        if other.name not in used:
            shutil.rmtree(other, ignore_errors=True)
    return [SliceRef(**{**row, "path": target / "slices" / row["path"]}) for row in rows]


def _replace(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    temporary.replace(path)


def _progress(stage: str, fraction: float, message: str, begun: float) -> Progress:
    elapsed = time.monotonic() - begun
    eta_s = elapsed * (1 - fraction) / fraction if fraction > 0.02 and elapsed > 1.0 else None
    return Progress(stage=stage, fraction=fraction, message=message, eta_s=eta_s)
