"""Prepared recordings -> a voice: features, training, retrieval index, bundle.

    train(TrainRequest(...)) -> Progress, Progress, ..., Done(TrainResult)

Closing it saves what was done; calling it again with the same folders goes on from there: features are
cached, training resumes from its last checkpoint, and the bundle appears only when it is whole.
Runs in a child process: this module loads torch and faiss.

In `work_dir`:  features/, checkpoints/, samples/ (WAV files, named by Progress.data["sample"]).
In `bundle_dir`: card.json, model.safetensors, index.faiss.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.conversion.load_voice import fetched_estimator
from pipelines.events import Done, Events, Progress
from pipelines.events import result_of as passed_on
from pipelines.voices.bundle import INDEX, write_card
from pipelines.weights import fetch_pretrained, weight_store
from rvc.engine.card import FORMAT_VERSION
from rvc.engine.options import LITE, RVC, RVC_DEFAULTS
from rvc.engine.retrieval import MAX_ROWS, RetrievalIndex, thinned
from rvc.errors import AudioError, ConfigError, UnknownNameError
from rvc.pitch.f0 import F0Statistics, f0_statistics
from rvc.steps import relay, result_of
from rvc.training.checkpoints import new_bundle
from rvc.training.dataset import TrainingSet, extract_features, fixed_arithmetic, seed_of
from rvc.training.group import Group
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from rvc.training.task import Report, Task, TaskBuilder

if TYPE_CHECKING:
    from pipelines.recordings.segments import SliceRef
    from rvc.vits.task import RvcSizes

logger = logging.getLogger(__name__)

MIN_SPEECH_S = 10.0  # less does not hold all sounds of a language, whatever the engine
FEATURES_UNTIL, TRAINING_UNTIL, INDEX_UNTIL = 0.08, 0.95, 0.99  # shares of the progress bar
ENCODER = "contentvec"
FROM_SCRATCH = "It begins with random weights and takes far longer."


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    prepared_folder: Path  # what `pipelines.recordings.prepare.load_prepared` reads
    work_dir: Path  # what survives a stop; one training per folder
    bundle_dir: Path  # where the voice shall be; replaced if it exists
    name: str
    settings: TrainSettings = field(default_factory=TrainSettings)
    consent: Any = None  # what the person stated about the right to use this voice; None writes nothing
    licence: str | None = None
    index_rows: int = MAX_ROWS  # at most so many content vectors are kept in the retrieval index

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("The voice has no name; give it one.")

    @property
    def first_settings(self) -> TrainSettings:
        """How it begins: what goes on has its weights in its checkpoint, and needs no others."""
        return replace(self.settings, from_scratch=True) if self.goes_on else self.settings

    @property
    def goes_on(self) -> bool:
        """Whether it was begun before, and has kept where it was."""
        return any((self.work_dir / "checkpoints").glob("step-*.ckpt"))

    @property
    def note(self) -> str:
        """What is worth knowing of how it begins, for who waits."""
        return FROM_SCRATCH if self.settings.from_scratch else ""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    bundle_dir: Path
    name: str
    engine: str
    sample_rate_hz: int
    seconds_of_audio: float  # of the slices it was trained and scored on
    steps: int
    best_step: int  # of the state that was kept
    reason: str  # why it ended: "budget", "patience" or "diverged"
    score: float | None  # of that state on the held-out slices, lower is better
    note: str = ""  # what is worth knowing of how it began


def train(request: TrainRequest, group: Group | None = None) -> Events[TrainResult]:
    """Train a voice, or go on with a training that was stopped; the other processes of a group call `assist`.

    While training, Progress has `data`: step, total_steps, losses (smoothed, by name), steps_per_s; and at
    each scoring score (step, mel_db, f0_semitones, voicing_error, total), sample and reference (WAV files
    relative to work_dir).

    Raises:
        AudioError: Too little speech, none that is voiced, or a slice cannot be read.
        ConfigError: Other recordings or settings than those the folder's training began with, or it
            diverged before there was anything to keep.
        CheckpointError: All checkpoints are damaged.
        DownloadError: Weights that the engine trains with are not here and cannot be had.
        UnknownNameError: There is no such engine.
    """
    if request.settings.engine not in STARTS:
        raise UnknownNameError.among("engine", request.settings.engine, STARTS)
    slices = _load_slices(request.prepared_folder)
    with new_bundle(request.bundle_dir) as folder:
        card, content, result = yield from _train(request, slices, folder, group or Group.single())
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
        index = yield from _build_index(thinned(content, request.index_rows), folder / INDEX)
        write_card(folder, {**card, "retrieval": index})
    logger.info("voice %r: %d steps, best %d", request.name, result.steps, result.best_step)
    yield Done(result=result)


def assist(request: TrainRequest, group: Group) -> None:
    """Take part in a training that another process, with the same request, reports on and writes."""
    with closing(_begin(request, _load_slices(request.prepared_folder), group)) as steps:
        training, _ = result_of(steps)
    with closing(training.run()) as reports:
        result_of(reports)


def _load_slices(prepared_folder: Path) -> Sequence[SliceRef]:
    from pipelines.recordings.prepare import load_prepared

    slices = load_prepared(prepared_folder).slices
    seconds = sum(piece.seconds for piece in slices)
    if seconds < MIN_SPEECH_S:
        raise AudioError(
            f"The prepared recordings hold {seconds:.1f} s of speech and a voice needs at least "
            f"{MIN_SPEECH_S:.0f} s; add recordings (a few minutes are better)."
        )
    return slices


def _train(
    request: TrainRequest, slices: Sequence[SliceRef], folder: Path, group: Group
) -> Generator[Progress, None, tuple[dict[str, Any], NDArray[np.float32], TrainResult]]:
    """Make card, content and result: all that needs the networks, which are gone when it returns."""
    training, f0 = yield from _begin(request, slices, group)
    task, data, settings = training.task, training.data, request.settings
    with fixed_arithmetic(settings.thread_count, task.device):
        # Closing this closes the loop, which then saves its checkpoint.
        outcome = yield from relay(training.run(), partial(_progress_of, request.note))
        card = {**task.export(folder), "f0": asdict(f0)}
        card |= task.describe(piece.features for piece in data.slices)
        task.write_checkpoints(request.work_dir)
        content = yield from _collect_content(task, data)
    ended: dict[str, Any] = {name: getattr(outcome, name) for name in ("steps", "best_step", "reason")}
    best = [score["total"] for score in outcome.scores if score["step"] == outcome.best_step]
    result = TrainResult(
        bundle_dir=request.bundle_dir,
        name=request.name,
        engine=card["engine"],
        sample_rate_hz=card["sample_rate_hz"],
        seconds_of_audio=data.seconds,
        score=best[-1] if best else None,
        note=request.note,
        **ended,
    )
    card |= {
        "format_version": FORMAT_VERSION,
        "name": request.name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": {
            **ended,
            "seconds_of_audio": round(data.seconds, 2),
            "scores": outcome.scores,
            "seed": settings.seed,
            "batch_size": training.batch_size,
        },
        "sources": sorted({piece.source_name for piece in slices}),
    }
    stated = {"consent": request.consent, "licence": request.licence}
    return card | {name: value for name, value in stated.items() if value is not None}, content, result


def _begin(
    request: TrainRequest, slices: Sequence[SliceRef], group: Group
) -> Generator[Progress, None, tuple[Training, F0Statistics]]:
    """Build the task and take the features; in a group, one process first and the others from its cache."""
    settings = request.settings
    if not group.is_first:
        group.from_first(None)
    yield Progress(stage="Loading", fraction=0.0, message="Loading the engine.", needs_device=True)
    build = yield from STARTS[settings.engine](request.first_settings, group)
    torch.manual_seed(seed_of(settings.seed, "first weights"))
    task = build()

    def extracted(done: int) -> Progress:
        return Progress(
            stage="Features",
            fraction=FEATURES_UNTIL * done / len(slices),
            message=f"Slice {done} of {len(slices)}. {request.note}".strip(),
            needs_device=True,
        )

    with fixed_arithmetic(settings.thread_count, task.device):
        steps = extract_features(task, slices, request.work_dir / "features", settings.seed)
        found = yield from relay(steps, extracted)
    if group.is_first:
        group.from_first(None)
    # Asked before the training and not after it, because the answer may be that there is no voice.
    f0 = f0_statistics(np.concatenate([task.f0(piece.features) for piece in found]))
    if f0 is None:
        raise AudioError(
            "No voiced sound was found in the prepared recordings; add recordings with clear speech."
        )
    training = Training(task, TrainingSet.divide(found), settings, request.work_dir, group=group)
    return training, f0


def _progress_of(note: str, report: Report) -> Progress:
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
    for piece in data.slices:
        rows.append(task.content(piece.features)[::stride])
        yield Progress(stage="Retrieval index", fraction=TRAINING_UNTIL, needs_device=True)
    return np.concatenate(rows)


def _build_index(content: NDArray[np.float32], path: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Build the index, write it, and read it back, which tests it; return what the card says of it."""
    at = partial(Progress, stage="Retrieval index")
    yield at(fraction=TRAINING_UNTIL, message=f"{len(content)} vectors.")
    index = yield from relay(
        RetrievalIndex.build(content),
        lambda share: at(fraction=TRAINING_UNTIL + (INDEX_UNTIL - TRAINING_UNTIL) * share),
    )
    index.save(path)
    yield at(fraction=INDEX_UNTIL, message="Testing the index.")
    tested = RetrievalIndex.load(path, content.shape[1])
    return {"rows": tested.rows, "probed_cells": tested.probed_cells}


# Gets all that a task needs ready, maybe by downloads; returns what makes the task.
Start = Generator[Progress, None, TaskBuilder]


def _start_lite(settings: TrainSettings, group: Group) -> Start:
    from rvc.lite.task import build_task

    if group.size > 1:
        raise ConfigError(
            f"The engine {settings.engine!r} trains in one process; start it without torchrun, "
            "or set the engine 'rvc'."
        )
    yield from ()
    return build_task


def start_rvc(settings: TrainSettings, group: Group, sizes: Callable[..., RvcSizes] | None = None) -> Start:
    """Get the first weights, the content encoder and who finds the melody."""
    from rvc.vits.task import RvcFiles, RvcTask, published_sizes

    store = weight_store()
    first = yield from fetch_pretrained(settings, store)
    encoder = yield from passed_on(store.fetch(ENCODER), until=0.0)
    asked = settings.f0_estimator
    candidates = (asked,) if asked else RVC_DEFAULTS.f0_estimators
    name, estimator = yield from fetched_estimator(candidates, store, 0.0)
    files = RvcFiles(encoder=encoder, estimator_name=name or "praat", estimator=estimator)
    if first:
        files = replace(files, generator=first[0], discriminators=first[1])
    of_networks = (sizes or published_sizes)(settings.version, settings.sample_rate_hz, uses_f0=settings.f0)
    build = partial(
        RvcTask, precision=settings.precision, gradient_checkpointing=settings.gradient_checkpointing
    )
    return partial(build, of_networks, files, group)


STARTS: dict[str, Callable[[TrainSettings, Group], Start]] = {LITE: _start_lite, RVC: start_rvc}
