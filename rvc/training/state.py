"""What a training remembers from step to step, what it reports and how it ended. Plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from rvc.training.scoring import Score

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
