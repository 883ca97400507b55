"""Prepared recordings -> a voice: features, training, retrieval index, bundle.

    train(TrainRequest(...)) -> Progress, Progress, ..., Done(TrainResult)

Closing it saves what was done; calling it again with the same folders goes on from there: features are
cached, training resumes from its last checkpoint, and the bundle appears only when it is whole.
Runs in a child process: this module loads torch and faiss.

In `work_dir`:  features/, checkpoints/, samples/ (WAV files, named by Progress.data["sample"]).
In `bundle_dir`: card.json, model.safetensors, index.faiss.
Not here: the loop (rvc/training), networks (the engines), slices (pipelines/recordings/prepare.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.events import Done, Events, Progress
from pipelines.training.engines import TASKS
from pipelines.voices.bundle import INDEX, write_card
from rvc.engine.card import FORMAT_VERSION
from rvc.engine.retrieval import MAX_ROWS, RetrievalIndex, thinned
from rvc.errors import AudioError, ConfigError
from rvc.pitch.f0 import F0Statistics, f0_statistics
from rvc.steps import result_of
from rvc.training.checkpoints import new_bundle
from rvc.training.features import Slice, TrainingSet, extract_features
from rvc.training.group import Group
from rvc.training.loop import REPORT_INTERVAL_S, Training
from rvc.training.order import fixed_arithmetic, seed_of
from rvc.training.settings import TrainSettings
from rvc.training.task import Outcome, Report, Task

if TYPE_CHECKING:
    from pipelines.recordings.segments import SliceRef

__all__ = ["MIN_SPEECH_S", "TASKS", "TrainRequest", "TrainResult", "TrainSettings", "assist", "train"]

logger = logging.getLogger(__name__)

MIN_SPEECH_S = 10.0
"""Less speech than this does not hold all sounds of a language, whatever the engine."""

FEATURES_UNTIL = 0.08
TRAINING_UNTIL = 0.95
INDEX_UNTIL = 0.99
"""Shares of the progress bar at which the stages end."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train, from where and to where.

    Attributes:
        prepared_folder: The folder that `pipelines.recordings.prepare.load_prepared` reads.
        work_dir: What survives a stop: features, checkpoints, samples. One training per folder.
        bundle_dir: Where the voice shall be; replaced if it exists.
        name: What the voice is called.
        settings: How to train.
        consent: What the person stated about the right to use this voice; None writes nothing.
        licence: Under which the recordings may be used; None writes nothing.
        index_rows: At most this many content vectors are kept in the retrieval index.

    Raises:
        ConfigError: The name is empty.
    """

    prepared_folder: Path
    work_dir: Path
    bundle_dir: Path
    name: str
    settings: TrainSettings = field(default_factory=TrainSettings)
    consent: Any = None
    licence: str | None = None
    index_rows: int = MAX_ROWS

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("The voice has no name; give it one.")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained voice.

    Attributes:
        bundle_dir: Its folder.
        name: What it is called.
        engine: Which engine speaks it.
        sample_rate_hz: Rate of the audio that it gives.
        seconds_of_audio: Length of the slices it was trained and scored on.
        steps: Steps taken.
        best_step: Step of the state that was kept.
        reason: Why it ended: "budget", "patience" or "diverged".
        score: Score of that state on the held-out slices, lower is better; None if it had none.
        note: What is worth knowing of how it began; else empty.
    """

    bundle_dir: Path
    name: str
    engine: str
    sample_rate_hz: int
    seconds_of_audio: float
    steps: int
    best_step: int
    reason: str
    score: float | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A training that can run."""

    task: Task
    data: TrainingSet
    training: Training
    f0: F0Statistics
    note: str


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What is left of a training when its networks are gone."""

    card: dict[str, Any]
    content: NDArray[np.float32]
    outcome: Outcome
    seconds: float
    batch_size: int
    note: str


def train(request: TrainRequest, group: Group | None = None) -> Events[TrainResult]:
    """Train a voice, or go on with a training that was stopped.

    Args:
        request: What to train, from where and to where.
        group: The processes that train together, of which this is the first; the others call `assist`.

    Yields:
        Progress with, while training, `data`: step, total_steps, losses (smoothed, by name), steps_per_s;
        and at each scoring score (step, mel_db, f0_semitones, voicing_error, total), sample and reference
        (WAV files relative to work_dir). At last Done with the result.

    Raises:
        AudioError: Too little speech, none that is voiced, or a slice cannot be read.
        ConfigError: Other recordings or settings than those the folder's training began with, or it
            diverged before there was anything to keep.
        CheckpointError: All checkpoints are damaged.
        DownloadError: Weights without which the engine cannot train are not here and cannot be had.
        UnknownNameError: There is no such engine.
    """
    TASKS.build(request.settings.engine)
    slices = _load_slices(request.prepared_folder)
    with new_bundle(request.bundle_dir) as folder:
        trained = yield from _train(request, slices, folder, group or Group.alone())
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
        index = yield from _build_index(thinned(trained.content, request.index_rows), folder / INDEX)
        card = {**trained.card, **_own_card(request, trained, slices), "retrieval": index}
        write_card(folder, card)
    logger.info("voice %r: %d steps, best %d", request.name, trained.outcome.steps, trained.outcome.best_step)
    best = [s["total"] for s in trained.outcome.scores if s["step"] == trained.outcome.best_step]
    yield Done(
        result=TrainResult(
            bundle_dir=request.bundle_dir,
            name=request.name,
            engine=card["engine"],
            sample_rate_hz=card["sample_rate_hz"],
            seconds_of_audio=trained.seconds,
            steps=trained.outcome.steps,
            best_step=trained.outcome.best_step,
            reason=trained.outcome.reason,
            score=best[-1] if best else None,
            note=trained.note,
        )
    )


def assist(request: TrainRequest, group: Group) -> None:
    """Take part in a training that another process of the group reports on and writes.

    Args:
        request: The same as the first process's.
        group: With this process's number.

    Raises:
        RvcError: As `train`.
    """
    with closing(_begin(request, _load_slices(request.prepared_folder), group)) as steps:
        begun: _Begun = result_of(steps)
    with closing(begun.training.run()) as reports:
        result_of(reports)


def _load_slices(prepared_folder: Path) -> Sequence[SliceRef]:
    from pipelines.recordings.prepare import load_prepared

    slices: Sequence[SliceRef] = load_prepared(prepared_folder).slices
    seconds = sum(piece.seconds for piece in slices)
    if seconds < MIN_SPEECH_S:
        raise AudioError(
            f"The prepared recordings hold {seconds:.1f} s of speech and a voice needs at least "
            f"{MIN_SPEECH_S:.0f} s; add recordings (a few minutes are better)."
        )
    return slices


def _train(
    request: TrainRequest, slices: Sequence[SliceRef], folder: Path, group: Group
) -> Generator[Progress, None, _Trained]:
    """Everything that needs the networks; they are gone from memory when it returns."""
    begun = yield from _begin(request, slices, group)
    task = begun.task
    with fixed_arithmetic(request.settings.thread_count, task.device):
        outcome = yield from _run(begun.training, begun.note)
        card = {**task.export(folder), "f0": asdict(begun.f0)}
        card |= task.describe(piece.features for piece in begun.data.slices)
        task.write_checkpoints(request.work_dir)
        content = yield from _collect_content(task, begun.data)
    return _Trained(
        card=card,
        content=content,
        outcome=outcome,
        seconds=begun.data.seconds,
        batch_size=begun.training.batch_size,
        note=begun.note,
    )


def _begin(
    request: TrainRequest, slices: Sequence[SliceRef], group: Group
) -> Generator[Progress, None, _Begun]:
    """Build the task and take the features; in a group, one process first and the others from its cache."""
    settings = request.settings
    if not group.is_first:
        group.from_first(None)
    yield Progress(stage="Loading", fraction=0.0, message="Loading the engine.", needs_device=True)
    start = yield from TASKS.build(settings.engine)(settings, group)
    torch.manual_seed(seed_of(settings.seed, "first weights"))
    task = start.build()
    with fixed_arithmetic(settings.thread_count, task.device):
        found = yield from _extract(task, slices, request, start.note)
    if group.is_first:
        group.from_first(None)
    # Asked before the training and not after it, because the answer may be that there is no voice.
    f0 = f0_statistics(np.concatenate([task.f0(piece.features) for piece in found]))
    if f0 is None:
        raise AudioError(
            "No voiced sound was found in the prepared recordings; add recordings with clear speech."
        )
    data = TrainingSet.divide(found)
    training = Training(task, data, settings, request.work_dir, group=group)
    return _Begun(task=task, data=data, training=training, f0=f0, note=start.note)


def _extract(
    task: Task, slices: Sequence[SliceRef], request: TrainRequest, note: str
) -> Generator[Progress, None, list[Slice]]:
    pace = _Pace()
    with closing(
        extract_features(task, slices, request.work_dir / "features", request.settings.seed)
    ) as steps:
        while True:
            try:
                done = next(steps)
            except StopIteration as stop:
                found: list[Slice] = stop.value
                return found
            if pace.is_due():
                yield Progress(
                    stage="Features",
                    fraction=FEATURES_UNTIL * done / len(slices),
                    message=f"Slice {done} of {len(slices)}. {note}".strip(),
                    needs_device=True,
                )


def _run(training: Training, note: str) -> Generator[Progress, None, Outcome]:
    # Closing this generator closes the loop, which then saves its checkpoint.
    with closing(training.run()) as reports:
        while True:
            try:
                report = next(reports)
            except StopIteration as stop:
                outcome: Outcome = stop.value
                return outcome
            yield _progress_of(report, note)


def _progress_of(report: Report, note: str) -> Progress:
    data: dict[str, Any] = {
        "step": report.step,
        "total_steps": report.total_steps,
        "losses": report.losses,
        "steps_per_s": report.steps_per_s,
    }
    if report.score is not None:
        data["score"] = report.score
    if report.sample is not None:
        data |= {"sample": report.sample, "reference": report.reference}
    share = min(report.step / report.total_steps, 1.0)
    return Progress(
        stage=report.stage,
        fraction=FEATURES_UNTIL + (TRAINING_UNTIL - FEATURES_UNTIL) * share,
        message=f"{report.message or f'Step {report.step} of {report.total_steps}.'} {note}".strip(),
        eta_s=report.seconds_left,
        needs_device=True,
        data=data,
    )


def _collect_content(task: Task, data: TrainingSet) -> Generator[Progress, None, NDArray[np.float32]]:
    """Read the rows of the index, thinned on the way so that hours of wide vectors fit into memory."""
    stride = max(1, int(100 * data.seconds) // (2 * MAX_ROWS))
    rows: list[NDArray[np.float32]] = []
    pace = _Pace()
    for piece in data.slices:
        rows.append(task.content(piece.features)[::stride])
        if pace.is_due():
            yield Progress(stage="Retrieval index", fraction=TRAINING_UNTIL, needs_device=True)
    return np.concatenate(rows)


def _build_index(content: NDArray[np.float32], path: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Build the index, write it, and read it back, which tests it; return what the card says of it."""
    stage = "Retrieval index"
    yield Progress(stage=stage, fraction=TRAINING_UNTIL, message=f"{len(content)} vectors.")
    with closing(RetrievalIndex.build(content)) as steps:
        while True:
            try:
                share = next(steps)
            except StopIteration as stop:
                index: RetrievalIndex = stop.value
                break
            yield Progress(stage=stage, fraction=TRAINING_UNTIL + (INDEX_UNTIL - TRAINING_UNTIL) * share)
    index.save(path)
    yield Progress(stage=stage, fraction=INDEX_UNTIL, message="Testing the index.")
    tested = RetrievalIndex.load(path, content.shape[1])
    return {"rows": tested.rows, "probed_cells": tested.probed_cells}


def _own_card(request: TrainRequest, trained: _Trained, slices: Sequence[SliceRef]) -> dict[str, Any]:
    """What the pipeline knows for the card, beside what the engine said."""
    outcome, settings = trained.outcome, request.settings
    stated = {"consent": request.consent, "licence": request.licence}
    return {
        "format_version": FORMAT_VERSION,
        "name": request.name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": {
            "steps": outcome.steps,
            "best_step": outcome.best_step,
            "reason": outcome.reason,
            "seconds_of_audio": round(trained.seconds, 2),
            "scores": outcome.scores,
            "seed": settings.seed,
            "batch_size": trained.batch_size,
        },
        "sources": sorted({piece.source_name for piece in slices}),
        **{name: value for name, value in stated.items() if value is not None},
    }


class _Pace:
    """Tells when it is time for the next sign of life."""

    def __init__(self) -> None:
        self._last = 0.0

    def is_due(self) -> bool:
        """Whether a tenth of a second has passed since this last was true."""
        now = time.monotonic()
        if now - self._last < REPORT_INTERVAL_S:
            return False
        self._last = now
        return True
