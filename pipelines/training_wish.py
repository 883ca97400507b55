"""What a person asks of a training: settings of its preparation, of itself, and what goes into the card.

Nothing heavy is imported here, so that a page can refuse a wrong value before a job is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipelines.prepare_settings import PrepareSettings
from rvc.errors import UnknownNameError
from rvc.training.settings import TrainSettings

FOR_THE_CARD = ("consent", "licence")
"""What a person states with a training: it is no setting, it goes into the voice's card."""

ENGINES = ("lite", "rvc")
"""What can be trained; `pipelines.train_start` says how."""


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
