"""What may be asked of a conversion, and the one table of engines: where each stands and what it has best.

Light: the page reads it and loads no engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from rvc.audio.writer import WRITABLE
from rvc.checked import check_fields
from rvc.errors import UnknownNameError
from rvc.pitch.estimators import F0_ESTIMATORS

# Lowest and highest value of each number, and what else there is to choose from.
_RANGES = {
    "transpose_semitones": (-36.0, 36.0),
    "follow_loudness": (0.0, 1.0),
    "index_rate": (0.0, 1.0),
    "protect": (0.0, 0.5),
    "chunk_s": (1.0, 600.0),
}
_CHOICES = {"f0_estimator": F0_ESTIMATORS, "format": WRITABLE}


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How a recording is converted; None is as the voice's engine has it best."""

    transpose_semitones: float | None = None  # None moves the melody's median to that of the voice
    index_rate: float | None = None  # share of the content that comes from the voice's own recordings
    # How much of that share unvoiced frames (consonants, breath) get: 0.5 all of it, 0 none; what lies
    # between is the engine's law.
    protect: float | None = None
    # How far the source's loudness is followed: by voices of the built-in engine every 10 ms, and as a whole
    # always; by RVC's over a second, and not at all at 0.
    follow_loudness: float | None = None
    f0_estimator: str | None = None  # a name in `F0_ESTIMATORS`
    reduce_noise: bool | None = None  # whether steady noise is taken out of the recording first
    format: str = "wav"
    chunk_s: float | None = None  # spoken at once

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = _RANGES
    choices: ClassVar[Mapping[str, Collection[object]]] = _CHOICES

    def __post_init__(self) -> None:
        check_fields(self, self.ranges, self.choices)


@dataclass(frozen=True, kw_only=True)
class EngineDefaults(ConvertOptions):
    """An engine, and what is best for its voices."""

    loader: str  # "module:name" of what makes its `EngineLoader`, imported when a voice wants it
    index_rate: float = 0.5
    protect: float = 0.5
    follow_loudness: float = 1.0
    reduce_noise: bool = False
    chunk_s: float = 20.0
    # Whether the whole recording's content is moved, by one and the same vector, to where the voice's own
    # content lies, if there is an index; what it moves is what the encoder still tells of the speaker.
    align_content: bool = True
    f0_estimators: tuple[str, ...] = ("swift",)  # the best first, whose weights may not be had
    cost_s: float = 0.03  # seconds of work for a second of sound, to tell how long all will take
    on_gpu: bool = False  # whether its voices compute on the GPU where there is one
    instant: bool = False  # whether a voice can be had without training, some seconds after its recordings
    training: Mapping[str, int] = field(default_factory=dict)  # its own defaults of `TrainSettings`
    # How many steps a training takes at first, for each second of audio, and at least and at most.
    steps_at_first: int = 400
    steps_per_second: int = 2
    fewest_steps: int = 450
    most_steps: int = 1_000  # what two cores do in a few minutes

    def training_steps(self, seconds_of_audio: float) -> int:
        """Say how many steps suit so much audio."""
        wanted = self.steps_at_first + self.steps_per_second * seconds_of_audio
        return int(min(max(wanted, self.fewest_steps), self.most_steps))

    def with_asked(self, options: ConvertOptions) -> EngineDefaults:
        """Fill what was not asked for with the engine's own."""
        return replace(self, **{name: value for name, value in vars(options).items() if value is not None})


LITE, RVC = "lite", "rvc"

LITE_DEFAULTS = EngineDefaults(loader="rvc.lite.engine:LiteLoader", instant=True)

# Those of RVC's own page, so that a voice sounds here as it did there.
RVC_DEFAULTS = EngineDefaults(
    loader="rvc.vits.engine:RvcLoader",
    index_rate=0.75,
    protect=0.33,
    follow_loudness=0.75,
    chunk_s=38.0,
    align_content=False,
    f0_estimators=("rmvpe", "swift"),
    cost_s=1.0,
    on_gpu=True,
    # Its steps are many and its states large, and what it speaks gets better by fits and starts.
    training={"score_every": 500, "checkpoint_every": 500, "patience": 12},
    # About two hundred passes through the recordings: what people take who begin with pretrained weights.
    steps_at_first=0,
    steps_per_second=12,
    fewest_steps=1_000,
    most_steps=20_000,
)

ENGINES = {LITE: LITE_DEFAULTS, RVC: RVC_DEFAULTS}


def engine_defaults(name: str) -> EngineDefaults:
    """Look an engine up; UnknownNameError lists those that exist."""
    if name not in ENGINES:
        raise UnknownNameError.among("engine", name, ENGINES)
    return ENGINES[name]
