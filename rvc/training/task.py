"""What an engine must offer to be trained: the Task protocol.

Shapes:  N = samples at the task's rate, T = frames (100 per second), C = content channels.
Units:   audio in -1..1, F0 in Hz with 0 where unvoiced.
Not here: order, time, checkpoints, scores and when to stop; those are the loop's, the same for
          every engine.

What a task owes the loop, so that a resumed training equals an uninterrupted one bit for bit:

* `batch` draws all its randomness from the generator that it is given. `step` may also draw from
  torch's global generators (dropout does): the loop seeds them anew before every step.
  Python's and NumPy's global generators are never used.
* Nothing that influences a later step lives outside `state_dict`; the step number is an argument,
  so a schedule needs no counter of its own.
* `render`, `reference`, `f0`, `content` and `export` change nothing: they leave the networks in the
  mode (train or eval) and with the weights that they had.

What a training remembers from step to step, what it reports and how it ended. Plain data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.training.scoring import Score

Features = Mapping[str, Tensor]
"""What an engine knows of one slice: named tensors on the CPU, as its `extract` made them."""


class Task(Protocol):
    """One engine's networks, optimizers and losses, ready to be trained on one voice.

    A task is built by a function without arguments. New weights are drawn from torch's global
    generator, which the caller seeds before.

    Attributes:
        sample_rate_hz: Rate of what `render` and `reference` give.
        features_key: Changes whenever `extract` would give something else for the same slice (its
            version, its encoder's checksum); part of the name of each cached file.
        device: Where the networks are.
        epoch: How many times everything was heard; the loop says it before each step, as it follows from
            the step's number.
    """

    sample_rate_hz: int
    features_key: str
    device: torch.device
    epoch: int

    def default_steps(self, seconds_of_audio: float) -> int:
        """Say how many steps suit this many seconds of training audio.

        Args:
            seconds_of_audio: All slices together, the held-out ones included.

        Returns:
            At least 1; the same for the same argument.
        """
        ...

    def extract(self, wav: NDArray[np.float32], rate_hz: int, seed: int) -> dict[str, Tensor]:
        """Compute the features of one slice; the loop keeps them in a file.

        Args:
            wav: One slice, shape (samples,), mono at its own rate.
            rate_hz: Its rate.
            seed: Seed of everything random here; the same for the same slice and training seed.

        Returns:
            Tensors by name, of any dtype, on the CPU or the device.
        """
        ...

    def batch(self, items: Sequence[Features], generator: torch.Generator) -> dict[str, Tensor]:
        """Put together one batch: crops, choices, padding.

        Args:
            items: Features of the slices whose turn it is; a slice may occur more than once.
            generator: A CPU generator, the only source of randomness.

        Returns:
            Tensors by name, as `step` wants them.
        """
        ...

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        """Take one optimizer step of every network.

        Args:
            batch: What `batch` gave.
            step: Number of this step, 0..total_steps - 1; rates and ramps follow from it.
            total_steps: How many the whole training has.
            generator: A generator on `device`, for noise and phases.

        Returns:
            Losses by name. One that is not finite ends the training.
        """
        ...

    def render(self, item: Features) -> NDArray[np.float32]:
        """Speak one slice in the voice as it is now; the same weights give the same samples.

        Args:
            item: Features of a slice.

        Returns:
            Audio, shape (N,).
        """
        ...

    def reference(self, item: Features) -> NDArray[np.float32]:
        """Give the recording that `render` should come close to, at the level that it trains on.

        Args:
            item: Features of a slice.

        Returns:
            Audio, shape (N,); lengths may differ from `render` by up to a frame.
        """
        ...

    def f0(self, item: Features) -> NDArray[np.float64]:
        """Give the melody of a slice.

        Args:
            item: Features of a slice.

        Returns:
            F0 in Hz, shape (T,), 0 where unvoiced, frame i centred at 10 ms times i.
        """
        ...

    def content(self, item: Features) -> NDArray[np.float32]:
        """Give the content vectors of a slice, for the retrieval index.

        Args:
            item: Features of a slice.

        Returns:
            Rows, shape (T, C); T >= 1.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Give all that training changes: networks and optimizers.

        Returns:
            Nested dicts and lists of tensors, numbers, strings and None only, so that it can be
            read with `weights_only=True`.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave.

        Args:
            state: As read from disk, tensors on the CPU.
        """
        ...

    def export(self, folder: Path) -> dict[str, Any]:
        """Write the voice as it is now for use: `model.safetensors` in `folder`.

        Args:
            folder: An existing folder.

        Returns:
            The card's fields that only the engine knows: at least `engine`, `sample_rate_hz`,
            `content_encoder` and `content_dim`. JSON-able.
        """
        ...


@runtime_checkable
class DescribesVoice(Protocol):
    """A task that learns something of the voice from all slices together, for its card."""

    def describe(self, items: Iterable[Features]) -> dict[str, Any]:
        """Measure the voice.

        Args:
            items: Features of all slices.

        Returns:
            Further fields of the card. JSON-able.
        """
        ...


@runtime_checkable
class WritesCheckpoints(Protocol):
    """A task from whose training other programs can go on."""

    def write_checkpoints(self, folder: Path) -> list[Path]:
        """Write the networks and optimizers as they are now.

        Args:
            folder: An existing folder; files of an earlier writing are removed from it.

        Returns:
            The files.

        Raises:
            OSError: The disk refuses.
        """
        ...


TaskBuilder = Callable[[], Task]
SMOOTHING_STEPS = 50
"""Reported losses are the mean of the steps so far, then forget with this many steps."""
EndReason = Literal["budget", "patience", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """One sign of life of a training.

    Attributes:
        stage: "Training" or "Scoring".
        step: Steps taken.
        total_steps: Steps at most.
        losses: Smoothed losses by name.
        steps_per_s: Speed while computing, pauses left out; None before the first step.
        seconds_left: Until `total_steps` with all scorings; None before the first step.
        message: One sentence if there is something to say.
        score: At the end of a scoring, its parts, `total` and `step`.
        sample: At the end of a scoring, the file with a held-out sentence in the new voice,
            relative to the working folder; None if it could not be spoken.
        reference: With a sample, the file with the same sentence as it was recorded.
    """

    stage: str
    step: int
    total_steps: int
    losses: dict[str, float]
    steps_per_s: float | None
    seconds_left: float | None
    message: str = ""
    score: dict[str, float | None] | None = None
    sample: str | None = None
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training ended. The task then holds the best state.

    Attributes:
        steps: Steps taken.
        best_step: Step of the state that the task holds.
        reason: "budget" all steps taken; "patience" no better for long; "diverged" a loss was no
            number, and the best state before that was taken.
        scores: Every scoring in order: `step`, the parts of the score and `total`.
    """

    steps: int
    best_step: int
    reason: EndReason
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
        """Remember the losses of one step and count it."""
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
