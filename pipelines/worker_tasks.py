"""What a worker does, by the type of its job.

A task takes a JobSpec and is a pipeline whose result is a dict of JSON values. "quality_snr" in it goes to
the job's row; a conversion names its file, relative to the job's folder, as "path" and its length as
"seconds"; a training leaves the voice in spec.bundle_folder, a batch its recordings and where each stands as
batch.py says. A task imports its pipeline itself, so that a worker loads only what its job needs.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pipelines.events import Done, Events, Progress, result_of
from pipelines.job_spec import (
    SEPARATING_SHARE,
    CoverOptions,
    JobSpec,
    PrepareSettings,
    SpeechOptions,
    divided,
)
from pipelines.marks.inspection import source_marks
from pipelines.store.records import STEMS, TEXT, spoken_path
from rvc.checked import read_settings
from rvc.engine.options import ConvertOptions
from rvc.errors import ConfigError
from rvc.steps import relay
from rvc.training.settings import TrainSettings

if TYPE_CHECKING:
    from pipelines.conversion.convert import ConvertResult
    from pipelines.conversion.cover.separating import FindsVocals
    from pipelines.conversion.cover.stages import CoverResult
    from pipelines.conversion.load_voice import LoadedVoice
    from pipelines.marks.provenance import Provenance
    from pipelines.recordings.prepare import Prepared
    from pipelines.recordings.uploads import StoredFile
    from pipelines.training.train import TrainRequest

SAYING_SHARE = 0.2  # how much of the progress bar of a text is that it is read aloud
PREPARE_SHARE = 0.1  # how much of a training's progress bar its preparation gets
# What of a conversion's settings its recording tells, beside who found the melody.
TOLD_SETTINGS = (
    *("index_rate", "protect", "chunk_s", "follow_loudness", "reduce_noise"),
    *("f0_estimator", "format"),
)
TOLD_OF_MIX = ("format", "voice_gain_db", "backing_gain_db", "reverb")  # besides, of a cover's

Task: TypeAlias = "Callable[[JobSpec], Events[dict[str, Any]]]"


def preparation(spec: JobSpec) -> Events[dict[str, Any]]:
    """Recordings to clean slices and a report."""
    from pipelines.recordings.prepare import prepare  # loads the voice detector

    settings = read_settings(PrepareSettings, spec.settings)
    prepared = yield from result_of(prepare(_files(spec), spec.upload_folder, settings))
    yield Done(result=_quality_of(prepared))


def training(spec: JobSpec) -> Events[dict[str, Any]]:
    """Recordings, prepared if they are not yet, to a voice; of a group of processes, by the first."""
    from pipelines.recordings.prepare import is_prepared, load_prepared, prepare  # loads the detector
    from pipelines.training.train import train  # loads torch
    from pipelines.weights import fetch_pretrained, weight_store
    from rvc.training.group import Group

    request = _train_request(spec)
    for_preparing = spec.prepare_settings | divided(spec.settings)[0]
    yield from fetch_pretrained(request.first_settings, weight_store())  # before anything takes long
    share = 0.0
    settings = read_settings(PrepareSettings, for_preparing)
    # What goes on has learned from the slices that are there, which a later version would cut otherwise.
    kept = request.goes_on and is_prepared(spec.upload_folder, settings)
    if not kept and (for_preparing or not (spec.upload_folder / "prepared" / "slices.json").is_file()):
        share = PREPARE_SHARE
        prepared = yield from result_of(prepare(_files(spec), spec.upload_folder, settings), until=share)
    else:
        prepared = load_prepared(spec.upload_folder)
    if request.settings.gpus > 1:
        yield Progress(stage="Loading", fraction=share, needs_device=True)  # which joining a group takes
        group = Group.init()
    else:
        group = Group.single()
    trained = yield from result_of(train(request, group), since=share)
    yield Done(result=_quality_of(prepared) | _facts_of(trained))


def run_rank(spec: JobSpec) -> None:
    """Take part in a training that the first process of a group does."""
    from pipelines.training.train import train_rank  # loads torch
    from rvc.training.group import Group

    train_rank(_train_request(spec), Group.init())


def _train_request(spec: JobSpec) -> TrainRequest:
    from pipelines.training.train import TrainRequest

    return TrainRequest(
        prepared_folder=spec.upload_folder,
        work_dir=spec.work_folder,
        bundle_dir=spec.bundle_folder,
        name=spec.model_name or "",
        settings=TrainSettings.from_json(divided(spec.settings)[1]),
        consent=spec.settings.get("consent"),
        licence=spec.settings.get("licence"),
        language=spec.settings.get("language"),
    )


def conversion(spec: JobSpec) -> Events[dict[str, Any]]:
    """One recording to the same in another voice."""
    (stored,) = _files(spec)
    options = read_settings(ConvertOptions, spec.settings)
    loaded = yield from _loaded(spec, options)
    destination = _destination(spec, options)
    before = source_marks(spec.upload_folder / stored.original, stored.name)
    source = spec.upload_folder / stored.audio
    work = _converting(spec, loaded, options, source, destination, before=before)
    yield from _made(spec, loaded, work, before)


def speech(spec: JobSpec) -> Events[dict[str, Any]]:
    """A text to a recording of it in a voice."""
    (stored,) = _files(spec)
    options = read_settings(SpeechOptions, spec.settings)
    loaded = yield from _loaded(spec, options)
    destination = _destination(spec, options)
    work = _saying(spec, loaded, options, spec.upload_folder / stored.audio, destination)
    yield from _made(spec, loaded, work)


def batch(spec: JobSpec) -> Events[dict[str, Any]]:
    """Many recordings, or texts, to the same in another voice."""
    from pipelines.conversion.batch import convert_all
    from pipelines.recordings.uploads import decode

    texts = any(file.get("codec") == TEXT for file in spec.files)
    options = read_settings(SpeechOptions, spec.settings) if texts else None
    plain = options.conversion if options else read_settings(ConvertOptions, spec.settings)
    loaded = yield from _loaded(spec, plain)
    decoded = spec.work_folder / "decoded.wav"

    def convert_one(row: dict[str, Any], destination: Path) -> Events[float]:
        source = spec.folder.parent / row["upload_id"] / row["audio"]
        before = source_marks(spec.folder.parent / row["upload_id"] / row["original"], row["name"])
        try:
            if options and row["codec"] == TEXT:
                work = _saying(spec, loaded, options, source, destination)
            else:
                if row["audio"] == row["original"]:  # kept as it came
                    reading = decode(source, decoded, row["name"], spec.max_audio_seconds)
                    yield from relay(reading, lambda _: Progress(stage="Reading", fraction=0.0))
                    source = decoded
                work = _converting(spec, loaded, plain, source, destination, before=before)
            result = yield from result_of(work)
            yield Done(result=result.seconds)
        finally:
            decoded.unlink(missing_ok=True)

    work = convert_all(spec.files, spec.folder, plain.format, convert_one, attempt=spec.attempt)
    result = yield from result_of(work, since=loaded.share)
    yield Done(result=_facts_of(result) | {"f0_estimator": loaded.estimator_name})


def cover(spec: JobSpec) -> Events[dict[str, Any]]:
    """A song to the same song in another voice."""
    from pipelines.conversion.cover.mixing import Parts
    from pipelines.conversion.cover.stages import clear, is_separated, make_cover, separate
    from pipelines.weights import fetch_separator, weight_store

    options, files = read_settings(CoverOptions, spec.settings), _files(spec)
    vocals, backing = (spec.folder / STEMS[stem] for stem in ("vocals", "backing"))
    clear(spec.folder)
    weights = None
    if len(files) == 2:
        vocals, backing = (spec.upload_folder / file.audio for file in files)
    elif not is_separated(spec.folder):
        weights = yield from fetch_separator(weight_store())  # before anything takes long
    loaded = yield from _loaded(spec, options.of_vocals())
    share = loaded.share
    if weights is not None:
        song = spec.upload_folder / files[0].audio
        work = separate(song, files[0].name, spec.folder, partial(_separator, weights))
        yield from result_of(work, since=share, until=SEPARATING_SHARE)
        share = SEPARATING_SHARE
    parts = Parts(voice=spec.folder / STEMS["voice"], vocals=vocals, backing=backing)
    sing = partial(_converting, spec, loaded, options.of_vocals(), sung=True)
    of_mix = {name: getattr(options, name) for name in TOLD_OF_MIX}
    before = [mark for file in files for mark in source_marks(spec.upload_folder / file.original, file.name)]
    record = _record(spec, loaded, options.of_vocals(), of_mix, before)
    result = yield from result_of(make_cover(parts, spec.folder, options, sing, record), since=share)
    path = str(result.path.relative_to(spec.folder))
    facts = {"path": path, "f0_estimator": loaded.estimator_name, "made_from": _made_from(result, before)}
    yield Done(result=_facts_of(result) | facts)


def _separator(weights: Path) -> FindsVocals:
    import torch

    from pipelines.conversion.cover.separator import Separator

    return Separator.load(weights, "cuda" if torch.cuda.is_available() else "cpu")


def _loaded(spec: JobSpec, options: ConvertOptions) -> Generator[Progress, None, LoadedVoice]:
    """Get the voice of a conversion loaded."""
    if spec.model_folder is None:
        raise ConfigError("The conversion names no voice; choose one.")
    yield Progress(stage="Loading the voice", fraction=0.0)
    from pipelines.conversion.load_voice import load_voice  # loads torch
    from pipelines.store.records import voice_deleted
    from pipelines.voices.bundle import REQUIRED
    from pipelines.weights import weight_store

    try:
        return (yield from result_of(load_voice(spec.model_folder, options.f0_estimator, weight_store())))
    except Exception as error:  # whatever is tripped over where a file is missing
        if all((spec.model_folder / name).is_file() for name in REQUIRED):
            raise
        raise voice_deleted(spec.model_name) from error


def _destination(spec: JobSpec, options: ConvertOptions) -> Path:
    spec.result_folder.mkdir(exist_ok=True)
    # A random name: Gradio serves a file to whoever knows its path.
    return spec.result_folder / f"{secrets.token_hex(8)}.{options.format}"


def _made(
    spec: JobSpec, loaded: LoadedVoice, work: Events[ConvertResult], before: Sequence[str] = ()
) -> Events[dict[str, Any]]:
    """Do the work that makes one recording, and tell what is known of it."""
    result = yield from result_of(work, since=loaded.share)
    path = str(result.path.relative_to(spec.folder))
    facts = {"path": path, "f0_estimator": loaded.estimator_name, "made_from": _made_from(result, before)}
    yield Done(result=_facts_of(result) | facts)


def _made_from(result: ConvertResult | CoverResult, before: Sequence[str]) -> list[str]:
    """Return the marks of the recording that this was made of, those of its sound as well."""
    from pipelines.marks.provenance import WATERMARK

    return [*before, *([WATERMARK] if result.source_marked else [])]


def _saying(
    spec: JobSpec, loaded: LoadedVoice, options: SpeechOptions, text: Path, destination: Path
) -> Events[ConvertResult]:
    """Read a text aloud, which is kept beside, and convert that into the voice of the spec."""
    from pipelines.speech.speak import speak
    from pipelines.weights import weight_store

    spoken = spoken_path(spec.folder, destination.name)
    said = yield from result_of(speak(text, spoken, options, weight_store()), until=SAYING_SHARE)
    told = vars(said) | {"speed": options.speed}
    work = _converting(spec, loaded, options.conversion, spoken, destination, told)
    yield Done(result=(yield from result_of(work, since=SAYING_SHARE)))


def _converting(  # noqa: PLR0913  # what, who, how, where from and to, and what is known of it
    spec: JobSpec,
    loaded: LoadedVoice,
    options: ConvertOptions,
    source: Path,
    destination: Path,
    spoken: Mapping[str, Any] | None = None,
    *,
    sung: bool | None = None,
    before: Sequence[str] = (),
) -> Events[ConvertResult]:
    """Convert a recording into the voice of the spec; the tags of the result say how it was made.

    `spoken` says how it was made from a text; then it is speech, whatever it sounds like. `before` are the
    marks of the file that was sent in.
    """
    from pipelines.conversion.convert import convert

    record = _record(spec, loaded, options, spoken, before)
    sung = False if spoken else sung
    return convert(source, destination, loaded.voice, options, loaded.estimator, record, sung=sung)


def _record(
    spec: JobSpec,
    loaded: LoadedVoice,
    options: ConvertOptions,
    more: Mapping[str, Any] | None = None,
    made_from: Sequence[str] = (),
) -> Provenance:
    from pipelines.marks.provenance import Provenance

    chosen = loaded.voice.engine.defaults.with_asked(options)
    settings = {name: getattr(chosen, name) for name in TOLD_SETTINGS}
    return Provenance(
        voice_name=spec.model_name or loaded.voice.card.name,
        voice_id=spec.model_id or "",
        settings=settings | {"f0_estimator": loaded.estimator_name} | dict(more or {}),
        watermark=spec.mark_output,
        signing=spec.signing,
        made_from=made_from,
    )


def _files(spec: JobSpec) -> list[StoredFile]:
    from pipelines.recordings.uploads import StoredFile  # loads the decoders

    return [StoredFile.from_json(file) for file in spec.files]


def _facts_of(result: object) -> dict[str, Any]:
    """Return a result's plain numbers and words."""
    return {name: value for name, value in vars(result).items() if isinstance(value, (bool, int, float, str))}


def _quality_of(prepared: Prepared) -> dict[str, Any]:
    return {} if prepared.report.snr_db is None else {"quality_snr": prepared.report.snr_db}


TASKS: Mapping[str, Task] = {
    "preprocessing": preparation,
    "training": training,
    "conversion": conversion,
    "speech": speech,
    "batch": batch,
    "cover": cover,
}
