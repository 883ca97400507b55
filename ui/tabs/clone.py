"""The Clone tab: recordings in, a report on them, one button, and a training to watch.

check     files change -> upload -> preparing job; its report appears when it is done
train     permission and name checked -> training job; answers at once
tick      every two seconds while something runs: rows and new events of this visitor's jobs
reattach  on load: the newest training of this visitor, so that a closed tab loses nothing
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gradio as gr

from rvc.errors import ConfigError, RvcError
from rvc.training.settings import CHOICES
from ui.look.html import CLONE_START, card, job_card, paragraph, refused_list, report_card
from ui.server.services import (
    ACTIVE,
    CONSENT,
    QUIET,
    Answer,
    Services,
    as_gr_error,
    error_message,
    publish_file,
    uploaded_files,
    warn_of,
)
from ui.tabs.training_view import TrainingState, TrainingView

TICK_S = 2.0
CHECKING = "Checking the recordings"
# How long after its end a training is shown to its owner who opens the page.
NEWS_S = 3_600.0
UNFINISHED_NEWS_S = 7 * 86_400.0
BUILT_IN, RVC = "lite", "rvc"
ENGINE_INFO = (
    "The built-in one takes minutes on a processor. RVC gives a voice that RVC programs read; it is for a "
    "GPU, takes days without one, and begins with pretrained weights: 600 MB are downloaded at first."
)
READ_ALOUD = (
    "If you have nothing to read: tell what you did today, describe the room you are in, count from ninety "
    "to seventy, ask three questions, and say something you are glad about. Two minutes go by quickly."
)


@dataclass(kw_only=True)
class CloneState:
    # Changed in place and never returned by a listener: a tick that began before a click and ends after
    # it would otherwise bring the old state back.
    upload_id: str | None = None  # of the files that are shown
    prepare_id: str | None = None  # preparing job of that upload, until its report is shown
    watched: TrainingState | None = None
    runs: bool = False  # whether any of these jobs waits or runs


class TrainingSettings:
    """The folded expert settings of a training; their defaults are the right ones for most voices."""

    def __init__(self) -> None:
        with gr.Accordion("Expert settings", open=False):
            self.reduce_noise = gr.Checkbox(
                label="Take steady noise out of the recordings",
                info="For hum and hiss only: it makes clean recordings duller.",
            )
            # No gr.Number: an empty one becomes 0 when the accordion is opened.
            self.steps = gr.Textbox(
                label="Training steps at most",
                placeholder="automatic",
                elem_id="clone-steps",
                info="Leave empty: the length of the recordings decides, and training stops by itself "
                "when the voice no longer gets better.",
            )
            self.engine = gr.Radio(
                [("Built in", BUILT_IN), ("RVC", RVC)],
                value=BUILT_IN,
                label="Engine",
                info=ENGINE_INFO,
                elem_id="clone-engine",
            )
            with gr.Row(visible=False) as of_rvc:
                self.version = gr.Radio(list(CHOICES["version"]), value="v2", label="RVC version")
                rates = [(f"{hz // 1000} kHz", hz) for hz in CHOICES["sample_rate_hz"] if isinstance(hz, int)]
                self.rate = gr.Radio(rates, value=40_000, label="Sample rate")
                self.f0 = gr.Checkbox(value=True, label="Follows the melody", info="Needed for songs.")
                self.from_scratch = gr.Checkbox(
                    label="Random initial weights (from_scratch)",
                    info="Where the pretrained ones cannot be had: hours of recordings, days of a GPU.",
                    elem_id="clone-from-scratch",
                )
        self.engine.change(
            lambda chosen: gr.Row(visible=chosen == RVC), self.engine, of_rvc, queue=False, **QUIET
        )
        of_any = [self.reduce_noise, self.steps, self.engine]
        self.inputs = [*of_any, self.version, self.rate, self.f0, self.from_scratch]

    def settings(self, values: Answer) -> dict[str, Any]:
        """Return the job's settings for the values of `inputs`, by component; defaults are left out."""
        settings: dict[str, Any] = {"reduce_noise": True} if values[self.reduce_noise] else {}
        try:
            if steps := str(values[self.steps] or "").strip():
                settings["total_steps"] = int(steps)
            if values[self.engine] != BUILT_IN:
                settings |= {"engine": str(values[self.engine]), "version": str(values[self.version])}
                settings |= {"sample_rate_hz": int(values[self.rate]), "f0": bool(values[self.f0])}
                settings |= {"from_scratch": True} if values[self.from_scratch] else {}
        except (TypeError, ValueError) as error:
            raise ConfigError("One of the expert settings is no number; set it again.") from error
        return settings


class CloneTab:
    def __init__(self, services: Services) -> None:
        self._services = services
        self.state = gr.State(CloneState())
        self.timer = gr.Timer(TICK_S, active=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self._lay_out_inputs()
            with gr.Column(scale=6, min_width=320):
                self.view = TrainingView(services)
                self.report = gr.HTML(CLONE_START, elem_id="clone-report", padding=False)
        self._drawn = [self.report, *self.view.components, self.train_button, self.timer]
        self._wire()

    def _lay_out_inputs(self) -> None:
        gr.HTML('<p class="tm-step">1. Recordings of the voice</p>', padding=False)
        self.files = gr.File(
            label="Audio files, or .zip files of them",
            file_count="multiple",
            height=200,
            elem_id="clone-files",
        )
        with gr.Accordion("Record with the microphone instead", open=False):
            gr.Markdown(READ_ALOUD)
            self.microphone = gr.Audio(
                sources=["microphone"],
                type="filepath",
                format="wav",
                label="Record; it joins the list above",
                buttons=[],
                elem_id="clone-microphone",
            )
        gr.HTML('<p class="tm-step">2. Name and permission</p>', padding=False)
        self.name = gr.Textbox(
            label="Name of the voice", placeholder="Anna", max_length=80, elem_id="clone-name"
        )
        self.consent = gr.Checkbox(label=CONSENT, elem_id="clone-consent")
        self.expert = TrainingSettings()
        self.train_button = gr.Button("Train this voice", variant="primary", size="lg", elem_id="clone-train")

    def _wire(self) -> None:
        recorded = [self.microphone, self.files]
        shown: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        self.microphone.stop_recording(self.add_recording, recorded, recorded, **QUIET)
        self.files.change(
            self.check,
            [self.files, self.state],
            [self.report, self.timer],
            show_progress_on=[self.report],
            **shown,
        )
        self.train_button.click(
            self.train,
            {self.state, self.name, self.consent, *self.expert.inputs},
            self._drawn,
            show_progress_on=[self.train_button],
            **shown,
        )
        self.timer.tick(self.tick, self.state, self._drawn, queue=False, **QUIET)
        self.view.cancel.click(self.cancel, self.state, self._drawn, **QUIET)
        self.view.resume.click(self.resume, self.state, self._drawn, **QUIET)
        self.view.choice.input(self.sample, [self.state, self.view.choice], self.view.sample, **QUIET)

    def wire(self, page: gr.Blocks) -> None:
        page.load(self.reattach, self.state, self._drawn, **QUIET)

    def add_recording(self, recording: str | None, files: list[str] | None) -> Answer:
        """Move a finished recording into the list of files, under a name of its own."""
        listed = list(files or [])
        with as_gr_error():
            for path, _ in uploaded_files(recording):
                listed.append(publish_file(path, f"Recording {len(listed) + 1}"))
        return {self.microphone: None, self.files: listed}

    def check(self, files: list[str] | None, state: CloneState, request: gr.Request) -> Answer:
        """Take in the files and start the preparing job that reports on them."""
        self._drop_check(state, request)
        if not files:
            return {self.report: CLONE_START}
        try:
            caller = self._services.caller(request)
            job = self._services.send_and_submit(caller, uploaded_files(files), "preprocessing", {})
        except (RvcError, OSError) as error:
            said = paragraph(error_message(error)) + paragraph(
                "Change the list of files, and they are checked again. Nothing was kept.", quiet=True
            )
            return {self.report: card("These recordings were not taken", said, tone="bad")}
        state.upload_id, state.prepare_id = job["input_job_id"], job["id"]
        return {self.report: _checked(job), self.timer: gr.Timer(active=True)}

    def _drop_check(self, state: CloneState, request: gr.Request) -> None:
        """Stop a check that nobody waits for any more: other files have come in the place of its own."""
        prepare_id, state.upload_id, state.prepare_id = state.prepare_id, None, None
        if prepare_id and not (state.watched and state.runs):
            with suppress(RvcError):
                self._services.jobs.cancel(self._services.caller(request), prepare_id)

    def train(self, values: Answer, request: gr.Request) -> Answer:
        """Start the training; it goes on when the page is closed."""
        state, named = values[self.state], (values[self.name] or "").strip()
        if not (state.upload_id and named and values[self.consent]):
            missing = f"Tick '{CONSENT}'." if named else "Give the voice a name."
            warn_of(missing if state.upload_id else "Add recordings of the voice.")
            return gr.skip()
        with as_gr_error():
            settings = {"consent": True} | self.expert.settings(values)
            caller = self._services.caller(request)
            job = self._services.submit(caller, "training", state.upload_id, settings, model_name=named)
            state.watched = TrainingState(job_id=job["id"])
            return self._draw(state, request) | {self.timer: gr.Timer(active=True)}

    def tick(self, state: CloneState, request: gr.Request) -> Answer:
        answer: Answer = {}
        try:
            answer = self._draw(state, request)
        except RvcError:
            # The job was cleaned up, or the visitor has another identity now: stop asking.
            state.watched = state.prepare_id = None
        if not state.runs:
            answer[self.timer] = gr.Timer(active=False)
        return answer or gr.skip()

    def cancel(self, state: CloneState, request: gr.Request) -> Answer:
        return self._act("cancel", state, request)

    def resume(self, state: CloneState, request: gr.Request) -> Answer:
        return self._act("resume", state, request)

    def _act(self, action: str, state: CloneState, request: gr.Request) -> Answer:
        with as_gr_error():
            if state.watched:
                getattr(self._services.jobs, action)(self._services.caller(request), state.watched.job_id)
                state.watched.mark = ""
            return self._draw(state, request) | {self.timer: gr.Timer(active=True)}

    def sample(self, state: CloneState, choice: str | None, request: gr.Request) -> Answer:
        if not (watched := state.watched):
            return gr.skip()
        with as_gr_error():
            watched.picked = choice if choice != watched.newest_sample else None
            return self.view.play(self._services.caller(request), watched.job_id, choice) or gr.skip()

    def reattach(self, state: CloneState, request: gr.Request) -> Answer:
        """Show the visitor's newest training."""
        try:
            rows = self._services.jobs.list(self._services.caller(request), type="training")
        except RvcError:
            rows = []
        newest = next((row for row in rows if row["status"] != "uploaded"), None)
        state.watched = TrainingState(job_id=newest["id"]) if newest and _is_news(newest) else None
        return self._draw(state, request) | {self.timer: gr.Timer(active=state.runs)}

    def _draw(self, state: CloneState, request: gr.Request) -> Answer:
        """Return what has changed in the report, the view of the training and the Train button."""
        services, answer = self._services, {}
        state.runs = False
        if state.prepare_id:
            caller = services.caller(request)
            row = services.jobs.get(caller, state.prepare_id)
            answer[self.report] = _checked(row)
            state.runs = row["status"] in ACTIVE
            if not state.runs:
                if found := services.jobs.files.report(caller, state.prepare_id):
                    answer[self.report] = report_card(found)
                state.prepare_id = None
        if watched := state.watched:
            caller = services.caller(request)
            row = services.jobs.get(caller, watched.job_id)
            trains = row["status"] in ACTIVE
            if changed := self.view.draw(caller, row, watched):
                label = "Training …" if trains else "Train this voice"
                answer |= changed | {self.train_button: gr.Button(label, interactive=not trains)}
            state.runs = state.runs or trains
        return answer


def _checked(row: dict[str, Any]) -> str:
    """Return where the check of recordings stands, and the files that were refused before it."""
    refused = refused_list(row["refused"])
    return job_card(row, title=CHECKING) + (card("", refused, tone="warn") if refused else "")


def _is_news(row: dict[str, Any]) -> bool:
    """Whether a training is worth showing to somebody who opens the page."""
    age_s = time.time() - datetime.fromisoformat(row["updated_at"]).timestamp()
    return row["status"] in ACTIVE or age_s < (NEWS_S if row["status"] == "completed" else UNFINISHED_NEWS_S)
