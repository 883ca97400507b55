"""The Jobs tab: every job of this visitor, where it stands, why it failed, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.recordings.batch_upload import has_more_to_do
from rvc.errors import NotAllowedError, RvcError
from ui.look.html import NO_JOBS, facts, job_card, log_part
from ui.look.media import player
from ui.look.wording import STATES, ago, duration, moment
from ui.server.services import ACTIVE, Services, Update, admin_of, hand_out, plain_errors, plain_id
from ui.tabs.convert import batch_title, files_table, zip_button

if TYPE_CHECKING:
    from pipelines.store.records import Caller

TICK_S = 3.0
SHOWN = 100
RESTARTABLE = ("failed", "cancelled", "interrupted")
RESUMABLE = ("training", "batch")
"""Types of job that go on with what they have."""


@dataclass(kw_only=True)
class Listed:
    """What this visitor sees; changed in place.

    Attributes:
        job_id: The chosen job.
        mark: What was last drawn, so that nothing is sent twice.
    """

    job_id: str | None = None
    mark: str = ""


@dataclass(frozen=True, kw_only=True)
class JobsTab:
    """Components that this tab's listeners, and other tabs, refer to."""

    choice: gr.Radio
    details: gr.HTML
    cancel: gr.Button
    resume: gr.Button
    retry: gr.Button
    download: gr.DownloadButton
    listening: gr.Column
    result: gr.Audio
    log: gr.HTML
    listed: gr.State
    timer: gr.Timer

    @property
    def drawn(self) -> list[Any]:
        """Components in the order in which `_Listeners` returns their values."""
        return [
            self.choice,
            self.details,
            self.cancel,
            self.resume,
            self.retry,
            self.download,
            self.listening,
            self.result,
            self.log,
        ]


def jobs_tab(services: Services) -> JobsTab:
    """Lay out the tab and wire what stays within it."""
    listed = gr.State(Listed())
    timer = gr.Timer(TICK_S, active=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            choice = gr.Radio(
                label="Your jobs, newest first",
                choices=[],
                visible=False,
                elem_id="jobs",
                elem_classes=["tm-list"],
            )
        with gr.Column(scale=6, min_width=320):
            details = gr.HTML(NO_JOBS, elem_id="job-details", padding=False)
            with gr.Row():
                cancel = gr.Button("Stop", variant="stop", visible=False, elem_id="job-cancel")
                resume = gr.Button("Resume", variant="primary", visible=False, elem_id="job-resume")
                retry = gr.Button("Start again", visible=False, elem_id="job-retry")
                download = gr.DownloadButton("Download the result", visible=False, elem_id="job-download")
            with gr.Column(visible=False) as listening:
                result = player("Result", "job-result")
            log = gr.HTML(visible=False, elem_id="job-log", padding=False)
    tab = JobsTab(
        choice=choice,
        details=details,
        cancel=cancel,
        resume=resume,
        retry=retry,
        download=download,
        listening=listening,
        result=result,
        log=log,
        listed=listed,
        timer=timer,
    )
    listeners = _Listeners(services)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    timer.tick(listeners.tick, [listed], tab.drawn, queue=False, **quiet)
    choice.input(listeners.choose, [listed, choice], tab.drawn, **quiet)
    for button, act in ((cancel, listeners.cancel), (resume, listeners.resume), (retry, listeners.retry)):
        button.click(act, [listed], tab.drawn, **quiet)
    return tab


def wire_refresh(opened: Update, tab: JobsTab, services: Services) -> None:
    """Read the jobs when the tab is opened, and from then on every few seconds."""
    opened(
        _Listeners(services).open,
        [tab.listed],
        [*tab.drawn, tab.timer],
        api_visibility="private",
        show_progress="hidden",
    )


class _Listeners:
    """What happens at each event; every one checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def open(self, listed: Listed, request: gr.Request) -> tuple[Any, ...]:
        """Draw everything and keep it fresh."""
        listed.mark, listed.job_id = "", None  # who comes here wants to see what was started last
        return *self.tick(listed, request), gr.Timer(active=True)

    def tick(self, listed: Listed, request: gr.Request) -> tuple[Any, ...]:
        """Draw what has changed."""
        try:
            caller = self._services.caller(request)
            rows = [row for row in self._services.jobs.list(caller) if row["status"] != "uploaded"][:SHOWN]
        except RvcError:
            rows = []
        mark = f"{len(rows)} " + " ".join(f"{row['id']}{row['status']}{row['updated_at']}" for row in rows)
        if mark == listed.mark:
            return (gr.skip(),) * 9
        listed.mark = mark
        return self._draw(rows, listed, request)

    def choose(self, listed: Listed, job_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Show another job."""
        listed.job_id, listed.mark = job_id, ""
        return self.tick(listed, request)

    def cancel(self, listed: Listed, request: gr.Request) -> tuple[Any, ...]:
        """Stop the chosen job."""
        return self._act("cancel", listed, request)

    def resume(self, listed: Listed, request: gr.Request) -> tuple[Any, ...]:
        """Go on with the chosen job where it was last saved."""
        return self._act("resume", listed, request)

    def retry(self, listed: Listed, request: gr.Request) -> tuple[Any, ...]:
        """Run the chosen job again from its start."""
        return self._act("retry", listed, request)

    def _act(self, action: str, listed: Listed, request: gr.Request) -> tuple[Any, ...]:
        with plain_errors():
            getattr(self._services.jobs, action)(
                self._services.caller(request), plain_id(listed.job_id, "job")
            )
        listed.mark = ""
        return self.tick(listed, request)

    def _draw(self, rows: list[dict[str, Any]], listed: Listed, request: gr.Request) -> tuple[Any, ...]:
        hidden = gr.Button(visible=False)
        if not rows:
            listed.job_id = None
            return (
                gr.Radio(choices=[], value=None, visible=False),
                NO_JOBS,
                hidden,
                hidden,
                hidden,
                gr.DownloadButton(visible=False),
                gr.Column(visible=False),
                None,
                gr.HTML(visible=False),
            )
        chosen = next((row for row in rows if row["id"] == listed.job_id), rows[0])
        listed.job_id = chosen["id"]
        caller = self._services.caller(request)
        stop, resume, again = offered(chosen)
        log = self._log(chosen, request)
        return (
            gr.Radio(choices=[(line_of(row), row["id"]) for row in rows], value=chosen["id"], visible=True),
            job_card(chosen, title=title_of(chosen)) + details_of(chosen) + batch_of(chosen),
            gr.Button(visible=stop),
            gr.Button(visible=resume),
            gr.Button(visible=again),
            *self._result(caller, chosen),
            gr.HTML(log, visible=bool(log)),
        )

    def _result(self, caller: Caller, row: dict[str, Any]) -> tuple[Update, Update, Update]:
        nothing = gr.DownloadButton(visible=False), gr.Column(visible=False), None
        if row["type"] == "batch":
            return zip_button(self._services, caller, row), gr.Column(visible=False), None
        if row["type"] != "conversion" or row["status"] != "completed":
            return nothing
        try:
            path = self._services.jobs.result_path(caller, row["id"])
        except RvcError:
            return nothing
        stem = Path(row["files"][0]["name"]).stem if row["files"] else "recording"
        given = hand_out(path, f"{stem} as {row.get('model_name') or 'another voice'}")
        return gr.DownloadButton(value=given, visible=True), gr.Column(visible=True), given

    def _log(self, row: dict[str, Any], request: gr.Request) -> str:
        """Show who runs the server the log of what failed: it names folders and lines of the program."""
        if row["status"] != "failed":
            return ""
        try:
            text = self._services.jobs.log(admin_of(self._services, request), row["id"])
        except NotAllowedError:
            return ""
        return log_part(text)


def title_of(row: dict[str, Any]) -> str:
    """Return what a job does, with the voice and the recording it is about."""
    files = row.get("files") or []
    recording = str(files[0]["name"]) if files else "a recording"
    voice = row.get("model_name") or "a voice"
    if row["type"] == "training":
        return f"Train {voice}"
    if row["type"] == "batch":
        return batch_title(row)
    if row["type"] == "conversion":
        return f"Convert {recording} into {voice}"
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"Check {recording}{more}"


def line_of(row: dict[str, Any]) -> str:
    """Return a job in one line, for the list."""
    state = STATES.get(row["status"], row["status"])
    if row["status"] in ACTIVE and row["status"] != "pending":
        state = f"{state} {100 * float(row['progress'] or 0):.0f} %"
    elif row["status"] == "pending" and row.get("attempts"):
        state = f"Tried {row['attempts']} time{'s' if row['attempts'] > 1 else ''}, waiting to try again"
    elif row.get("dead_letter"):
        state = f"Given up after {row['attempts']} tries"
    return f"{title_of(row)} · {state} · {ago(row['created_at'])}"


def offered(row: dict[str, Any]) -> tuple[bool, bool, bool]:
    """Return whether a job can be stopped, be resumed, and be started again."""
    again = row["status"] in RESTARTABLE
    resumable = (again and row["type"] in RESUMABLE) or has_more_to_do(row)
    return row["status"] in ACTIVE, resumable, again and row["type"] != "batch"


def batch_of(row: dict[str, Any]) -> str:
    """Return how each file of a batch fares; nothing for other jobs."""
    return files_table(row["files"]) if row["type"] == "batch" else ""


def details_of(row: dict[str, Any]) -> str:
    """Return the facts about a job below its card."""
    files = row.get("files") or []
    names = ", ".join(str(one["name"]) for one in files[:4]) + (
        f" and {len(files) - 4} more" if len(files) > 4 else ""
    )
    length = sum(float(one.get("seconds") or 0) for one in files)
    attempts = int(row.get("attempts") or 0)
    return facts(
        [
            ("Recordings", f"{names} ({duration(length)})" if names else ""),
            ("Started", moment(row.get("created_at"))),
            ("Ended", moment(row.get("completed_at")) if row.get("completed_at") else ""),
            ("Attempts", str(attempts) if attempts > 1 else ""),
            ("Job id", str(row["id"])),
        ]
    )
