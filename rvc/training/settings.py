"""What a user may set about a training. Needs no torch, so that a page can check it at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from rvc.errors import ConfigError

RANGES: dict[str, tuple[int, int]] = {
    "total_steps": (1, 1_000_000),
    "batch_size": (1, 256),
    "score_every": (1, 100_000),
    "checkpoint_every": (1, 100_000),
    "patience": (1, 1000),
    "seed": (0, 2**31 - 1),
    "threads": (1, 256),
}
"""Lowest and highest value of each whole-number setting."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train. Everything is counted in steps, so that a slow machine gives the same voice.

    Attributes:
        engine: Name of the engine, one of `pipelines.train.TASKS`.
        total_steps: Optimizer steps at most; None lets the engine choose by the length of the audio.
        batch_size: Slices per step.
        score_every: Steps between two scorings of the held-out slices.
        checkpoint_every: Steps between two checkpoints; there is also one at each scoring.
        patience: Scorings in a row without a better one after which the training stops.
        seed: Seed of all randomness.
        threads: CPU threads; None is all cores. Results are equal bit for bit only between
            trainings with the same number.

    Raises:
        ConfigError: A setting is out of range.
    """

    engine: str = "lite"
    total_steps: int | None = None
    batch_size: int = 8
    score_every: int = 100
    checkpoint_every: int = 100
    patience: int = 6
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.engine, str):
            raise ConfigError(f"The setting 'engine' is {self.engine!r}; give the name of an engine.")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            # bool is an int in Python, but never a number of steps.
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(
                    f"The setting {name!r} is {value!r}; give a whole number from {low} to {high}."
                )

    @classmethod
    def from_json(cls, settings: Mapping[str, object]) -> TrainSettings:
        """Read settings as a page or a client sends them.

        Args:
            settings: Any of the attributes by name; what is missing keeps its default.

        Returns:
            The checked settings.

        Raises:
            ConfigError: A name is unknown or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise ConfigError(f"Training has no setting {name!r}; choose from: {', '.join(known)}.")
        return cls(**settings)  # type: ignore[arg-type]  # __post_init__ checks every value

    @property
    def thread_count(self) -> int:
        """CPU threads to use."""
        return self.threads or os.cpu_count() or 1


OPTIONAL = ("total_steps", "threads")
"""Settings that may be None."""
