"""What a user may set about a training. Needs no torch, so that a page can check it at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from rvc.checked import check_fields, read_settings
from rvc.engine.options import ENGINES
from rvc.errors import ConfigError

# Lowest and highest value of each whole-number setting.
RANGES: dict[str, tuple[int, int]] = {
    "total_steps": (0, 1_000_000),
    "batch_size": (1, 256),
    "score_every": (1, 100_000),
    "checkpoint_every": (1, 100_000),
    "patience": (1, 1000),
    "patience_from": (0, 1_000_000),
    "seed": (0, 2**31 - 1),
    "threads": (1, 256),
    "gpus": (1, 64),
}

# The values of each setting that is a choice; all of them are the engine "rvc"'s, and so is "gpus".
CHOICES: dict[str, tuple[object, ...]] = {
    "version": ("v1", "v2"),
    "sample_rate_hz": (32_000, 40_000, 48_000),
    "f0_estimator": (None, "rmvpe", "praat"),
    "precision": (None, "float32", "tf32", "bfloat16", "float16"),
    "f0": (True, False),
    "gradient_checkpointing": (False, True),
    "from_scratch": (False, True),
}


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train. Everything is counted in steps, so that a slow machine gives the same voice."""

    engine: str = "lite"  # one of `ENGINES`
    # Optimizer steps at most; None: by the length of the audio; 0: a voice at once, to be trained on later.
    total_steps: int | None = None
    batch_size: int | None = None  # None is 8, or on a GPU what its memory holds if that is less
    score_every: int = 100
    checkpoint_every: int = 100  # there is also one at each scoring
    patience: int = 6  # scorings in a row without a better one after which the training stops
    patience_from: int = 0  # scorings until this step try no patience: it was trained on from there
    seed: int = 0
    threads: int | None = None  # None is all cores; results are equal bit for bit only with the same number
    version: str = "v2"
    sample_rate_hz: int = 40_000
    f0: bool = True  # without, the voice makes the melody up, which suits speech only
    f0_estimator: str | None = None  # None is the better one that can be had
    precision: str | None = None  # None is float32 without a GPU or on an early one, else bfloat16 or float16
    gradient_checkpointing: bool = False  # the generator computes twice what it would keep in memory
    from_scratch: bool = False  # random first weights, not the pretrained ones: for hours of audio and days
    gpus: int = 1  # that take every step together; the result is that of one, but for rounding

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = RANGES
    choices: ClassVar[Mapping[str, Collection[object]]] = CHOICES

    def __post_init__(self) -> None:
        check_fields(self, self.ranges, self.choices)
        known = ENGINES.get(self.engine)
        if self.is_instant and known and not known.instant:
            raise ConfigError(
                f"The engine {self.engine!r} makes no voice without training; give at least 1 step, or leave "
                "the engine out."
            )
        if self.batch_size is not None:
            share_of_batch(self.batch_size, self.gpus)

    @classmethod
    def from_json(cls, settings: Mapping[str, object]) -> TrainSettings:
        """Read settings by name as a page or a client sends them; ConfigError if one is unknown or wrong."""
        engine = str(settings.get("engine", cls.engine))
        for name in settings:
            if (name in CHOICES or name == "gpus") and engine != "rvc":
                raise ConfigError(
                    f"The setting {name!r} is for the engine 'rvc' alone; leave it out or choose that engine."
                )
        own = ENGINES[engine].training if engine in ENGINES else {}
        return read_settings(cls, {**own, **settings})

    @property
    def is_instant(self) -> bool:
        """Whether the voice shall be made without training."""
        return self.total_steps == 0

    @property
    def thread_count(self) -> int:
        return self.threads or os.cpu_count() or 1


def share_of_batch(items: int, processes: int) -> int:
    """Return how many items of a batch each process computes; ConfigError if they cannot be divided."""
    if items % processes:
        raise ConfigError(
            f"A batch of {items} cannot be divided among {processes} processes; "
            f"choose a batch_size that is a multiple of {processes}."
        )
    return items // processes


def require_gpus(asked: int, there: int) -> None:
    """Refuse more GPUs than there are; without any (0), processors serve."""
    if 0 < there < asked:
        raise ConfigError(f"A training has {there} GPUs at most here, not {asked}; ask for no more.")
