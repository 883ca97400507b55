"""What a person may choose about preparing recordings. Nothing heavy is imported here.

What a person asks of a training: settings of its preparation, of itself, and what goes into the card.

Nothing heavy is imported here, so that a page can refuse a wrong value before a job is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rvc.errors import ConfigError, UnknownNameError
from rvc.training.settings import TrainSettings

RANGES: dict[str, tuple[float, float]] = {
    "highpass_hz": (20.0, 120.0),
    "slice_level_db": (-35.0, -15.0),
    "shortest_slice_s": (1.0, 4.0),
    "longest_slice_s": (4.0, 15.0),
}
"""Allowed values of each number."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How recordings are prepared.

    Attributes:
        reduce_noise: Take steady noise out of the slices. Off by default: it dulls a clean recording.
        highpass_hz: Everything below is removed: rumble and hum.
        slice_level_db: Level of the speech that every slice is given, dBFS.
        shortest_slice_s: No slice is shorter.
        longest_slice_s: No slice is longer; at least twice the shortest.

    Raises:
        ConfigError: A setting is out of range or of a wrong kind.
    """

    reduce_noise: bool = False
    highpass_hz: float = 50.0
    slice_level_db: float = -23.0
    shortest_slice_s: float = 2.0
    longest_slice_s: float = 8.0

    def __post_init__(self) -> None:
        if not isinstance(self.reduce_noise, bool):
            raise ConfigError(f"The setting 'reduce_noise' is {self.reduce_noise!r}; give true or false.")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not low <= value <= high:
                raise ConfigError(
                    f"The setting {name!r} is {value!r}; give a number from {low:g} to {high:g}."
                )
        if self.longest_slice_s < 2 * self.shortest_slice_s:
            raise ConfigError(
                f"Slices of {self.shortest_slice_s:g} to {self.longest_slice_s:g} s cannot hold all speech; "
                "make the longest at least twice the shortest."
            )


FOR_THE_CARD = ("consent", "licence")
"""What a person states with a training: it is no setting, it goes into the voice's card."""
ENGINES = ("lite", "rvc")
"""What can be trained; `pipelines.training.engines` says how."""


def divided(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide what was asked into settings of the preparation and of the training."""
    of_preparing = {field.name for field in fields(PrepareSettings)}
    asked = {name: value for name, value in settings.items() if name not in FOR_THE_CARD}
    return (
        {name: value for name, value in asked.items() if name in of_preparing},
        {name: value for name, value in asked.items() if name not in of_preparing},
    )


def check_training(settings: Mapping[str, Any]) -> None:
    """Refuse what the work would refuse.

    Raises:
        ConfigError: A name is unknown, or a value is out of range or of a wrong kind.
        UnknownNameError: There is no such engine.
    """
    for_preparing, for_training = divided(settings)
    PrepareSettings(**for_preparing)
    engine = TrainSettings.from_json(for_training).engine
    if engine not in ENGINES:
        raise UnknownNameError(f"Unknown engine {engine!r}. Choose one of: {', '.join(ENGINES)}.")
