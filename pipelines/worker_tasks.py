"""Which pipeline does which type of job: from an order to a generator, and from its result to JSON.

A task takes a WorkOrder and is a generator of Progress and one Done whose result is a dict of JSON
values. "quality_snr" in it goes to the job's row; a conversion names its file, relative to the job's
folder, as "path" and its length as "seconds"; a training leaves the voice in order.bundle_folder, a batch
its recordings and where each stands as batch.py says.

The pipelines are imported inside the tasks: a worker loads only what its job needs. The server imports
neither this module nor them.
"""

from __future__ import annotations

import contextlib
import importlib
import secrets
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pipelines.events import Done, Events, Progress, result_of
from pipelines.job_settings import FOR_THE_CARD, divided
from pipelines.job_spec import WorkOrder
from rvc.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.recordings.uploads import StoredFile

Task: TypeAlias = "Callable[[WorkOrder], Events[dict[str, Any]]]"
"""What TASKS holds."""

PREPARE_SHARE = 0.1
"""How much of a training's progress bar its preparation gets."""


def preparation(order: WorkOrder) -> Events[dict[str, Any]]:
    """Recordings to clean slices and a report."""
    module = importlib.import_module("pipelines.recordings.prepare")  # loads the voice detector
    settings = _options(module.PrepareSettings, order.settings)
    prepared = yield from result_of(module.prepare(_files(order), order.upload_folder, settings))
    yield Done(result=_facts_of(prepared))


def training(order: WorkOrder) -> Events[dict[str, Any]]:
    """Recordings, prepared if they are not yet, to a voice."""
    prepare = importlib.import_module("pipelines.recordings.prepare")  # loads the voice detector
    train = importlib.import_module("pipelines.training.train")  # loads torch
    asked, for_training = divided(order.settings)
    for_preparing = order.prepare_settings | asked
    request = train.TrainRequest(
        prepared_folder=order.upload_folder,
        work_dir=order.work_folder,
        bundle_dir=order.bundle_folder,
        name=order.model_name or "",
        settings=_options(train.TrainSettings, for_training),
        **{name: order.settings.get(name) for name in FOR_THE_CARD},
    )
    share = 0.0
    if for_preparing or not (order.upload_folder / "prepared" / "slices.json").is_file():
        share = PREPARE_SHARE
        settings = _options(prepare.PrepareSettings, for_preparing)
        work = prepare.prepare(_files(order), order.upload_folder, settings)
        prepared = yield from result_of(work, until=share)
    else:
        prepared = prepare.load_prepared(order.upload_folder)
    trained = yield from result_of(train.train(request), since=share)
    yield Done(result=_facts_of(prepared) | _facts_of(trained))


def conversion(order: WorkOrder) -> Events[dict[str, Any]]:
    """One recording to the same in another voice."""
    module = importlib.import_module("pipelines.conversion.convert")  # loads torch
    (stored,) = _files(order)
    ready, options = yield from _readied(order)
    order.result_folder.mkdir(exist_ok=True)
    # A random name: Gradio serves a file to whoever knows its path.
    destination = order.result_folder / f"{secrets.token_hex(8)}.{options.format}"
    source = order.upload_folder / stored.audio
    record = _record(order, ready, options)
    work = module.convert(source, destination, ready.voice, options, ready.estimator, record)
    result = yield from result_of(work, since=ready.share)
    facts = {"path": str(Path(result.path).relative_to(order.folder)), "seconds": result.seconds}
    yield Done(result=_facts_of(result) | facts | {"f0_estimator": ready.estimator_name})


def batch(order: WorkOrder) -> Events[dict[str, Any]]:
    """Many recordings to the same in another voice."""
    module = importlib.import_module("pipelines.conversion.convert")  # loads torch
    uploads = importlib.import_module("pipelines.recordings.uploads")  # loads the decoders
    many = importlib.import_module("pipelines.conversion.batch")
    ready, options = yield from _readied(order)
    decoded = order.work_folder / "decoded.wav"

    def convert(row: dict[str, Any], destination: Path) -> Events[float]:
        upload = order.folder.parent / row["upload_id"]
        source = upload / row["audio"]
        try:
            if row["audio"] == row["original"]:  # kept as it came
                reading = uploads.decoding(source, decoded, row["name"], order.max_audio_seconds)
                with contextlib.closing(reading):
                    for _ in reading:
                        yield Progress(stage="Reading", fraction=0.0)
                source = decoded
            record = _record(order, ready, options)
            work = module.convert(source, destination, ready.voice, options, ready.estimator, record)
            result = yield from result_of(work)
            yield Done(result=float(result.seconds))
        finally:
            decoded.unlink(missing_ok=True)

    work = many.convert_all(order.files, order.folder, options.format, convert, attempt=order.attempt)
    result = yield from result_of(work, since=ready.share)
    yield Done(result=_facts_of(result) | {"f0_estimator": ready.estimator_name})


def _readied(order: WorkOrder) -> Generator[Progress, None, tuple[Any, Any]]:
    """Check the settings of a conversion and get its voice ready; return it (`Ready`) and the options."""
    options = _options(importlib.import_module("pipelines.conversion.convert").ConvertOptions, order.settings)
    if order.model_folder is None:
        raise ConfigError("The conversion names no voice; choose one.")
    yield Progress(stage="Loading the voice", fraction=0.0)
    ready_voice = importlib.import_module("pipelines.conversion.load_voice").ready_voice
    store = importlib.import_module("pipelines.weights").weight_store()
    ready = yield from result_of(ready_voice(order.model_folder, options.f0_estimator, store))
    return ready, options


def _record(order: WorkOrder, ready: Any, options: Any) -> Any:  # noqa: ANN401  # imported where they are used
    """Say how a recording is made, for its tags."""
    engine = ready.voice.engine.defaults
    speaking = asdict(options.speaking(engine))
    follow = engine.follow_loudness if options.follow_loudness is None else options.follow_loudness
    chosen = {name: speaking[name] for name in ("index_rate", "protect", "chunk_s")}
    chosen |= {"follow_loudness": follow, "f0_estimator": ready.estimator_name, "format": options.format}
    module = importlib.import_module("pipelines.conversion.provenance")
    return module.RunRecord(
        voice_name=order.model_name or ready.voice.card.name, voice_id=order.model_id or "", settings=chosen
    )


TASKS: Mapping[str, Task] = {
    "preprocessing": preparation,
    "training": training,
    "conversion": conversion,
    "batch": batch,
}


def _files(order: WorkOrder) -> list[StoredFile]:
    stored: type[StoredFile] = importlib.import_module(
        "pipelines.recordings.uploads"
    ).StoredFile  # loads the decoders
    return [stored.from_json(file) for file in order.files]


def _options(options: type[Any], settings: Mapping[str, Any]) -> Any:  # noqa: ANN401  # whichever class it is
    """Make an options object from settings as they came.

    Raises:
        ConfigError: A name is unknown, or a value is out of range or of a wrong kind.
    """
    known = [field.name for field in fields(options)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ConfigError(f"There is no setting {unknown[0]!r}; choose from: {', '.join(known)}.")
    if hasattr(options, "from_json"):
        return options.from_json(settings)
    try:
        return options(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"A setting has a value of a wrong kind ({error}); correct it.") from error


def _facts_of(result: object) -> dict[str, Any]:
    """Return what is worth telling of a pipeline's result: its plain numbers and words."""
    named: Iterable[tuple[str, Any]] = vars(result).items() if hasattr(result, "__dict__") else ()
    facts = {name: value for name, value in named if isinstance(value, (bool, int, float, str))}
    report = getattr(result, "report", None)
    snr_db = getattr(report, "snr_db", None)
    return facts if snr_db is None else facts | {"quality_snr": snr_db}
