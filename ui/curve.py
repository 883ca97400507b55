"""A training's history for the page: points for two plots and the samples to listen to.

Kept by the page from tick to tick, so that only new events are read; thinned, so that a training of a
hundred thousand steps costs the browser no more than one of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

MOST_POINTS = 240
"""Points per line that a plot of this width can show."""


@dataclass(kw_only=True)
class History:
    """What the page has read of one training's events.

    Attributes:
        seen: Number of the last event that was read.
        losses: (step, name, value) in order.
        scores: (step, total distance in dB).
        samples: (step, path of the file in the job's working folder).
        steps_per_s: Speed as last reported.
    """

    seen: int = 0
    losses: list[tuple[int, str, float]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    samples: list[tuple[int, str]] = field(default_factory=list)
    steps_per_s: float | None = None

    @property
    def best_step(self) -> int | None:
        """Step of the lowest score so far; None before the first scoring."""
        return min(self.scores, key=lambda pair: pair[1])[0] if self.scores else None

    def read(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Take in further events; return whether there was anything to show in them."""
        news = False
        for event in events:
            self.seen = int(event.get("n", self.seen + 1))
            data = event.get("data") or {}
            step = data.get("step")
            if step is None:
                continue
            news = True
            self._forget_from(int(step))
            self.steps_per_s = data.get("steps_per_s", self.steps_per_s)
            for name, value in (data.get("losses") or {}).items():
                self.losses.append((int(step), str(name), float(value)))
            total = (data.get("score") or {}).get("total")
            if total is not None:
                self.scores.append((int(step), float(total)))
            if data.get("sample"):
                self.samples.append((int(step), str(data["sample"])))
        self._thin()
        return news

    def loss_frame(self) -> pd.DataFrame:
        """Return the losses, columns step, loss, part."""
        return pd.DataFrame(
            [(step, value, name.replace("_", " ")) for step, name, value in self.losses],
            columns=["step", "loss", "part"],
        )

    def score_frame(self) -> pd.DataFrame:
        """Return the scores, columns step, distance."""
        return pd.DataFrame(self.scores, columns=["step", "distance"])

    def _forget_from(self, step: int) -> None:
        # A training that was resumed from a checkpoint tells some steps again.
        if self.losses and self.losses[-1][0] > step:
            self.losses = [point for point in self.losses if point[0] < step]
            self.scores = [pair for pair in self.scores if pair[0] < step]
            self.samples = [pair for pair in self.samples if pair[0] < step]

    def _thin(self) -> None:
        names = {name for _, name, _ in self.losses}
        if len(self.losses) <= 2 * MOST_POINTS * max(1, len(names)):
            return
        first, last = self.losses[0][0], self.losses[-1][0]
        # Even spacing, not every second point: old points would be halved again and again.
        spacing = (last - first) / MOST_POINTS
        due = dict.fromkeys(names, float(first))
        kept: list[tuple[int, str, float]] = []
        for point in self.losses:
            step, name, _ = point
            if step >= due[name] or step == last:
                due[name] = step + spacing
                kept.append(point)
        self.losses = kept
