"""The Clone tab: recordings in, a report on them, one button, and a training to watch.

layout      left: recordings, name, permission, Train; right: the training, the report
check       files change -> upload -> preparing job; its report appears when it is done
train       permission and name checked -> training job; answers at once
tick        every two seconds while something runs: rows and new events of this visitor's jobs
reattach    on load: the newest training of this visitor, so that a closed tab loses nothing
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gradio as gr

from rvc.errors import RvcError
from ui.look.html import CLONE_START, card, job_card, paragraph, report_card
from ui.server.services import (
    ACTIVE,
    CONSENT,
    Services,
    Update,
    hand_out,
    plain_errors,
    received,
    remind,
    told,
)
from ui.tabs.training_settings import TrainingSettings, settings_from, training_settings
from ui.tabs.training_view import TrainingView, Watched, sample_of, training_view, view_of

TICK_S = 2.0
NEWS_S = 3_600.0
UNFINISHED_NEWS_S = 7 * 86_400.0
"""How long after its end a training is shown to its owner who opens the page, in seconds."""
READ_ALOUD = (
    "If you have nothing to read: tell what you did today, describe the room you are in, count from ninety "
    "to seventy, ask three questions, and say something you are glad about. Two minutes go by quickly."
)


@dataclass(kw_only=True)
class Progress:
    """What this tab remembers of its visitor between two events.

    Changed in place and never returned by a listener: a tick that began before a click and ends after
    it would otherwise bring the old state back.

    Attributes:
        upload_id: Upload of the files that are shown.
        prepare_id: Preparing job of that upload, until its report is shown.
        watched: Training that is shown.
        runs: Whether any of these jobs waits or runs.
    """

    upload_id: str | None = None
    prepare_id: str | None = None
    watched: Watched | None = None
    runs: bool = False


@dataclass(frozen=True, kw_only=True)
class CloneTab:
    """Components that this tab's listeners, and other tabs, refer to."""

    files: gr.File
    microphone: gr.Audio
    name: gr.Textbox
    consent: gr.Checkbox
    expert: TrainingSettings
    train: gr.Button
    report: gr.HTML
    view: TrainingView
    progress: gr.State
    timer: gr.Timer


def clone_tab(services: Services) -> CloneTab:
    """Lay out the tab and wire what stays within it."""
    progress = gr.State(Progress())
    timer = gr.Timer(TICK_S, active=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            inputs = _recordings() | _name_and_permission()
            train = gr.Button("Train this voice", variant="primary", size="lg", elem_id="clone-train")
        with gr.Column(scale=6, min_width=320):
            view = training_view()
            report = gr.HTML(CLONE_START, elem_id="clone-report", padding=False)
    tab = CloneTab(**inputs, train=train, report=report, view=view, progress=progress, timer=timer)
    _wire(tab, services)
    return tab


def _recordings() -> dict[str, Any]:
    gr.HTML('<p class="tm-step">1. Recordings of the voice</p>', padding=False)
    files = gr.File(label="Audio files", file_count="multiple", height=200, elem_id="clone-files")
    with gr.Accordion("Record with the microphone instead", open=False):
        gr.Markdown(READ_ALOUD)
        microphone = gr.Audio(
            sources=["microphone"],
            type="filepath",
            format="wav",
            label="Record; it joins the list above",
            buttons=[],
            elem_id="clone-microphone",
        )
    return {"files": files, "microphone": microphone}


def _name_and_permission() -> dict[str, Any]:
    gr.HTML('<p class="tm-step">2. Name and permission</p>', padding=False)
    name = gr.Textbox(label="Name of the voice", placeholder="Anna", max_length=80, elem_id="clone-name")
    consent = gr.Checkbox(label=CONSENT, elem_id="clone-consent")
    return {"name": name, "consent": consent, "expert": training_settings()}


def _wire(tab: CloneTab, services: Services) -> None:
    listeners = _Listeners(services)
    drawn = [tab.report, *tab.view.outputs, tab.train, tab.timer]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    tab.microphone.stop_recording(
        listeners.add_recording, [tab.microphone, tab.files], [tab.microphone, tab.files], **quiet
    )
    tab.files.change(
        listeners.check,
        [tab.files, tab.progress],
        [tab.report, tab.timer],
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[tab.report],
    )
    tab.train.click(
        listeners.train,
        [tab.progress, tab.name, tab.consent, *tab.expert.inputs],
        drawn,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[tab.train],
    )
    tab.timer.tick(listeners.tick, [tab.progress], drawn, queue=False, **quiet)
    tab.view.cancel.click(listeners.cancel, [tab.progress], drawn, **quiet)
    tab.view.resume.click(listeners.resume, [tab.progress], drawn, **quiet)
    tab.view.choice.input(listeners.sample, [tab.progress, tab.view.choice], [tab.view.sample], **quiet)


def wire_load(page: gr.Blocks, tab: CloneTab, services: Services) -> None:
    """Show the newest training of a visitor when the page is opened."""
    drawn = [tab.report, *tab.view.outputs, tab.train, tab.timer]
    page.load(
        _Listeners(services).reattach, [tab.progress], drawn, api_visibility="private", show_progress="hidden"
    )


class _Listeners:
    """What happens at each event; every one checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def add_recording(self, recording: str | None, files: list[str] | None) -> tuple[None, list[str]]:
        """Move a finished recording into the list of files, under a name of its own."""
        listed = list(files or [])
        with plain_errors():
            for path, _ in received(recording):
                listed.append(hand_out(path, f"Recording {len(listed) + 1}"))
        return None, listed

    def check(
        self, files: list[str] | None, progress: Progress, request: gr.Request
    ) -> tuple[Update, Update]:
        """Take in the files and start the preparing job that reports on them."""
        services = self._services
        self._drop_preparation(progress, request)
        if not files:
            return CLONE_START, gr.skip()
        try:
            caller = services.caller(request)
            job = services.send_and_submit(caller, received(files), "preprocessing", {})
        except (RvcError, OSError) as error:
            advice = paragraph(
                "Change the list of files, and they are checked again. Nothing was kept.", quiet=True
            )
            return card(
                "These recordings were not taken", paragraph(told(error)) + advice, tone="bad"
            ), gr.skip()
        progress.upload_id, progress.prepare_id = job["input_job_id"], job["id"]
        return job_card(job, title="Checking the recordings"), gr.Timer(active=True)

    def _drop_preparation(self, progress: Progress, request: gr.Request) -> None:
        """Stop a check that nobody waits for any more: other files have come in the place of its own."""
        prepare_id, progress.upload_id, progress.prepare_id = progress.prepare_id, None, None
        watched = progress.watched
        if prepare_id and not (watched and progress.runs):
            with suppress(RvcError):
                self._services.jobs.cancel(self._services.caller(request), prepare_id)

    def train(
        self, progress: Progress, name: str, consent: bool, request: gr.Request, *expert: Update
    ) -> tuple[Any, ...]:
        """Start the training; it goes on when the page is closed."""
        named = (name or "").strip()
        if not (progress.upload_id and named and consent):
            if not progress.upload_id:
                remind("Add recordings of the voice.")
            else:
                remind(f"Tick '{CONSENT}'." if named else "Give the voice a name.")
            return (gr.skip(),) * (TrainingView.SIZE + 3)
        with plain_errors():
            settings = {"consent": True} | settings_from(expert)
            caller = self._services.caller(request)
            job = self._services.submit(caller, "training", progress.upload_id, settings, model_name=named)
            progress.watched = Watched(job_id=job["id"])
            return *self._draw(progress, request), gr.Timer(active=True)

    def tick(self, progress: Progress, request: gr.Request) -> tuple[Any, ...]:
        """Draw what has changed since the last tick."""
        try:
            drawn = self._draw(progress, request)
        except RvcError:
            # The job was cleaned up, or the visitor has another identity now: stop asking.
            progress.watched = None
            progress.prepare_id = None
            drawn = (gr.skip(),) * (TrainingView.SIZE + 2)
        return *drawn, gr.skip() if progress.runs else gr.Timer(active=False)

    def cancel(self, progress: Progress, request: gr.Request) -> tuple[Any, ...]:
        """Stop the training; what it has learned is kept."""
        return self._act("cancel", progress, request)

    def resume(self, progress: Progress, request: gr.Request) -> tuple[Any, ...]:
        """Go on with a stopped training."""
        return self._act("resume", progress, request)

    def sample(self, progress: Progress, choice: str | None, request: gr.Request) -> Update:
        """Play another sample."""
        watched = progress.watched
        if not watched:
            return gr.skip()
        with plain_errors():
            newest = watched.history.samples[-1][1] if watched.history.samples else None
            watched.picked = choice if choice != newest else None
            return sample_of(self._services, self._services.caller(request), watched.job_id, choice)

    def reattach(self, progress: Progress, request: gr.Request) -> tuple[Any, ...]:
        """Show the visitor's newest training."""
        try:
            rows = self._services.jobs.list(self._services.caller(request), type="training")
            started = [row for row in rows if row["status"] != "uploaded"][:1]
            progress.watched = Watched(job_id=started[0]["id"]) if started and _is_news(started[0]) else None
        except RvcError:
            progress.watched = None
        return *self._draw(progress, request), gr.Timer(active=progress.runs)

    def _act(self, action: str, progress: Progress, request: gr.Request) -> tuple[Any, ...]:
        with plain_errors():
            if progress.watched:
                getattr(self._services.jobs, action)(self._services.caller(request), progress.watched.job_id)
                progress.watched.mark = ""
            return *self._draw(progress, request), gr.Timer(active=True)

    def _draw(self, progress: Progress, request: gr.Request) -> tuple[Any, ...]:
        """Return what to show in the report, the view of the training and the Train button."""
        services = self._services
        report: Any = gr.skip()
        view: tuple[Any, ...] = (gr.skip(),) * TrainingView.SIZE
        button: Any = gr.skip()
        progress.runs = False
        if progress.prepare_id:
            caller = services.caller(request)
            row = services.jobs.get(caller, progress.prepare_id)
            report = job_card(row, title="Checking the recordings")
            if row["status"] in ACTIVE:
                progress.runs = True
            else:
                found = services.jobs.files.report(caller, progress.prepare_id)
                report = report_card(found) if found else report
                progress.prepare_id = None
        if watched := progress.watched:
            caller = services.caller(request)
            row = services.jobs.get(caller, watched.job_id)
            news = watched.history.read(services.jobs.events(caller, row["id"], watched.history.seen))
            mark = f"{row['status']} {row['progress']} {row['updated_at']} {row['position']}"
            trains = row["status"] in ACTIVE
            if news or mark != watched.mark:
                view = view_of(services, caller, row, watched)
                button = gr.Button("Training …" if trains else "Train this voice", interactive=not trains)
            watched.mark = mark
            progress.runs = progress.runs or trains
        return report, *view, button


def _is_news(row: dict[str, Any]) -> bool:
    """Whether a training is worth showing to somebody who opens the page."""
    if row["status"] in ACTIVE:
        return True
    age_s = time.time() - datetime.fromisoformat(row["updated_at"]).timestamp()
    return age_s < (NEWS_S if row["status"] == "completed" else UNFINISHED_NEWS_S)
