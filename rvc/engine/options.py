"""How a recording is spoken, and what each engine's voices want unless somebody asks otherwise.

Light: the page reads the defaults here and loads no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rvc.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EngineDefaults:
    """What is best for the voices of an engine.

    Attributes:
        index_rate, protect, align_content, chunk_s: As `SpeakOptions` has them.
        follow_loudness: How far the loudness of the source is followed, 0..1; how, is the engine's way.
        f0_estimators: Names in `F0_ESTIMATORS`, the best first; a later one serves where an earlier one's
            weights cannot be had.
        cost_s: Seconds of work for a second of sound, roughly; to tell how long all will take.
    """

    index_rate: float = 0.5
    protect: float = 0.5
    align_content: bool = True
    follow_loudness: float = 1.0
    f0_estimators: tuple[str, ...] = ("praat",)
    chunk_s: float = 20.0
    cost_s: float = 0.03


LITE_DEFAULTS = EngineDefaults()

RVC_DEFAULTS = EngineDefaults(
    index_rate=0.75,
    protect=0.33,
    align_content=False,
    follow_loudness=0.75,
    f0_estimators=("rmvpe", "praat"),
    chunk_s=38.0,
    cost_s=1.0,
)
"""Those of RVC's own page, so that a voice sounds here as it did there."""

ENGINE_DEFAULTS: Mapping[str, EngineDefaults] = {"lite": LITE_DEFAULTS, "rvc": RVC_DEFAULTS}
"""By the name of the engine."""


@dataclass(frozen=True, kw_only=True)
class SpeakOptions:
    """How a recording is spoken.

    Attributes:
        index_rate: Share of the content that comes from the voice's own recordings, 0..1; without an
            index it has no effect.
        protect: How much of that share unvoiced frames (consonants, breath) get: 0.5 all of it, 0
            none; what lies between is the engine's law.
        align_content: Whether the whole recording's content is moved, by one and the same vector, to where
            the voice's own content lies, if there is an index; what it moves is what the encoder still
            tells of the speaker.
        chunk_s: Seconds spoken at once.

    Raises:
        ConfigError: A value is out of range.
    """

    index_rate: float = LITE_DEFAULTS.index_rate
    protect: float = LITE_DEFAULTS.protect
    align_content: bool = LITE_DEFAULTS.align_content
    chunk_s: float = LITE_DEFAULTS.chunk_s

    def __post_init__(self) -> None:
        if not 0.0 <= self.index_rate <= 1.0:
            raise ConfigError(f"An index rate of {self.index_rate:g} is not possible; choose 0 to 1.")
        if not 0.0 <= self.protect <= 0.5:
            raise ConfigError(f"A protection of {self.protect:g} is not possible; choose 0 to 0.5.")
        if not 1.0 <= self.chunk_s <= 600.0:
            raise ConfigError(f"Pieces of {self.chunk_s:g} seconds are not possible; choose 1 to 600.")
