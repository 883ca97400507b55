"""Prepared recordings -> a voice: features, training, retrieval index, bundle.

    train(TrainRequest(...)) -> Progress, Progress, ..., Done(TrainResult)

Closing it saves what was done; calling it again with the same folders goes on from there: features are
cached, training resumes from its last checkpoint, and the bundle appears only when it is whole.
Runs in a child process: this module loads torch and faiss.

In `work_dir`:  features/, checkpoints/, samples/ (WAV files, named by Progress.data["sample"]), and
snapshots/: the voices of some scorings, and the index, which they share and which is therefore built first.
In `bundle_dir`: card.json, model.safetensors, index.faiss, sample.mp3.
"""

from __future__ import annotations

import logging
import shutil
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
from pipelines.job_spec import FOR_THE_CARD
from pipelines.voices.bundle import INDEX, SAMPLE, write_card
from pipelines.voices.snapshots import Snapshots
from pipelines.weights import fetch_pretrained, weight_store
from rvc.audio.sample_file import save_sample
from rvc.engine.card import FORMAT_VERSION
from rvc.engine.options import LITE, RVC, RVC_DEFAULTS
from rvc.engine.retrieval import MAX_ROWS, RetrievalIndex, thinned
from rvc.errors import AudioError, ConfigError, UnknownNameError
from rvc.pitch.f0 import F0Statistics, f0_statistics
from rvc.steps import relay, result_of
from rvc.training.checkpoints import new_bundle
from rvc.training.dataset import TrainingSet, extract_features, fixed_arithmetic, seed_of
from rvc.training.group import Group
from rvc.training.loop import Training, sample_name
from rvc.training.settings import TrainSettings
from rvc.training.task import Report, Task, TaskBuilder

if TYPE_CHECKING:
    from pipelines.recordings.segments import SliceRef
    from rvc.vits.task import RvcSizes

logger = logging.getLogger(__name__)

FEATURES_UNTIL, INDEX_UNTIL, TRAINING_UNTIL = 0.06, 0.08, 0.99  # shares of the progress bar
ENCODER = "contentvec"
FROM_SCRATCH = "It begins with random weights and takes far longer."


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    prepared_folder: Path  # what `pipelines.recordings.prepare.load_slices` reads
    work_dir: Path  # what survives a stop; one training per folder
    bundle_dir: Path  # where the voice shall be; replaced if it exists
    name: str
    settings: TrainSettings = field(default_factory=TrainSettings)
    consent: Any = None  # what the person stated about the right to use this voice; None writes nothing
    licence: str | None = None
    language: str | None = None  # of the recordings, a tag of BCP 47
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
    """Train a voice, or go on with one that was stopped; other processes of a group call `train_rank`.

    While training, Progress has `data`: step, total_steps, losses (smoothed, by name), steps_per_s; and at
    each scoring score (step, mel_db, f0_semitones, voicing_error, total), is_best, sample and reference (WAV
    files relative to work_dir). Without any steps there is one scoring, of step 0, and no snapshot.

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
    group = group or Group.single()
    slices = _load_slices(request, group)
    with new_bundle(request.bundle_dir) as folder:
        result = yield from _train(request, slices, folder, group)
    logger.info("voice %r: %d steps, best %d", request.name, result.steps, result.best_step)
    yield Done(result=result)


def train_rank(request: TrainRequest, group: Group) -> None:
    """Take part in a training that another process, with the same request, reports on and writes."""
    with closing(_begin(request, _load_slices(request, group), group)) as steps:
        training, _ = result_of(steps)
    with closing(training.run()) as reports:
        result_of(reports)


def _load_slices(request: TrainRequest, group: Group) -> Sequence[SliceRef]:
    """Return the slices to learn from, which a group's first process joins in the folder and notes alone."""
    from pipelines.recordings.prepare import load_slices

    own = (request.prepared_folder, request.work_dir)
    found: Sequence[SliceRef] = []
    if group.is_first:
        found = load_slices(request.prepared_folder, request.work_dir, goes_on=request.goes_on)
    found, folders = group.from_first((found, own))

    def here(piece: SliceRef) -> SliceRef:
        pairs = zip(folders, own, strict=True)
        theirs, mine = next(pair for pair in pairs if piece.path.is_relative_to(pair[0]))
        return replace(piece, path=mine / piece.path.relative_to(theirs))

    slices = [here(piece) for piece in found]
    for folder in own:
        inside = [piece.path for piece in slices if piece.path.is_relative_to(folder)]
        group.share_files([path.relative_to(folder).as_posix() for path in inside], folder)
    return slices


def _train(
    request: TrainRequest, slices: Sequence[SliceRef], folder: Path, group: Group
) -> Generator[Progress, None, TrainResult]:
    """Write the voice into a folder, and on the way those of the scorings."""
    training, f0 = yield from _begin(request, slices, group)
    task, data, settings = training.task, training.data, request.settings
    snapshots = Snapshots(request.work_dir)
    facts = yield from _describe(request, slices, training, f0, snapshots.index)

    def write(into: Path, best_step: int, **ended: object) -> dict[str, Any]:
        trained = {**facts["training"], **ended, "best_step": best_step, "scores": training.scores}
        card = {**facts, **task.export(into), "training": trained}
        write_card(into, card)
        spoken = request.work_dir / sample_name(best_step)
        if spoken.is_file():
            save_sample(spoken, into / SAMPLE)
        return card

    def reported(report: Report) -> Progress:
        if report.score is not None and report.step:  # 0 would be the whole voice once more
            # The loop stands still, and the networks are those that were scored.
            with new_bundle(snapshots.folder(report.step)) as into:
                write(into, steps=report.step, best_step=report.step, reason="chosen")
            snapshots.thin(training.best_step)
        return _progress_of(request.note, report)

    with fixed_arithmetic(settings.thread_count, task.device):
        # Closing this closes the loop, which then saves its checkpoint.
        outcome = yield from relay(training.run(), reported)
        ended: dict[str, Any] = {name: getattr(outcome, name) for name in ("steps", "best_step", "reason")}
        card = write(folder, **ended)
        task.write_checkpoints(request.work_dir)
    shutil.copyfile(snapshots.index, folder / INDEX)
    best = [score["total"] for score in outcome.scores if score["step"] == outcome.best_step]
    return TrainResult(
        bundle_dir=request.bundle_dir,
        name=request.name,
        engine=card["engine"],
        sample_rate_hz=card["sample_rate_hz"],
        seconds_of_audio=data.seconds,
        score=best[-1] if best else None,
        note=request.note,
        **ended,
    )


def _describe(
    request: TrainRequest, slices: Sequence[SliceRef], training: Training, f0: F0Statistics, index: Path
) -> Generator[Progress, None, dict[str, Any]]:
    """Build the retrieval index, and return the card's fields that no step of the training changes."""
    task, data, settings = training.task, training.data, request.settings
    with fixed_arithmetic(settings.thread_count, task.device):
        described = task.describe(piece.features for piece in data.slices)
        content = yield from _collect_content(task, data)
    retrieval = yield from _build_index(thinned(content, request.index_rows), index)
    stated = {name: getattr(request, name) for name in FOR_THE_CARD}
    return {
        **described,
        "f0": asdict(f0),
        "format_version": FORMAT_VERSION,
        "name": request.name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": {
            "seconds_of_audio": round(data.seconds, 2),
            "seed": settings.seed,
            "batch_size": training.batch_size,
        },
        "sources": sorted({piece.source_name for piece in slices}),
        "retrieval": retrieval,
        **{name: value for name, value in stated.items() if value is not None},
    }


def _begin(
    request: TrainRequest, slices: Sequence[SliceRef], group: Group
) -> Generator[Progress, None, tuple[Training, F0Statistics]]:
    """Build the task and take the features; in a group, one process first, and the others are given them."""
    settings, features = request.settings, request.work_dir / "features"
    if not group.is_first:
        group.share_files((), features)
    yield Progress(stage="Loading", fraction=0.0, message="Loading the engine.", needs_device=True)
    build = yield from STARTS[settings.engine](request.first_settings, group)
    torch.manual_seed(seed_of(settings.seed, "first weights"))
    task = build()
    if not group.is_first and group.from_first("") != task.features_key:
        raise ConfigError(
            "The weights of this training's processes differ, so they cannot train together; give all "
            "machines the same."
        )

    def extracted(done: int) -> Progress:
        return Progress(
            stage="Features",
            fraction=FEATURES_UNTIL * done / len(slices),
            message=f"Slice {done} of {len(slices)}. {request.note}".strip(),
            needs_device=True,
        )

    with fixed_arithmetic(settings.thread_count, task.device):
        steps = extract_features(task, slices, features, settings.seed)
        found = yield from relay(steps, extracted)
    if group.is_first:
        group.share_files([path.name for path in features.iterdir()], features)
        group.from_first(task.features_key)
    # Asked before the training and not after it, because the answer may be that there is no voice.
    f0 = f0_statistics(np.concatenate([task.f0(piece.features) for piece in found]))
    if f0 is None:
        raise AudioError(
            "No voiced sound was found in the prepared recordings; add recordings with clear speech."
        )
    training = Training(task, TrainingSet.divide(found), settings, request.work_dir, group=group)
    return training, f0


def _progress_of(note: str, report: Report) -> Progress:
    step = f"Step {report.step} of {report.total_steps}."
    data: dict[str, Any] = {
        "step": report.step,
        "total_steps": report.total_steps,
        "losses": report.losses,
        "steps_per_s": report.steps_per_s,
    }
    if report.score is not None:
        data |= {"score": report.score, "is_best": report.is_best}
    if report.sample is not None:
        data |= {"sample": report.sample, "reference": report.reference}
    return Progress(
        stage=report.stage,
        fraction=INDEX_UNTIL + (TRAINING_UNTIL - INDEX_UNTIL) * report.share,
        message=f"{report.message or step} {note}".strip(),
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
        yield Progress(stage="Retrieval index", fraction=FEATURES_UNTIL, needs_device=True)
    return np.concatenate(rows)


def _build_index(content: NDArray[np.float32], path: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Build the index, write it, and read it back, which tests it; return what the card says of it."""
    at = partial(Progress, stage="Retrieval index")
    yield at(fraction=FEATURES_UNTIL, message=f"{len(content)} vectors.")
    index = yield from relay(
        RetrievalIndex.build(content),
        lambda share: at(fraction=FEATURES_UNTIL + (INDEX_UNTIL - FEATURES_UNTIL) * share),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
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
