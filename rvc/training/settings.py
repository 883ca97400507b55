"""What a user may set about a training. Needs no torch, so that a page can check it at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from rvc.engine.options import ENGINE_DEFAULTS
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

CHOICES: dict[str, tuple[object, ...]] = {
    "version": ("v1", "v2"),
    "sample_rate_hz": (32_000, 40_000, 48_000),
    "f0_estimator": (None, "rmvpe", "praat"),
    "precision": (None, "float32", "tf32", "bfloat16", "float16"),
    "f0": (True, False),
    "gradient_checkpointing": (False, True),
}
"""The values of each setting that is a choice; all of them are the engine "rvc"'s."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train. Everything is counted in steps, so that a slow machine gives the same voice.

    Attributes:
        engine: Name of the engine, one of `rvc.engine.options.ENGINE_DEFAULTS`.
        total_steps: Optimizer steps at most; None lets the engine choose by the length of the audio.
        batch_size: Slices per step; None is 8, or on a GPU what its memory holds if that is less.
        score_every: Steps between two scorings of the held-out slices.
        checkpoint_every: Steps between two checkpoints; there is also one at each scoring.
        patience: Scorings in a row without a better one after which the training stops.
        seed: Seed of all randomness.
        threads: CPU threads; None is all cores. Results are equal bit for bit only between
            trainings with the same number.
        version: Of the RVC voice: "v1" or "v2".
        sample_rate_hz: Rate of the RVC voice: 32000, 40000 or 48000.
        f0: Whether the RVC voice is told the melody; without, it makes one up, which suits speech only.
        f0_estimator: Who finds the melody: "rmvpe", "praat", or None for the better one that can be had.
        precision: In which the networks of RVC compute: "float32", "tf32" (the GPU's own shorter one),
            "bfloat16", "float16"; None is float32 without a GPU or on an early one, bfloat16 on
            one that has it, else float16.
        gradient_checkpointing: Whether RVC's generator computes twice what it would otherwise keep in memory.

    Raises:
        ConfigError: A setting is out of range.
    """

    engine: str = "lite"
    total_steps: int | None = None
    batch_size: int | None = None
    score_every: int = 100
    checkpoint_every: int = 100
    patience: int = 6
    seed: int = 0
    threads: int | None = None
    version: str = "v2"
    sample_rate_hz: int = 40_000
    f0: bool = True
    f0_estimator: str | None = None
    precision: str | None = None
    gradient_checkpointing: bool = False

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
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            # True equals 1 in Python, and 40000.0 equals 40000.
            if not any(
                value is choice or (value == choice and type(value) is type(choice)) for choice in allowed
            ):
                shown = ", ".join("none" if choice is None else json.dumps(choice) for choice in allowed)
                raise ConfigError(f"The setting {name!r} is {value!r}; give one of: {shown}.")

    @classmethod
    def from_json(cls, settings: Mapping[str, object]) -> TrainSettings:
        """Read settings as a page or a client sends them.

        Args:
            settings: Any of the attributes by name; what is missing keeps its default.

        Returns:
            The checked settings.

        Raises:
            ConfigError: A name is unknown, a value out of range, or a setting is another engine's.
        """
        known = [field.name for field in fields(cls)]
        engine = str(settings.get("engine", cls.engine))
        for name in settings:
            if name not in known:
                raise ConfigError(f"Training has no setting {name!r}; choose from: {', '.join(known)}.")
            if name in CHOICES and engine != "rvc":
                raise ConfigError(
                    f"The setting {name!r} is for the engine 'rvc' alone; leave it out or choose that engine."
                )
        own = ENGINE_DEFAULTS[engine].training if engine in ENGINE_DEFAULTS else {}
        return cls(**{**own, **settings})  # type: ignore[arg-type]  # __post_init__ checks every value

    @property
    def thread_count(self) -> int:
        """CPU threads to use."""
        return self.threads or os.cpu_count() or 1


OPTIONAL = ("total_steps", "batch_size", "threads")
"""Settings that may be None."""
