"""The Clone tab, four steps: recordings, the report on them, name and permission, and a training to hear.

check     files change -> upload -> preparing job; its report appears in step 2 when it is done
leave     takes of the microphone are checked when their step is left, not one by one
train     name and permission there -> training job; answers at once, also before the check has ended
tick      every two seconds while something runs: rows and new events of this visitor's jobs
reattach  on load: the newest check and training of this visitor, so that a closed tab loses nothing
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from pipelines.store.records import Caller
from rvc.errors import ConfigError, RvcError
from ui.look.clone_parts import (
    back_button,
    check_card,
    check_stopped,
    kept_recordings,
    minutes_meter,
    next_button,
    no_recordings,
    not_taken,
    seconds_in,
)
from ui.look.fields import FOCUS_MISSING
from ui.look.html import hidden_button, report_card
from ui.look.language import LANGUAGE, tr
from ui.server.examples import example_files, is_example
from ui.server.services import (
    ACTIVE,
    QUIET,
    Answer,
    Services,
    as_gr_error,
    error_message,
    event_value,
    inform,
    uploaded_files,
    validate_id,
    whole_number,
)
from ui.tabs.clone_naming import AT_ONCE, NamingStep, StartButtons
from ui.tabs.clone_news import news_of
from ui.tabs.clone_recordings import RecordingsStep
from ui.tabs.guided_reading import seconds_of, spoken_in
from ui.tabs.slice_review import SliceReview
from ui.tabs.training_view import Choices, TrainingChoice, TrainingState, TrainingView

TICK_S = 2.0
SAME_CLICK_S = 5.0  # a second press of Train within them, of the same voice, is no wish for another one
RECORDINGS, REVIEW, NAMING, HEARING = 1, 2, 3, 4


@dataclass(kw_only=True)
class CloneState:
    # Changed in place and never returned by a listener: a tick that began before a click and ends after
    # it would otherwise bring the old state back.
    upload_id: str | None = None  # of the files that are shown
    prepare_id: str | None = None  # preparing job of that upload, until its report is shown
    checked_id: str | None = None  # that of the report which is shown
    unchecked: bool = False  # whether takes have joined the list since it was checked
    example: bool = False  # whether the recordings are the example's
    watched: TrainingState | None = None
    trainings: Choices = field(default_factory=list)  # to choose from, as drawn
    runs: bool = False  # whether any of these jobs waits or runs
    started: tuple[str, str, float] = ("", "", 0.0)  # upload, name and time of the last training


class CloneTab:
    def __init__(self, services: Services) -> None:
        self._services = services
        self.state = gr.State(CloneState())
        self.timer = gr.Timer(TICK_S, active=False)
        # No gr.Walkthrough: it lets nobody go forward by its heads, not even to where one has been.
        with gr.Tabs(
            selected=RECORDINGS, overflow_behavior="wrap", elem_id="clone-tabs", elem_classes=["tm-steps"]
        ) as self.tabs:
            with gr.Tab("1. Recordings", id=RECORDINGS, render_children=True):
                self.recordings = RecordingsStep()
                to_review = next_button("Next: review", REVIEW)
            with gr.Tab("2. Review", id=REVIEW, render_children=True) as review:
                self._lay_out_review()
                with gr.Row():
                    back_to_recordings = back_button(RECORDINGS)
                    to_naming = next_button("Next: name and permission", NAMING)
            with gr.Tab("3. Name", id=NAMING, render_children=True) as naming:
                self.naming = NamingStep(trains_rvc=not services.settings.spaces_zero_gpu)
                with gr.Row():
                    back_to_review = back_button(REVIEW)
                    self.start = StartButtons(services)
            with gr.Tab("4. Hear", id=HEARING, render_children=True):
                gr.HTML("<h2>Hear what it learns</h2>", padding=False)
                self.choice = TrainingChoice(services)
                self.view = TrainingView(services)
        self._drawn = [
            self.report,
            *self.review.drawn,
            self.recheck,
            *self.start.both,
            self.recordings.meter,
            *self.choice.components,
        ]
        self._drawn += [*self.view.components, self.timer]
        for button, step in ((back_to_recordings, RECORDINGS), (back_to_review, REVIEW), (to_naming, NAMING)):
            button.click(lambda step=step: gr.Tabs(selected=step), None, self.tabs, queue=False, **QUIET)
        self._wire_recordings(to_review, review, naming)
        self._wire_training()

    def _lay_out_review(self) -> None:
        gr.HTML("<h2>What was found in them</h2>", padding=False)
        self.report = gr.HTML(no_recordings(), elem_id="clone-report", padding=False)
        self.recheck = hidden_button("Check again", "clone-recheck", variant="primary")
        self.review = SliceReview(self._services)

    def _wire_recordings(self, to_review: gr.Button, review: gr.Tab, naming: gr.Tab) -> None:
        step = self.recordings
        of_files = [step.files, self.state]
        answered = [*self._of_files, self.tabs]
        minimal: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        reading = step.reading
        reading.microphone.stop_recording(
            self.take,
            [reading.microphone, step.files, reading.language, reading.number, self.state],
            [reading.microphone, step.files, *reading.shown, step.meter],
            **QUIET,
        )
        reading.language.input(spoken_in, reading.language, self.naming.language, queue=False, **QUIET)
        step.files.change(
            self.check, of_files, self._of_files, show_progress_on=[self.report, step.meter], **minimal
        )
        step.example.click(self.use_example, self.state, [step.files, *answered], **QUIET)
        to_review.click(self.leave, of_files, answered, **QUIET)
        for tab in (review, naming):
            tab.select(self.check_takes, of_files, self._of_files, **QUIET)
        self.recheck.click(self.check_again, self.state, [self.report, self.recheck, self.timer], **QUIET)

    @property
    def _of_files(self) -> list[Any]:
        """What changes with the list of files."""
        naming = self.naming
        of_check = [self.report, *self.review.drawn, self.recheck, *self.start.both, self.timer]
        return [*of_check, *self.recordings.of_files, *naming.of_files, *naming.notes]

    def _wire_training(self) -> None:
        naming = self.naming
        for button, begin in ((self.start.train, self.train), (self.start.hear, self.hear)):
            pressed = button.click(
                begin,
                {self.state, self.recordings.files, *naming.inputs},
                [*self._drawn, *naming.notes, self.tabs],
                api_visibility="private",
                show_progress="minimal",
                show_progress_on=[button],
            )
            pressed.then(None, None, None, js=FOCUS_MISSING, api_visibility="private")
        self.timer.tick(self.tick, self.state, self._drawn, queue=False, **QUIET)
        self.view.cancel.click(self.cancel, self.state, self._drawn, **QUIET)
        self.view.resume.click(self.resume, self.state, self._drawn, **QUIET)
        self.view.grid.keep(self.keep, self.state, self._drawn, **QUIET)
        self.view.train_on.click(self.go_on, [self.state, self.view.more_steps], self._drawn, **QUIET)
        plots = [self.view.losses, self.view.scores]
        for turned, on in ((self.view.curves.expand, True), (self.view.curves.collapse, False)):
            turned(
                lambda state, on=on: self.turn_curves(state, on=on), self.state, plots, queue=False, **QUIET
            )
        self.choice.choice.input(self.choose, [self.state, self.choice.choice], self._drawn, **QUIET)

    def wire(self, page: gr.Blocks) -> None:
        step = self.recordings
        opened = [*self._drawn, step.kept, *step.reading.shown, self.naming.language, self.tabs]
        page.load(self.reattach, self.state, opened, **QUIET)

    def take(
        self, recording: str | None, files: list[str] | None, language: str, number: int, state: CloneState
    ) -> Answer:
        """Add a recording of the microphone; the check of it waits until the step is left."""
        step = self.recordings
        listed, answer = step.reading.add_take(recording, files, language, number)
        if listed == (files or []):
            return answer
        state.unchecked = True
        with as_gr_error():
            answer[step.meter] = minutes_meter(seconds_of(listed))
        return answer | {step.files: listed}

    def use_example(self, state: CloneState, request: gr.Request) -> Answer:
        """Take the example recordings, check them and go on to what is found in them."""
        state.unchecked, files = False, example_files()
        answer = self._check(files, state, request)
        return answer | {self.recordings.files: files, self.tabs: gr.Tabs(selected=REVIEW)}

    def leave(self, files: list[str] | None, state: CloneState, request: gr.Request) -> Answer:
        return self._check_takes(files, state, request) | {self.tabs: gr.Tabs(selected=REVIEW)}

    def check_takes(self, files: list[str] | None, state: CloneState, request: gr.Request) -> Answer:
        return self._check_takes(files, state, request) or gr.skip()

    def _check_takes(self, files: list[str] | None, state: CloneState, request: gr.Request) -> Answer:
        if not state.unchecked:
            return {}
        state.unchecked = False
        return self._check(files, state, request)

    def check(self, files: list[str] | None, state: CloneState, request: gr.Request) -> Answer:
        """Check what is in the list now; that of the example has begun when its button was pressed."""
        if state.example and state.upload_id and is_example(files):
            return gr.skip()
        return self._check(files, state, request)

    def _check(self, files: list[str] | None, state: CloneState, request: gr.Request) -> Answer:
        """Take in the files and start the preparing job that reports on them."""
        self._drop_check(state, request)
        answer: Answer = {self.recheck: gr.Button(visible=False), self.recordings.kept: ""}
        # It would take the place of them all, and there is no way back.
        answer[self.recordings.example] = gr.Button(interactive=not files)
        answer |= self.review.hide()
        if state.unchecked and files:
            return answer
        answer |= self._note_example(files or [], state)
        answer[self.recordings.meter] = minutes_meter(0.0)
        if not files:
            state.unchecked = False
            return answer | {self.report: no_recordings()}
        try:
            caller = self._services.caller(request)
            job = self._services.send_and_submit(caller, uploaded_files(files), "preprocessing", {})
        except (RvcError, OSError) as error:
            return answer | {self.report: not_taken(error_message(error))}
        state.upload_id, state.prepare_id = job["input_job_id"], job["id"]
        seconds = seconds_in(job)
        answer |= {self.report: check_card(job), self.recordings.meter: minutes_meter(seconds)}
        answer |= {self.naming.no_files: ""} | self.start.say_times(seconds)
        return answer | {self.timer: gr.Timer(active=True)}

    def _note_example(self, files: list[str], state: CloneState) -> Answer:
        """Return what follows for name and permission from whose recordings these are."""
        was, state.example = state.example, is_example(files)
        return self.naming.of_example(used=state.example) if state.example or was else {}

    def _drop_check(self, state: CloneState, request: gr.Request) -> None:
        """Stop a check that nobody waits for any more: other files have come in the place of its own."""
        prepare_id, upload_id = state.prepare_id, state.upload_id
        state.upload_id, state.prepare_id, state.checked_id = None, None, None
        if prepare_id and upload_id != state.started[0]:
            with suppress(RvcError):
                self._services.jobs.cancel(self._services.caller(request), prepare_id)

    def check_again(self, state: CloneState, request: gr.Request) -> Answer:
        """Check recordings anew whose check was stopped."""
        with as_gr_error():
            caller = self._services.caller(request)
            job = self._services.submit(caller, "preprocessing", str(state.upload_id), {})
            state.prepare_id = job["id"]
        return {
            self.report: check_card(job),
            self.recheck: gr.Button(visible=False),
            self.timer: gr.Timer(active=True),
        }

    def train(self, values: Answer, request: gr.Request) -> Answer:
        """Start the training; it goes on when the page is closed."""
        return self._begin(values, {}, request)

    def hear(self, values: Answer, request: gr.Request) -> Answer:
        """Have the voice made without training, to be heard and used at once, and maybe trained on."""
        return self._begin(values, AT_ONCE, request)

    def _begin(self, values: Answer, wish: dict[str, Any], request: gr.Request) -> Answer:
        state, named = values[self.state], (values[self.naming.name] or "").strip()
        answer = self._check_takes(values[self.recordings.files], state, request)
        notes = self.naming.missing(values, recordings=bool(state.upload_id))
        shown = {one: answer[one] for one in answer if one in self._drawn} | notes
        if any(notes.values()):
            return shown
        upload_id, moment_s = str(state.upload_id), time.monotonic()
        if state.started[:2] != (upload_id, named) or moment_s - state.started[2] > SAME_CLICK_S:
            with as_gr_error():
                settings = self.naming.settings(values) | wish
                caller = self._services.caller(request)
                job = self._services.submit(caller, "training", upload_id, settings, model_name=named)
            state.started = (upload_id, named, moment_s)
            state.watched = TrainingState(job_id=job["id"])
        with as_gr_error():
            shown |= self._draw(state, request)
        return shown | {self.timer: gr.Timer(active=True), self.tabs: gr.Tabs(selected=HEARING)}

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

    def choose(self, state: CloneState, job_id: str | None, request: gr.Request) -> Answer:
        """Show another training of the visitor's."""
        with as_gr_error():
            curves = bool(state.watched and state.watched.curves)
            state.watched = TrainingState(job_id=validate_id(job_id, "training"), curves=curves)
            return self._draw(state, request) | {self.timer: gr.Timer(active=state.runs)}

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

    def keep(self, state: CloneState, event: gr.EventData, request: gr.Request) -> Answer:
        """Make one of the samples the voice."""
        with as_gr_error():
            if state.watched:
                caller, step = self._services.caller(request), whole_number(event_value(event, "step"))
                kept = -1 if step is None else step  # no sample has that
                row = self._services.samples.keep(caller, state.watched.job_id, kept)
                inform(tr("{name} now speaks as at step {step}.", name=row["model_name"], step=step))
                state.watched.mark = ""
            return self._draw(state, request)

    def go_on(self, state: CloneState, steps: str | None, request: gr.Request) -> Answer:
        """Let a completed training go on."""
        wish = whole_number(steps)
        with as_gr_error():
            if state.watched:
                if wish is None:
                    raise ConfigError(tr("Give the further steps as a whole number, such as 200."))
                self._services.samples.train_on(self._services.caller(request), state.watched.job_id, wish)
                state.watched.mark = ""
            return self._draw(state, request) | {self.timer: gr.Timer(active=True)}

    def turn_curves(self, state: CloneState, *, on: bool) -> Answer:
        """Draw the curves, or leave them out; what draws them is loaded only then."""
        if not state.watched:
            return gr.skip()
        state.watched.curves = on
        return self.view.draw_curves(state.watched)

    def reattach(self, state: CloneState, request: gr.Request) -> Answer:
        """Show the visitor's newest training, and the report on the newest recordings; the newer opens."""
        answer = self.recordings.reading.opened() | {self.naming.language: LANGUAGE.get()}
        step = RECORDINGS
        with suppress(RvcError):
            caller = self._services.caller(request)
            news = news_of(self._services.jobs.list(caller, user_id=caller.user_id))
            if (check := news.get("preprocessing")) and not state.upload_id:
                state.upload_id, state.prepare_id = check["input_job_id"], check["id"]
                answer[self.recordings.kept] = kept_recordings([str(file["name"]) for file in check["files"]])
                step = REVIEW if check["status"] in ACTIVE else step
            if training := news.get("training"):
                state.watched = TrainingState(job_id=training["id"])
                step = HEARING if next(iter(news)) == "training" else step
            answer |= self._draw(state, request)
        if step != RECORDINGS:  # else nobody who was quicker is taken back
            answer[self.tabs] = gr.Tabs(selected=step)
        return answer | {self.timer: gr.Timer(active=state.runs)}

    def _draw(self, state: CloneState, request: gr.Request) -> Answer:
        """Return what has changed in the report and the view of the training."""
        answer: Answer = {}
        services = self._services
        caller = services.caller(request)
        state.runs = False
        if state.prepare_id:
            answer |= self._draw_check(state, services.jobs.get(caller, state.prepare_id), caller)
        if watched := state.watched:
            row = services.jobs.get(caller, watched.job_id)
            answer |= self.view.draw(caller, row, watched)
            state.runs = state.runs or row["status"] in ACTIVE
        watched_id = state.watched.job_id if state.watched else None
        return answer | self.choice.draw(caller, watched_id, state.trainings)

    def _draw_check(self, state: CloneState, row: dict[str, Any], caller: Caller) -> Answer:
        state.runs = row["status"] in ACTIVE
        answer: Answer = {self.report: check_card(row), self.recordings.meter: minutes_meter(seconds_in(row))}
        if not state.runs:
            if found := self._services.jobs.files.report(caller, row["id"]):
                state.checked_id, speech_s = row["id"], float(found["speech_s"])
                answer |= {self.report: report_card(found), self.recordings.meter: minutes_meter(speech_s)}
                answer |= self.review.show(caller, row["id"])
                answer |= self.start.say_times(speech_s)
            elif row["status"] in ("cancelled", "interrupted"):
                answer[self.report] = check_stopped()
                answer[self.recheck] = gr.Button(visible=True)
            state.prepare_id = None
        return answer
