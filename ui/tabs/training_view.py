"""How a training looks while it runs and when it has ended: where it stands, curves, samples, what next.

Its events are kept from tick to tick, so that only new ones are read; thinned, so that a training of a
hundred thousand steps costs the browser no more than one of a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from pipelines.jobs.improving import goes_on_from_instant, is_instant
from pipelines.jobs.samples import MORE_STEPS, REFERENCE, further_steps
from pipelines.store.records import RESTARTABLE, Caller
from rvc.errors import UnknownNameError
from ui.look.clone_parts import no_training, samples_grid
from ui.look.html import BUTTONS_JS, ChoiceDropdown, card, hidden_button, job_card, paragraph
from ui.look.language import tr
from ui.look.voice_cards import play_button
from ui.look.wording import called, moment
from ui.server.published import publish_file, publish_once
from ui.server.services import ACTIVE, Answer, Services

MOST_POINTS = 240  # per line; a plot of this width shows no more
MOST_TRAININGS = 20  # of which one can be chosen, the newest
CURVES = "Curves: how near it comes to recordings that it never heard"
SAMPLES_JS = (Path(__file__).parents[1] / "look" / "samples.js").read_text(encoding="utf-8")
Choices = list[tuple[str, str | None]]  # label and job


@dataclass(kw_only=True)
class TrainingState:
    """One training as one visitor watches it, and what was read of its events."""

    job_id: str
    mark: str = ""  # what was last drawn, so that nothing is sent twice
    served: dict[int, str] = field(default_factory=dict)  # by step where its sample can be fetched
    grid: str | None = None  # of samples, as it was last drawn: drawn again, it would lose the focus
    curves: bool = False  # whether the visitor looks at them
    offered: int | None = None  # further steps
    seen: int = 0  # number of the last event that was read
    losses: list[tuple[int, float, str]] = field(default_factory=list)  # step, value, name
    scores: list[tuple[int, float]] = field(default_factory=list)  # step, total distance in dB

    @property
    def best_step(self) -> int | None:
        return min(self.scores, key=lambda pair: pair[1])[0] if self.scores else None

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
        self._thin()
        return news

    def loss_frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.losses, columns=["step", "loss", "part"])

    def score_frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.scores, columns=["step", "distance"])

    def _forget_from(self, step: int) -> None:
        # A training that was resumed from a checkpoint tells some steps again.
        self.losses = [point for point in self.losses if point[0] < step]
        self.scores = [pair for pair in self.scores if pair[0] < step]
        self.served = {heard: url for heard, url in self.served.items() if heard < step}

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


class TrainingChoice:
    """Which of the visitor's trainings is shown; in view when there is another one to show."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.choice = ChoiceDropdown(
            label="Your trainings", choices=[], visible=False, interactive=True, elem_id="training-choice"
        )
        self.nothing = gr.HTML(no_training(), elem_id="no-training", padding=False)
        self.components = [self.choice, self.nothing]

    def draw(self, caller: Caller, watched_id: str | None, drawn: Choices) -> Answer:
        """Return what shows the trainings there are, unless they are `drawn`, which is kept up to date."""
        rows = self._services.jobs.list(caller, user_id=caller.user_id, type="training")
        rows = [row for row in rows if row["status"] != "uploaded"][:MOST_TRAININGS]
        choices = [(_label_of(row), row["id"]) for row in rows]
        if drawn == [*choices, ("", watched_id)]:
            return {}
        drawn[:] = [*choices, ("", watched_id)]
        is_listed = watched_id in [job_id for _, job_id in choices]
        return {
            self.choice: gr.Dropdown(
                choices=choices,
                value=watched_id if is_listed else None,
                visible=len(choices) > is_listed,
            ),
            self.nothing: gr.HTML(visible=not watched_id),
        }


def _label_of(row: dict[str, Any]) -> str:
    name, state = row.get("model_name") or "", called(row["status"])
    return tr("{name}: {state}, begun {moment}", name=name, state=state, moment=moment(row["created_at"]))


class TrainingView:
    """The components, all in one column that is hidden while there is no training."""

    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Column(visible=False, elem_id="training") as self.column:
            self.card = gr.HTML(elem_id="training-card", padding=False)
            with gr.Row():
                self.next_step = hidden_button("Convert with this voice", "convert-next", variant="primary")
                self.cancel = hidden_button("Stop training", "training-cancel", variant="stop", size="sm")
                self.resume = hidden_button("Resume training", "training-resume", variant="primary")
            self.grid = gr.HTML(
                elem_id="samples", elem_classes=["tm-note"], padding=False, js_on_load=BUTTONS_JS + SAMPLES_JS
            )
            with gr.Row(visible=False, equal_height=True) as self.further:
                # No gr.Number: an empty one becomes 0.
                self.more_steps = gr.Textbox(
                    value=str(MORE_STEPS), label="Further steps", elem_id="training-more-steps", scale=1
                )
                self.train_on = gr.Button("Train on", elem_id="training-on", scale=1)
            with gr.Accordion(CURVES, open=False, visible=False, elem_id="curves") as self.curves:
                self.scores = _plot(
                    "scores", "distance", "To recordings that it never heard", "dB, lower is better"
                )
                self.losses = _plot(
                    "losses", "loss", "To those that it learns from", "lower is better", color="part"
                )
        buttons = [self.next_step, self.cancel, self.resume, self.further, self.more_steps, self.train_on]
        self.components = [self.column, self.card, *buttons, self.grid]
        self.components += [self.curves, self.losses, self.scores]

    def draw(self, caller: Caller, row: dict[str, Any], watched: TrainingState) -> Answer:
        """Return what shows a training as it stands; nothing when that is what the page shows already."""
        news = watched.read(self._services.jobs.events(caller, row["id"], watched.seen))
        mark = f"{row['status']} {row['progress']} {row['updated_at']} {row['position']}"
        if not news and mark == watched.mark:
            return {}
        status = row["status"]
        answer: Answer = {
            self.column: gr.Column(visible=True),
            self.card: self._card_of(caller, row),
            self.next_step: gr.Button(visible=self._voice_is_there(caller, row)),
            self.cancel: gr.Button(visible=status in ACTIVE),
            self.resume: gr.Button(visible=status in RESTARTABLE),
            self.further: gr.Row(visible=status == "completed"),
            **self._further_of(row, watched),
            self.curves: gr.Accordion(visible=len(watched.scores) > 1),
        }
        if (grid := self._samples_of(caller, row, watched)) != watched.grid:
            answer[self.grid] = watched.grid = grid
        watched.mark = mark
        return answer | self.draw_curves(watched)

    def draw_curves(self, watched: TrainingState) -> Answer:
        """Return the curves while somebody looks at them: only then is what draws them loaded."""
        if not watched.curves:
            return {plot: gr.LinePlot(visible=False) for plot in (self.losses, self.scores)}
        return {
            self.losses: gr.LinePlot(value=watched.loss_frame(), visible=len(watched.losses) > 1),
            self.scores: gr.LinePlot(value=watched.score_frame(), visible=len(watched.scores) > 1),
        }

    def _samples_of(self, caller: Caller, row: dict[str, Any], watched: TrainingState) -> str:
        samples, job_id = self._services.samples, row["id"]
        rows = samples.list(caller, job_id)
        if not rows:
            return ""
        for step in (REFERENCE, *(one["step"] for one in rows)):
            # Gradio removes a link after a day, and a training may take longer.
            if step not in watched.served or not Path(watched.served[step]).is_file():
                watched.served[step] = publish_file(samples.path(caller, job_id, step), f"step {step}")
        return samples_grid(rows, watched.served, completed=row["status"] == "completed")

    def _voice_is_there(self, caller: Caller, row: dict[str, Any]) -> bool:
        """Whether a training has made a voice, and nobody has deleted it since."""
        made = row["status"] == "completed" or goes_on_from_instant(row)
        if not made or not row.get("model_id"):
            return False
        try:
            return bool(self._services.library.get(caller, row["model_id"]))
        except UnknownNameError:
            return False

    def _card_of(self, caller: Caller, row: dict[str, Any]) -> str:
        name = row.get("model_name") or tr("the voice")
        if row["status"] == "completed":
            if not self._voice_is_there(caller, row):
                said = tr("The voice that was trained here has been deleted; keep a state to have it again.")
                return card(str(name), paragraph(said))
            if is_instant(row):
                return self._instant_card(caller, row)
            kept = (row.get("result") or {}).get("best_step")
            said = tr("The voice is trained and in your Voices.")
            if kept:
                said = tr("The voice is trained and in your Voices, as it was at step {step}.", step=kept)
            return card(tr("{name} is ready", name=name), paragraph(said), tone="good")
        shown = job_card(row, title=tr("Training {name}", name=name))
        if row["status"] in ACTIVE and self._voice_is_there(caller, row):
            said = tr("{name} can be used meanwhile; it gets better with every best sample.", name=name)
            shown += paragraph(said)
        if row["status"] in ACTIVE:
            shown += paragraph(
                tr("You may close this page; the training goes on, and is here again later."), quiet=True
            )
        return shown

    def _instant_card(self, caller: Caller, row: dict[str, Any]) -> str:
        """Return what there is to hear of a voice that was made without training, and what comes next."""
        name, services, buttons = str(row["model_name"]), self._services, ""
        sounds: dict[str, Callable[[], Path]] = {
            tr("The real recording"): partial(services.samples.path, caller, row["id"], REFERENCE),
            name: partial(services.library.sample, caller, row["model_id"]),
        }
        for text, find in sounds.items():
            with suppress(UnknownNameError):
                path = find()
                link = publish_once(path, path.stem)
                buttons += play_button(link, tr("Hear {name}", name=text), text=text)
        said = tr(
            "It was made without training, so it is not yet as near to the voice, nor as clear, as it can "
            "be. Train it: the same voice then gets better while you use it."
        )
        heard = f'<div class="tm-actions">{buttons}</div>'
        return card(tr("{name} speaks already", name=name), heard + paragraph(said), tone="good")

    def _further_of(self, row: dict[str, Any], watched: TrainingState) -> Answer:
        """Return the steps that are offered, once: what a person has typed since stays."""
        if row["status"] != "completed" or watched.offered == (offer := further_steps(row)):
            return {}
        watched.offered = offer
        label = tr("Train this voice") if is_instant(row) else tr("Train on")
        return {self.more_steps: gr.Textbox(str(offer)), self.train_on: gr.Button(label)}


def _plot(elem_id: str, value: str, title: str, scale: str, **more: Any) -> gr.LinePlot:  # noqa: ANN401
    return gr.LinePlot(
        x="step",
        y=value,
        title=title,
        x_title="step",
        y_title=scale,
        height=220,
        elem_id=elem_id,
        visible=False,
        **more,
    )
