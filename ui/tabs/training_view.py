"""How a training looks while it runs and when it has ended: where it stands, curves, samples, what next.

Its events are kept from tick to tick, so that only new ones are read; thinned, so that a training of a
hundred thousand steps costs the browser no more than one of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import gradio as gr
import pandas as pd

from pipelines.store.records import RESTARTABLE, Caller
from rvc.errors import RvcError
from ui.look.html import card, hidden_button, job_card, paragraph, player
from ui.server.services import ACTIVE, Answer, Services, publish_file

MOST_POINTS = 240  # per line; a plot of this width shows no more
REFERENCE = "reference.wav"


@dataclass(kw_only=True)
class TrainingState:
    """One training as one visitor watches it, and what was read of its events."""

    job_id: str
    mark: str = ""  # what was last drawn, so that nothing is sent twice
    samples_shown: int = 0  # how many samples the visitor can choose from
    picked: str | None = None  # the older sample that the visitor chose to hear; None for always the newest
    seen: int = 0  # number of the last event that was read
    losses: list[tuple[int, float, str]] = field(default_factory=list)  # step, value, name
    scores: list[tuple[int, float]] = field(default_factory=list)  # step, total distance in dB
    samples: list[tuple[int, str]] = field(default_factory=list)  # step, path in the job's working folder

    @property
    def best_step(self) -> int | None:
        return min(self.scores, key=lambda pair: pair[1])[0] if self.scores else None

    @property
    def newest_sample(self) -> str | None:
        return self.samples[-1][1] if self.samples else None

    def read(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Take in further events; return whether there was anything to show in them."""
        news = False
        for event in events:
            self.seen = int(event.get("n", self.seen + 1))
            data = event.get("data") or {}
            if data.get("step") is None:
                continue
            news, step = True, int(data["step"])
            if self.losses and self.losses[-1][0] > step:
                self._forget_from(step)
            for name, value in (data.get("losses") or {}).items():
                self.losses.append((step, float(value), str(name).replace("_", " ")))
            total = (data.get("score") or {}).get("total")
            if total is not None:
                self.scores.append((step, float(total)))
            if data.get("sample"):
                self.samples.append((step, str(data["sample"])))
        self._thin()
        return news

    def loss_frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.losses, columns=["step", "loss", "part"])

    def score_frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.scores, columns=["step", "distance"])

    def sample_choices(self) -> list[tuple[str, str]]:
        """Return (label, file) of every sample, newest first, the recording itself last."""
        choices = []
        for number, (step, path) in enumerate(reversed(self.samples)):
            marks = ["newest"] * (number == 0) + ["best so far"] * (step == self.best_step)
            choices.append((f"Step {step}" + (f" ({', '.join(marks)})" if marks else ""), path))
        if choices:
            folder = PurePosixPath(self.samples[0][1]).parent
            choices.append(("The recording itself, to compare", str(folder / REFERENCE)))
        return choices

    def _forget_from(self, step: int) -> None:
        # A training that was resumed from a checkpoint tells some steps again.
        self.losses = [point for point in self.losses if point[0] < step]
        self.scores = [pair for pair in self.scores if pair[0] < step]
        self.samples = [pair for pair in self.samples if pair[0] < step]

    def _thin(self) -> None:
        parts = {part for _, _, part in self.losses}
        if len(self.losses) <= 2 * MOST_POINTS * len(parts):
            return
        first, last = self.losses[0][0], self.losses[-1][0]
        # Even spacing, not every second point: old points would be halved again and again.
        spacing = (last - first) / MOST_POINTS
        due = dict.fromkeys(parts, float(first))
        kept = []
        for step, value, part in self.losses:
            if step >= due[part] or step == last:
                due[part] = step + spacing
                kept.append((step, value, part))
        self.losses = kept


class TrainingView:
    """The components, all in one column that is hidden while there is no training."""

    def __init__(self, services: Services) -> None:
        self._services = services
        steps: dict[str, Any] = {"x": "step", "x_title": "step", "visible": False}
        with gr.Column(visible=False, elem_id="training") as self.column:
            self.card = gr.HTML(elem_id="training-card", padding=False)
            self.next_step = hidden_button("Convert with this voice", "convert-next", variant="primary")
            with gr.Row():
                self.cancel = hidden_button("Stop training", "training-cancel", variant="stop", size="sm")
                self.resume = hidden_button("Resume training", "training-resume", variant="primary")
            with gr.Column(visible=False) as self.listening:
                self.choice = gr.Dropdown(
                    label="Listen while it learns",
                    choices=[],
                    interactive=True,
                    elem_id="sample-choice",
                    info="A sentence that is kept out of the training, spoken by the voice at each scoring.",
                )
                self.sample = player("Held-out sentence", "sample", download=True)
            self.losses = gr.LinePlot(
                y="loss",
                color="part",
                title="Loss while training",
                y_title="loss",
                height=220,
                elem_id="losses",
                **steps,
            )
            self.scores = gr.LinePlot(
                y="distance",
                title="Distance from the real voice",
                y_title="dB, lower is better",
                height=200,
                elem_id="scores",
                **steps,
            )
        self.components = [self.column, self.card, self.next_step, self.cancel, self.resume]
        self.components += [self.listening, self.choice, self.sample, self.losses, self.scores]

    def draw(self, caller: Caller, row: dict[str, Any], watched: TrainingState) -> Answer:
        """Return what shows a training as it stands; nothing when that is what the page shows already."""
        news = watched.read(self._services.jobs.events(caller, row["id"], watched.seen))
        mark = f"{row['status']} {row['progress']} {row['updated_at']} {row['position']}"
        if not news and mark == watched.mark:
            return {}
        status = row["status"]
        answer: Answer = {
            self.column: gr.Column(visible=True),
            self.card: _card_of(row, watched.best_step),
            self.next_step: gr.Button(visible=status == "completed" and bool(row.get("model_id"))),
            self.cancel: gr.Button(visible=status in ACTIVE),
            self.resume: gr.Button(visible=status in RESTARTABLE),
            self.listening: gr.Column(visible=bool(watched.samples)),
            self.losses: gr.LinePlot(value=watched.loss_frame(), visible=len(watched.losses) > 1),
            self.scores: gr.LinePlot(value=watched.score_frame(), visible=len(watched.scores) > 1),
        }
        if len(watched.samples) != watched.samples_shown:
            watched.samples_shown, newest = len(watched.samples), watched.newest_sample
            answer[self.choice] = gr.Dropdown(
                choices=watched.sample_choices(), value=watched.picked or newest
            )
            if not watched.picked:  # somebody who listens to an older one is not interrupted
                answer |= self.play(caller, row["id"], newest)
        watched.mark = mark
        return answer

    def play(self, caller: Caller, job_id: str, choice: str | None) -> Answer:
        """Put a sample into the player; nothing new when it is gone."""
        try:
            path = self._services.jobs.files.artifact(caller, job_id, choice) if choice else None
        except RvcError:
            path = None
        return {self.sample: publish_file(path, f"sample {PurePosixPath(choice or '').stem}")} if path else {}


def _card_of(row: dict[str, Any], best_step: int | None) -> str:
    name = row.get("model_name") or "the voice"
    if row["status"] == "completed":
        best = f" The voice of step {best_step} was the best and is the one kept." if best_step else ""
        said = paragraph(f"The voice is trained and in your Voices.{best}")
        return card(f"{name} is ready", said, tone="good")
    shown = job_card(row, title=f"Training {name}")
    if row["status"] in ACTIVE:
        shown += paragraph(
            "You may close this page; the training goes on, and is here again later.", quiet=True
        )
    return shown
