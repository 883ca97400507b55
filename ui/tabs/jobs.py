"""The Jobs tab: every job of this visitor, where it stands, why it failed, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.jobs.outcome import RESUMABLE
from pipelines.recordings.uploads import has_more_to_do
from pipelines.store.records import ENDED, RESTARTABLE, SINGLE, Caller, Rows, has_made_voice
from rvc.errors import NotAllowedError, RvcError
from ui.look.html import (
    BUTTONS_JS,
    NO_JOBS,
    facts,
    folded,
    hidden_button,
    job_card,
    log_part,
    player,
    refused_list,
)
from ui.look.job_rows import grouped_list
from ui.look.job_state import how_far, state_of
from ui.look.language import tr, tr_n, translated_html
from ui.look.wording import duration, moment
from ui.server.published import publish_file
from ui.server.services import (
    ACTIVE,
    QUIET,
    Answer,
    Services,
    admin_of,
    as_gr_error,
    inform,
    pressed_job,
    validate_id,
)
from ui.tabs.conversion_view import batch_title, files_table, zip_button
from ui.tabs.voice_parts import TrashPart

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
                self.list = gr.HTML(
                    visible=False,
                    js_on_load=BUTTONS_JS,
                    padding=False,
                    elem_id="jobs",
                    elem_classes=["tm-list"],
                )
                self.trash = TrashPart("Deleted jobs", "job", self._deleted, title_of)
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
                    self.delete_button = hidden_button("Delete", "job-delete")
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
        shown = [self.delete_button, self.listening, self.log]
        self._hideable = [self.list, *self.buttons, self.download, *of_training, *shown]
        self._drawn = [self.details, self.result, *self._hideable, *self.trash.drawn]
        self.timer.tick(self.tick, self.state, self._drawn, queue=False, **QUIET)
        self.list.choose(self.choose, self.state, self._drawn, **QUIET)
        self.delete_button.click(self.delete, self.state, self._drawn, **QUIET)
        self.trash.undo_button.click(self.restore, [self.state, self.trash.choice], self._drawn, **QUIET)
        self.trash.purge_button.click(self.purge, [self.state, self.trash.choice], self._drawn, **QUIET)
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
        state.mark, state.shown, state.job_id = (
            "",
            "",
            None,
        )  # who comes here wants to see what was started last
        return self._draw(state, request) | {self.timer: gr.Timer(active=True)}

    def tick(self, state: JobsState, request: gr.Request) -> Answer:
        return self._draw(state, request) or gr.skip()

    def choose(self, state: JobsState, event: gr.EventData, request: gr.Request) -> Answer:
        with as_gr_error():
            state.job_id, state.mark = pressed_job(event), ""
        return self.tick(state, request)

    def delete(self, state: JobsState, request: gr.Request) -> Answer:
        """Put the chosen job into the trash; the next one is shown."""
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.jobs.remove(caller, validate_id(state.job_id, "job"))
            inform(tr("Deleted: {title}. Undo brings it back within a day.", title=title_of(row)))
        state.job_id, state.mark = None, ""
        return self.tick(state, request)

    def restore(self, state: JobsState, job_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.jobs.restore(caller, validate_id(job_id, "job"))
        state.job_id, state.mark = row["id"], ""
        return self.tick(state, request)

    def purge(self, state: JobsState, job_id: str | None, request: gr.Request) -> Answer:
        """Remove a job of the trash for good."""
        with as_gr_error():
            caller = self._services.caller(request)
            self._services.jobs.remove(caller, validate_id(job_id, "job"), purge=True)
        state.mark = ""
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
        except RvcError:  # who cannot be told from others has nothing
            return {self.details: translated_html(NO_JOBS)}
        rows = [
            row
            for row in self._services.jobs.list(caller, user_id=caller.user_id)
            if row["status"] != "uploaded"
        ][:SHOWN]
        # What is left and how long ago it was change by themselves.
        listed = grouped_list(rows, state.job_id or (rows[0]["id"] if rows else None), title_of)
        gone = self._deleted(caller)
        mark = f"{len(rows)} {listed} " + " ".join(str(row["updated_at"]) for row in (*rows, *gone))
        if mark == state.mark:
            return {}
        state.mark, trash = mark, self.trash.show(caller)
        if not rows:
            state.job_id = None
            nothing = {one: gr.update(visible=False) for one in self._hideable}
            return {self.details: translated_html(NO_JOBS), self.result: None, **nothing, **trash}
        row = next((row for row in rows if row["id"] == state.job_id), rows[0])
        state.job_id = row["id"]
        shown = f"{row['id']} {row['status']}"
        unchanged = state.shown == shown
        of_training = {} if unchanged else self._of_training(caller, row)
        state.shown = shown
        log, converted = self._log(row, request), self._converted(caller, row)
        download = gr.DownloadButton(value=converted, visible=bool(converted))
        if row["type"] == "batch":
            download = zip_button(self._services, caller, row)
        answer = trash | {
            self.list: gr.HTML(grouped_list(rows, row["id"], title_of), visible=True),
            self.details: job_card(row, title=title_of(row), linked=False) + details_of(row),
            **offered_by(self.buttons, row),
            self.download: download,
            **of_training,
            self.listening: gr.Column(visible=bool(converted)),
            self.log: gr.HTML(log, visible=bool(log)),
        }
        if not unchanged:  # who listens is not interrupted
            answer |= {
                self.result: converted,
                self.delete_button: gr.Button(visible=row["status"] in ENDED),
            }
        return answer

    def _deleted(self, caller: Caller) -> Rows:
        """Return the caller's own jobs that can be brought back; uploads come and go with them."""
        rows = self._services.jobs.list(caller, user_id=caller.user_id, deleted=True)
        return [row for row in rows if row["status"] != "uploaded"]

    def _converted(self, caller: Caller, row: dict[str, Any]) -> str | None:
        """Return what a conversion has made, unless it was cleaned up."""
        if row["type"] not in SINGLE or row["status"] != "completed":
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
    recording = str(files[0]["name"]) if files else tr("a recording")
    voice = row.get("model_name") or tr("a voice")
    match row["type"]:
        case "training":
            return tr("Train {voice}", voice=voice)
        case "batch":
            return batch_title(row)
        case "speech":
            return tr("Say {text} in {voice}", text=Path(recording).stem, voice=voice)
        case "conversion" | "cover":
            return tr("Convert {recording} into {voice}", recording=recording, voice=voice)
    if len(files) < 2:
        return tr("Check {recording}", recording=recording)
    return tr_n(
        "Check {recording} and {count} more",
        "Check {recording} and {count} more",
        count=len(files) - 1,
        recording=recording,
    )


def line_of(row: dict[str, Any]) -> str:
    return f"{title_of(row)} · {state_of(row)[0]} · {how_far(row)}"


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
    keeps = row["type"] == "batch" or has_made_voice(row)  # it goes on with what it has made
    return row["status"] in ACTIVE, resumable, again and not keeps


def details_of(row: dict[str, Any]) -> str:
    """Return what is known of a job, how each file of a batch fares, and which a voice could not use."""
    files = row.get("files") or []
    names, more = ", ".join(str(one["name"]) for one in files[:4]), len(files) - 4
    if more > 0:
        names = tr_n("{names} and {count} more", "{names} and {count} more", count=more, names=names)
    length = duration(sum(float(one.get("seconds") or 0) for one in files))
    attempts = int(row.get("attempts") or 0)
    shown = facts(
        [
            (tr("Recordings"), f"{names} ({length})" if names else ""),
            (tr("Started"), moment(row.get("created_at"))),
            (tr("Ended"), moment(row.get("completed_at")) if row.get("completed_at") else ""),
            (tr("Attempts"), str(attempts) if attempts > 1 else ""),
        ]
    )
    for_programs = folded(tr("Details for programs"), facts([(tr("Job id"), str(row["id"]))]))
    of_files = files_table(files) if row["type"] == "batch" else refused_list(row["refused"])
    return shown + for_programs + of_files
