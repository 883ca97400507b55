"""What an engine must offer to be trained, and what passes between a training, its loop and its reader.

Shapes:  N = samples at the task's rate, T = frames (100 per second), C = content channels.
Units:   audio in -1..1, F0 in Hz with 0 where unvoiced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.training.scoring import Score

Features = Mapping[str, Tensor]  # what an engine knows of a slice, on the CPU, as its `extract` made it


class Task(Protocol):
    """One engine's networks, optimizers and losses, ready to be trained on one voice.

    A task is built by a function without arguments; new weights are drawn from torch's global generator,
    which the caller seeds before. What it owes the loop, so that a resumed training equals an uninterrupted
    one bit for bit:

    * `batch` draws all its randomness from the generator that it is given. `step` may also draw from torch's
      global generators (dropout does): the loop seeds them anew before every step. Python's and NumPy's
      global generators are never used.
    * Nothing that influences a later step lives outside `state_dict`; the step number is an argument, so a
      schedule needs no counter of its own.
    * `render`, `reference`, `f0`, `content`, `describe` and the writing methods change nothing: they leave
      the networks in the mode (train or eval) and with the weights that they had.

    Attributes:
        sample_rate_hz: Rate of what `render` and `reference` give.
        features_key: Changes whenever `extract` would give something else for the same slice (its version,
            its encoder's checksum); part of the name of each cached file.
        device: Where the networks are.
        epoch: How many times everything was heard; the loop says it before each step.
    """

    sample_rate_hz: int
    features_key: str
    device: torch.device
    epoch: int

    def default_steps(self, seconds_of_audio: float) -> int:
        """Say how many steps suit so much audio, the held-out slices included; at least 1."""

    def extract(self, wav: NDArray[np.float32], rate_hz: int, seed: int) -> dict[str, Tensor]:
        """Compute the features of one slice, (samples,) at its own rate, random only by the seed."""

    def fit(self, items: Sequence[Features], seed: int) -> Generator[float, None, None]:
        """Come as near to the voice as some seconds allow, before any step; yields the share that is done."""
        del items, seed
        yield from ()

    def batch(self, items: Sequence[Features], generator: torch.Generator) -> dict[str, Tensor]:
        """Put together one batch as `step` wants it, random only by the CPU generator."""

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        """Take one optimizer step of every network with what `batch` gave.

        Rates and ramps follow from `step`, 0..total_steps - 1; the generator, on `device`, is for noise and
        phases. Returns losses by name; one that is not finite ends the training, see `skipped_step`.
        """

    def skipped_step(self) -> bool:
        """Say of a step with a loss that is not finite whether it was left out, so that the next may do."""
        return False

    def render(self, item: Features) -> NDArray[np.float32]:
        """Speak one slice in the voice as it is now, (N,); the same weights give the same samples."""

    def reference(self, item: Features) -> NDArray[np.float32]:
        """Give the recording at the level of training, (N,), as long as `render` to within a frame."""

    def f0(self, item: Features) -> NDArray[np.float64]:
        """Give the melody of a slice, (T,), frame i centred at 10 ms times i."""

    def content(self, item: Features) -> NDArray[np.float32]:
        """Give the content vectors of a slice, for the retrieval index, (T, C), at least one."""

    def state_dict(self) -> dict[str, Any]:
        """Give all that training changes: networks and optimizers, readable with `weights_only=True`."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave, as read from disk, tensors on the CPU."""

    def export(self, folder: Path) -> dict[str, Any]:
        """Write the voice as it is now for use: `model.safetensors` in an existing folder.

        Returns the card's fields that only the engine knows, JSON-able: at least `engine`, `sample_rate_hz`,
        `content_encoder` and `content_dim`.
        """

    def describe(self, items: Iterable[Features]) -> dict[str, Any]:
        """Measure the voice from the features of all slices: further fields of the card, JSON-able."""
        del items
        return {}

    def write_checkpoints(self, folder: Path) -> list[Path]:
        """Write files from which other programs can train on, in place of those of an earlier writing."""
        del folder
        return []


TaskBuilder = Callable[[], Task]
SMOOTHING_STEPS = 50
EndReason = Literal["budget", "patience", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """One sign of life of a training; files are relative to the working folder."""

    stage: str  # "Training" or "Scoring"
    step: int
    total_steps: int
    losses: dict[str, float]  # smoothed
    steps_per_s: float | None  # while computing, pauses left out; None before the first step
    seconds_left: float | None  # until `total_steps` with all scorings
    share: float  # of it that is done, 0..1
    message: str = ""
    score: dict[str, float | None] | None = None  # at the end of a scoring: its parts, `total` and `step`
    is_best: bool = False  # with a score: whether it is the best so far
    sample: str | None = None  # with a score: a held-out sentence in the new voice, unless it was none
    reference: str | None = None  # with a sample: the same sentence as it was recorded


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training ended. The task then holds the best state."""

    steps: int
    best_step: int
    reason: EndReason  # all steps taken; no better for long; losses were no numbers
    scores: list[dict[str, float | None]]


@dataclass(kw_only=True)
class LoopState:
    """What the loop itself must remember from step to step; part of each checkpoint."""

    step: int = 0
    smoothed: dict[str, float] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    scores: list[dict[str, float | None]] = field(default_factory=list)
    scored_step: int = 0
    best_step: int | None = None
    best_total: float = math.inf
    scorings_without_better: int = 0

    def add_losses(self, losses: dict[str, float]) -> None:
        """Count a step and smooth its losses: their mean so far, which later forgets with 50 steps."""
        for name, loss in losses.items():
            heard = self.heard.get(name, 0) + 1
            before = self.smoothed.get(name, loss)
            self.smoothed[name] = before + (loss - before) / min(heard, SMOOTHING_STEPS)
            self.heard[name] = heard
        self.step += 1

    def add_score(self, score: Score) -> bool:
        """Remember the score of the present step; return whether it is the best."""
        self.scored_step = self.step
        self.scores.append({"step": self.step, **score.as_dict()})
        if score.total < self.best_total:
            self.best_step, self.best_total, self.scorings_without_better = self.step, score.total, 0
            return True
        self.scorings_without_better += 1
        return False
