"""How a training looks while it runs and when it has ended: where it stands, curves, samples, what next.

A training's history for the page: points for two plots and the samples to listen to.

Kept by the page from tick to tick, so that only new events are read; thinned, so that a training of a
hundred thousand steps costs the browser no more than one of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import gradio as gr
import pandas as pd

from rvc.errors import RvcError
from ui.look.html import card, job_card, paragraph
from ui.look.media import player
from ui.server.services import ACTIVE, Services, Update, hand_out

if TYPE_CHECKING:
    from pipelines.store.records import Caller


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


REFERENCE = "reference"


@dataclass(kw_only=True)
class Watched:
    """One training as one visitor watches it.

    Attributes:
        job_id: The training.
        mark: What was last drawn, so that nothing is sent twice.
        history: Its curves and samples.
        samples_shown: How many samples the visitor can choose from.
        picked: The older sample that the visitor chose to hear; None for always the newest.
    """

    job_id: str
    mark: str = ""
    history: History = field(default_factory=History)
    samples_shown: int = 0
    picked: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingView:
    """The components of the view, all in one column that is hidden while there is no training."""

    SIZE: ClassVar[int] = 10

    column: gr.Column
    card: gr.HTML
    next_step: gr.Button
    cancel: gr.Button
    resume: gr.Button
    listening: gr.Column
    choice: gr.Dropdown
    sample: gr.Audio
    losses: gr.LinePlot
    scores: gr.LinePlot

    @property
    def outputs(self) -> list[Any]:
        """Components in the order in which `view_of` returns their values."""
        return [
            self.column,
            self.card,
            self.next_step,
            self.cancel,
            self.resume,
            self.listening,
            self.choice,
            self.sample,
            self.losses,
            self.scores,
        ]


def training_view() -> TrainingView:
    """Lay out the view."""
    with gr.Column(visible=False, elem_id="training") as column:
        state = gr.HTML(elem_id="training-card", padding=False)
        next_step = gr.Button(
            "Convert with this voice", variant="primary", visible=False, elem_id="convert-next"
        )
        with gr.Row():
            cancel = gr.Button(
                "Stop training", variant="stop", size="sm", visible=False, elem_id="training-cancel"
            )
            resume = gr.Button("Resume training", variant="primary", visible=False, elem_id="training-resume")
        with gr.Column(visible=False) as listening:
            choice = gr.Dropdown(
                label="Listen while it learns",
                choices=[],
                interactive=True,
                elem_id="sample-choice",
                info="A sentence that is kept out of the training, spoken by the voice at each scoring.",
            )
            sample = player("Held-out sentence", "sample", download=True)
        losses = gr.LinePlot(
            x="step",
            y="loss",
            color="part",
            title="Loss while training",
            x_title="step",
            y_title="loss",
            height=220,
            visible=False,
            elem_id="losses",
        )
        scores = gr.LinePlot(
            x="step",
            y="distance",
            title="Distance from the real voice",
            x_title="step",
            y_title="dB, lower is better",
            height=200,
            visible=False,
            elem_id="scores",
        )
    return TrainingView(
        column=column,
        card=state,
        next_step=next_step,
        cancel=cancel,
        resume=resume,
        listening=listening,
        choice=choice,
        sample=sample,
        losses=losses,
        scores=scores,
    )


def view_of(services: Services, caller: Caller, row: dict[str, Any], watched: Watched) -> tuple[Any, ...]:
    """Return the values of all components for a training as it stands.

    Args:
        services: To fetch the newest sample.
        caller: Who looks.
        row: The training's row.
        watched: Its curves and samples so far, and what this visitor listens to.
    """
    status, history = row["status"], watched.history
    done = status == "completed"
    choice: Any = gr.skip()
    sample: Any = gr.skip()
    if len(history.samples) != watched.samples_shown:
        watched.samples_shown = len(history.samples)
        choices = sample_choices(history)
        newest = choices[0][1] if choices else None
        choice = gr.Dropdown(choices=choices, value=watched.picked or newest)
        # Somebody who listens to an older one is not interrupted.
        sample = gr.skip() if watched.picked else sample_of(services, caller, row["id"], newest)
    return (
        gr.Column(visible=True),
        _card_of(row, history),
        gr.Button(visible=done and bool(row.get("model_id"))),
        gr.Button(visible=status in ACTIVE),
        gr.Button(visible=status in ("cancelled", "interrupted", "failed")),
        gr.Column(visible=bool(history.samples)),
        choice,
        sample,
        gr.LinePlot(value=history.loss_frame(), visible=len(history.losses) > 1),
        gr.LinePlot(value=history.score_frame(), visible=len(history.scores) > 1),
    )


def sample_choices(history: History) -> list[tuple[str, str]]:
    """Return (label, file) of every sample, newest first, the recording itself last."""
    if not history.samples:
        return []
    best = history.best_step
    choices = []
    for number, (step, path) in enumerate(reversed(history.samples)):
        marks = [mark for mark, holds in (("newest", number == 0), ("best so far", step == best)) if holds]
        choices.append((f"Step {step}" + (f" ({', '.join(marks)})" if marks else ""), path))
    folder = PurePosixPath(history.samples[0][1]).parent
    return [*choices, ("The recording itself, to compare", str(folder / f"{REFERENCE}.wav"))]


def sample_of(services: Services, caller: Caller, job_id: str, choice: str | None) -> Update:
    """Return one sample for the player; nothing new when it is gone."""
    if not choice:
        return gr.skip()
    try:
        path = services.jobs.files.artifact(caller, job_id, choice)
    except RvcError:
        return gr.skip()
    return hand_out(path, f"sample {PurePosixPath(choice).stem}")


def _card_of(row: dict[str, Any], history: History) -> str:
    name = row.get("model_name") or "the voice"
    shown = job_card(row, title=f"Training {name}")
    if row["status"] == "completed":
        best = (
            f" The voice of step {history.best_step} was the best and is the one kept."
            if history.best_step
            else ""
        )
        return card(
            f"{name} is ready", paragraph(f"The voice is trained and in your Voices.{best}"), tone="good"
        )
    if row["status"] in ACTIVE:
        shown += paragraph(
            "You may close this page; the training goes on, and is here again later.", quiet=True
        )
    return shown
