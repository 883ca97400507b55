"""What a child is told to do: job.json in the job's folder, written by the server, read by the worker.

The child gets paths and settings and nothing else: it opens no registry, and needs no environment. What a
person may ask of a preparation or a training stands here too, and nothing heavy is imported, so that the
server refuses a wrong value before a job is made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from rvc.checked import check_fields, read_settings
from rvc.engine.options import ConvertOptions, engine_defaults
from rvc.errors import ConfigError
from rvc.files import atomic_write
from rvc.training.settings import TrainSettings

SPEC_FILE = "job.json"
RANGES = {
    "highpass_hz": (20.0, 120.0),
    "slice_level_db": (-35.0, -15.0),
    "shortest_slice_s": (1.0, 4.0),
    "longest_slice_s": (4.0, 15.0),
}
FOR_THE_CARD = ("consent", "licence", "language")
STATED = (*FOR_THE_CARD, "stated_by")  # what a person states with a training: no setting, but for the card
CONSENT = "This is my voice, or I have permission to use it"  # stated before a training, kept on the card
SYNTHESISERS = ("kokoro", "espeak-ng")  # the best first
_LONGEST_NUMBER = 4
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}")  # a tag of BCP 47


@dataclass(frozen=True, kw_only=True)
class Signing:
    """Whose key signs the manifests of results."""

    home: Path  # where a key of this installation is kept, made when it is first needed
    key: Path | None = None  # of the operator, in PEM; with `certificate`, its chain, the leaf first
    certificate: Path | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, str | None] | None) -> Signing | None:
        """Make one from its fields as text; None of none."""
        if not values or values["home"] is None:
            return None
        paths = {name: None if path is None else Path(path) for name, path in values.items()}
        return cls(home=Path(values["home"]), key=paths["key"], certificate=paths["certificate"])


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job, as its worker sees it. All folders are absolute."""

    id: str
    type: str  # one of `pipelines.store.records.JOB_TYPES`
    folder: Path  # the job's own
    upload_folder: Path  # of the upload whose files are worked on
    files: list[dict[str, Any]]  # each as StoredFile.to_json gives it; paths relative to upload_folder
    settings: dict[str, Any] = field(default_factory=dict)  # what the person asked for; every key is optional
    prepare_settings: dict[str, Any] = field(default_factory=dict)  # of what a training builds on
    model_name: str | None = None  # of the voice that is trained, or spoken with
    model_id: str | None = None
    model_folder: Path | None = None  # bundle of the voice to convert into
    device_lock: Path  # held while computing on the device
    grace_s: float = 5.0  # what the child may take to save after its server has died
    max_audio_seconds: float = 5_400.0  # longest recording that is decoded, if its upload left it as it came
    attempt: int = 1  # which try this is since a person last started the job
    mark_output: bool = False  # whether results get a watermark
    signing: Signing | None = None  # None: they get no manifest

    @property
    def work_folder(self) -> Path:  # what survives a stop and is resumed from: features, checkpoints, samples
        return self.folder / "work"

    @property
    def bundle_folder(self) -> Path:  # where a training leaves the finished voice
        return self.folder / "bundle"

    @property
    def result_folder(self) -> Path:  # where a conversion leaves its audio
        return self.folder / "result"

    def save(self) -> None:
        with atomic_write(self.folder / SPEC_FILE) as path:
            path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> JobSpec:
        values = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
        for name in ("folder", "upload_folder", "device_lock", "model_folder"):
            values[name] = None if values[name] is None else Path(values[name])
        values["signing"] = Signing.from_json(values.get("signing"))
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    reduce_noise: bool = False  # off by default: it dulls a clean recording
    highpass_hz: float = 50.0  # everything below is removed: rumble and hum
    slice_level_db: float = -23.0  # level of the speech that every slice is given, dBFS
    shortest_slice_s: float = 2.0
    longest_slice_s: float = 8.0  # at least twice the shortest

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = RANGES
    choices: ClassVar[Mapping[str, Collection[object]]] = {}

    def __post_init__(self) -> None:
        check_fields(self, self.ranges, self.choices)
        if self.longest_slice_s < 2 * self.shortest_slice_s:
            raise ConfigError(
                f"Slices of {self.shortest_slice_s:g} to {self.longest_slice_s:g} s cannot hold all speech; "
                "make the longest at least twice the shortest."
            )


@dataclass(frozen=True, kw_only=True)
class CoverOptions(ConvertOptions):
    """How a song is sung in another voice: how its vocals are converted, and how all is mixed."""

    voice_gain_db: float = 0.0
    backing_gain_db: float = 0.0
    reverb: float = 0.0  # share of what rings after the original vocals that is kept, 0..1

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        **ConvertOptions.ranges,
        "voice_gain_db": (-30.0, 12.0),
        "backing_gain_db": (-30.0, 12.0),
        "reverb": (0.0, 1.0),
    }

    def of_vocals(self) -> ConvertOptions:
        """Return how the vocals are converted, to a file from which nothing is lost."""
        asked = {each.name: getattr(self, each.name) for each in fields(ConvertOptions)}
        return ConvertOptions(**{**asked, "format": "flac"})


SEPARATING_SHARE = 0.8  # how much of a cover's progress bar its separation gets


@dataclass(frozen=True, kw_only=True)
class SpeechOptions(ConvertOptions):
    """How a text is spoken, and how that is converted."""

    language: str = "en"  # as BCP 47 writes it
    speed: float = 1.0  # times as fast as the synthesiser speaks by itself
    synthesiser: str | None = None  # None is the best that is here and speaks the language

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {**ConvertOptions.ranges, "speed": (0.5, 2.0)}
    choices: ClassVar[Mapping[str, Collection[object]]] = {
        **ConvertOptions.choices,
        "synthesiser": SYNTHESISERS,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not LANGUAGE.fullmatch(self.language):
            raise ConfigError(
                f"The setting 'language' is {json.dumps(self.language)[:60]}; give a tag such as \"en\" or "
                '"pt-BR".'
            )

    @property
    def conversion(self) -> ConvertOptions:
        return ConvertOptions(**{field.name: getattr(self, field.name) for field in fields(ConvertOptions)})


def divided(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide what was asked into settings of the preparation and of the training."""
    names = {field.name for field in fields(PrepareSettings)}
    for_training = {name: value for name, value in settings.items() if name not in {*names, *STATED}}
    return {name: value for name, value in settings.items() if name in names}, for_training


def full_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a training's settings with "steps" under its full name, total_steps; ConfigError for both."""
    named = dict(settings)
    if "steps" in named:
        if "total_steps" in named:
            raise ConfigError("The settings 'steps' and 'total_steps' are the same; give one of them.")
        named["total_steps"] = named.pop("steps")
    return named


def saving_s(grace_s: float) -> float:
    """Return what a training may take to save after its server has died, in seconds."""
    return max(grace_s, 1.0) * 6


def gpus_of(job_type: str, settings: object) -> int:
    """Return on how many GPUs at the same time a job computes; 1 where that says nothing that can be."""
    asked = settings.get("gpus") if job_type == "training" and isinstance(settings, Mapping) else None
    said = str(asked).strip().removeprefix("+")
    return max(int(said), 1) if said.isdecimal() and len(said) < _LONGEST_NUMBER else 1


def check_settings(job_type: str, settings: Mapping[str, Any]) -> None:
    """Refuse what the job would refuse: an unknown name, a value out of range or of a wrong kind.

    And what no person sets, as it is noted by the server.
    """
    if job_type == "training":
        if "patience_from" in settings:
            raise ConfigError("The setting 'patience_from' is noted by train_on; leave it out and call that.")
        check_training(settings)
    else:
        kinds = {"preprocessing": PrepareSettings, "speech": SpeechOptions, "cover": CoverOptions}
        read_settings(kinds.get(job_type, ConvertOptions), settings)


def check_training(settings: Mapping[str, Any]) -> TrainSettings:
    """Refuse what a training would refuse; return its own settings, without those of the preparation."""
    for_preparing, for_training = divided(settings)
    read_settings(PrepareSettings, for_preparing)
    checked = TrainSettings.from_json(for_training)
    engine_defaults(checked.engine)
    licence = settings.get("licence")
    if not isinstance(licence, str | None):
        raise ConfigError(f"The setting 'licence' is {json.dumps(licence)[:60]}; give text.")
    language = settings.get("language")
    if language is not None and not (isinstance(language, str) and LANGUAGE.fullmatch(language)):
        raise ConfigError(
            f'The setting \'language\' is {json.dumps(language)[:60]}; give a tag such as "en" or "nl-BE".'
        )
    return checked
