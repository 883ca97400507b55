"""The Jobs tab: every job of this visitor, where it stands, why it failed, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.jobs.outcome import RESUMABLE
from pipelines.recordings.uploads import has_more_to_do
from pipelines.store.records import RESTARTABLE, Caller
from rvc.errors import NotAllowedError, RvcError
from ui.look.html import (
    NO_JOBS,
    choice_list,
    facts,
    hidden_button,
    job_card,
    log_part,
    player,
    refused_list,
)
from ui.look.wording import STATES, ago, duration, moment
from ui.server.services import (
    ACTIVE,
    QUIET,
    Answer,
    Services,
    admin_of,
    as_gr_error,
    publish_file,
    validate_id,
)
from ui.tabs.convert import batch_title, files_table, zip_button

TICK_S = 3.0
SHOWN = 100


@dataclass(kw_only=True)
class JobsState:
    # Of one visitor; changed in place.
    job_id: str | None = None  # the chosen job
    mark: str = ""  # what was last drawn, so that nothing is sent twice
    shown: str = ""  # which job was last drawn, and in which state


class JobsTab:
    def __init__(self, services: Services) -> None:
        self._services = services
        self.state = gr.State(JobsState())
        self.timer = gr.Timer(TICK_S, active=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.choice = choice_list("Your jobs, newest first", "jobs")
            with gr.Column(scale=6, min_width=320):
                self.details = gr.HTML(NO_JOBS, elem_id="job-details", padding=False)
                with gr.Row():
                    self.buttons = job_buttons("job")
                    self.download = gr.DownloadButton(
                        "Download the result", visible=False, elem_id="job-download"
                    )
                    self.checkpoints = hidden_button(
                        "Files for training on in RVC programs", "job-checkpoints"
                    )
                self.checkpoint_files = gr.File(
                    label="Training checkpoints (G and D)",
                    file_count="multiple",
                    visible=False,
                    elem_id="job-checkpoint-files",
                )
                with gr.Column(visible=False) as self.listening:
                    self.result = player("Result", "job-result")
                self.log = gr.HTML(visible=False, elem_id="job-log", padding=False)
        of_training = [self.checkpoints, self.checkpoint_files]
        self._hideable = [*self.buttons, self.download, *of_training, self.listening, self.log]
        self._drawn = [self.choice, self.details, self.result, *self._hideable]
        self.timer.tick(self.tick, self.state, self._drawn, queue=False, **QUIET)
        self.choice.input(self.choose, [self.state, self.choice], self._drawn, **QUIET)
        for button, act in zip(self.buttons, (self.cancel, self.resume, self.retry), strict=True):
            button.click(act, self.state, self._drawn, **QUIET)
        self.checkpoints.click(
            self.publish_checkpoints,
            self.state,
            of_training,
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=[self.checkpoints],
        )

    def wire(self, opened: gr.Tab) -> None:
        """Read the jobs when the tab is opened, and from then on every few seconds."""
        opened.select(self.open, self.state, [*self._drawn, self.timer], **QUIET)

    def open(self, state: JobsState, request: gr.Request) -> Answer:
        state.mark, state.job_id = "", None  # who comes here wants to see what was started last
        return self._draw(state, request) | {self.timer: gr.Timer(active=True)}

    def tick(self, state: JobsState, request: gr.Request) -> Answer:
        return self._draw(state, request) or gr.skip()

    def choose(self, state: JobsState, job_id: str | None, request: gr.Request) -> Answer:
        state.job_id, state.mark = job_id, ""
        return self.tick(state, request)

    def cancel(self, state: JobsState, request: gr.Request) -> Answer:
        return self._act("cancel", state, request)

    def resume(self, state: JobsState, request: gr.Request) -> Answer:
        return self._act("resume", state, request)

    def retry(self, state: JobsState, request: gr.Request) -> Answer:
        return self._act("retry", state, request)

    def publish_checkpoints(self, state: JobsState, request: gr.Request) -> Answer:
        """Put the checkpoints, a gigabyte, where the browser fetches them."""
        with as_gr_error():
            caller, job_id = self._services.caller(request), validate_id(state.job_id, "job")
            found = self._services.jobs.files.training_checkpoints(caller, job_id)
            paths = [publish_file(path, path.stem) for path in found]
        return {
            self.checkpoints: gr.Button(visible=False),
            self.checkpoint_files: gr.File(value=paths, visible=True),
        }

    def _act(self, action: str, state: JobsState, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            getattr(self._services.jobs, action)(caller, validate_id(state.job_id, "job"))
        state.mark = ""
        return self.tick(state, request)

    def _draw(self, state: JobsState, request: gr.Request) -> Answer:
        """Return the list and the chosen job; nothing when that is what the page shows already."""
        try:
            caller = self._services.caller(request)
            rows = [row for row in self._services.jobs.list(caller) if row["status"] != "uploaded"][:SHOWN]
        except RvcError:
            rows = []
        mark = f"{len(rows)} " + " ".join(f"{row['id']}{row['status']}{row['updated_at']}" for row in rows)
        if mark == state.mark:
            return {}
        state.mark = mark
        if not rows:
            state.job_id = None
            nothing = {one: gr.update(visible=False) for one in self._hideable}
            empty = gr.Radio(choices=[], value=None, visible=False)
            return {self.choice: empty, self.details: NO_JOBS, self.result: None, **nothing}
        row = next((row for row in rows if row["id"] == state.job_id), rows[0])
        state.job_id = row["id"]
        shown = f"{row['id']} {row['status']}"
        of_training = {} if state.shown == shown else self._of_training(caller, row)
        state.shown = shown
        log, converted = self._log(row, request), self._converted(caller, row)
        download = gr.DownloadButton(value=converted, visible=bool(converted))
        if row["type"] == "batch":
            download = zip_button(self._services, caller, row)
        return {
            self.choice: gr.Radio([(line_of(one), one["id"]) for one in rows], value=row["id"], visible=True),
            self.details: job_card(row, title=title_of(row)) + details_of(row),
            **offered_by(self.buttons, row),
            self.download: download,
            **of_training,
            self.listening: gr.Column(visible=bool(converted)),
            self.result: converted,
            self.log: gr.HTML(log, visible=bool(log)),
        }

    def _converted(self, caller: Caller, row: dict[str, Any]) -> str | None:
        """Return what a conversion has made, unless it was cleaned up."""
        if row["type"] != "conversion" or row["status"] != "completed":
            return None
        try:
            path = self._services.jobs.files.result_path(caller, row["id"])
        except RvcError:
            return None
        stem = Path(row["files"][0]["name"]).stem if row["files"] else "recording"
        return publish_file(path, f"{stem} as {row.get('model_name') or 'another voice'}")

    def _of_training(self, caller: Caller, row: dict[str, Any]) -> Answer:
        """Offer the checkpoints of a training for RVC programs, if it has any."""
        offered = True
        try:
            self._services.jobs.files.training_checkpoints(caller, row["id"])
        except RvcError:
            offered = False
        return {
            self.checkpoints: gr.Button(visible=offered),
            self.checkpoint_files: gr.File(value=None, visible=False),
        }

    def _log(self, row: dict[str, Any], request: gr.Request) -> str:
        """Show who runs the server the log of what failed: it names folders and lines of the program."""
        if row["status"] != "failed":
            return ""
        try:
            return log_part(self._services.jobs.files.log(admin_of(self._services, request), row["id"]))
        except NotAllowedError:
            return ""


def title_of(row: dict[str, Any]) -> str:
    """Return what a job does, with the voice and the recording it is about."""
    files = row.get("files") or []
    recording = str(files[0]["name"]) if files else "a recording"
    voice = row.get("model_name") or "a voice"
    match row["type"]:
        case "training":
            return f"Train {voice}"
        case "batch":
            return batch_title(row)
        case "conversion":
            return f"Convert {recording} into {voice}"
    return f"Check {recording}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")


def line_of(row: dict[str, Any]) -> str:
    state = STATES.get(row["status"], row["status"])
    if row["status"] in ACTIVE and row["status"] != "pending":
        state = f"{state} {100 * float(row['progress'] or 0):.0f} %"
    elif row["status"] == "pending" and row.get("attempts"):
        state = f"Tried {row['attempts']} time{'s' if row['attempts'] > 1 else ''}, waiting to try again"
    elif row.get("dead_letter"):
        state = f"Given up after {row['attempts']} tries"
    return f"{title_of(row)} · {state} · {ago(row['created_at'])}"


def job_buttons(place: str) -> list[gr.Button]:
    """Lay out the buttons that stop a job, resume it, and start it again."""
    return [
        hidden_button("Stop", f"{place}-cancel", variant="stop"),
        hidden_button("Resume", f"{place}-resume", variant="primary"),
        hidden_button("Start again", f"{place}-retry"),
    ]


def offered_by(buttons: list[gr.Button], row: dict[str, Any]) -> Answer:
    """Show of the `job_buttons` those that a job allows."""
    return {button: gr.Button(visible=may) for button, may in zip(buttons, offered(row), strict=True)}


def offered(row: dict[str, Any]) -> tuple[bool, bool, bool]:
    """Return whether a job can be stopped, be resumed, and be started again."""
    again = row["status"] in RESTARTABLE
    resumable = (again and row["type"] in RESUMABLE) or has_more_to_do(row)
    return row["status"] in ACTIVE, resumable, again and row["type"] != "batch"


def details_of(row: dict[str, Any]) -> str:
    """Return what is known of a job, how each file of a batch fares, and which a voice could not use."""
    files = row.get("files") or []
    more = f" and {len(files) - 4} more" if len(files) > 4 else ""
    names = ", ".join(str(one["name"]) for one in files[:4]) + more
    length = sum(float(one.get("seconds") or 0) for one in files)
    attempts = int(row.get("attempts") or 0)
    shown = facts(
        [
            ("Recordings", f"{names} ({duration(length)})" if names else ""),
            ("Started", moment(row.get("created_at"))),
            ("Ended", moment(row.get("completed_at")) if row.get("completed_at") else ""),
            ("Attempts", str(attempts) if attempts > 1 else ""),
            ("Job id", str(row["id"])),
        ]
    )
    return shown + (files_table(files) if row["type"] == "batch" else refused_list(row["refused"]))
