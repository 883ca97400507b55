"""What runs, beside every tab: a sidebar with the visitor's jobs that wait or run, and how many they are.

It asks only while something runs, or may be about to: for a while after a primary button was pressed, or one
of the class "tm-starts".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from pipelines.store.records import Rows
from rvc.errors import RvcError
from ui.look.html import BUTTONS_JS, empty_card
from ui.look.job_rows import running_list
from ui.look.language import tr
from ui.server.services import ACTIVE, QUIET, Answer, Services, as_gr_error, pressed_job
from ui.tabs.jobs import title_of

TICK_S = 3.0
PATIENCE = 10  # ticks without a job after which nobody asks any more: recordings may still be on their way
SHOWN = 50
# How many there are stands on the button that opens the sidebar, which is Gradio's and has no words.
COUNT = (Path(__file__).parents[1] / "look" / "running.js").read_text(encoding="utf-8")


@dataclass(kw_only=True)
class RunningState:
    """Of one visitor; changed in place."""

    shown: str = ""  # the HTML that the page shows
    idle: int = 0  # ticks in a row without a job


class RunningJobs:
    def __init__(self, services: Services) -> None:
        self._services = services
        self.state = gr.State(RunningState())
        self.timer = gr.Timer(TICK_S, active=False)
        with gr.Sidebar(position="right", open=False, width=340, elem_id="running"):
            self.jobs = gr.HTML(
                self._html([]), js_on_load=BUTTONS_JS + COUNT, padding=False, elem_id="running-jobs"
            )
        drawn = [self.jobs, self.timer]
        self.timer.tick(self.tick, self.state, drawn, queue=False, **QUIET)
        self.jobs.cancel(self.cancel, self.state, drawn, **QUIET)
        self.jobs.input(self.wake, self.state, self.timer, queue=False, **QUIET)

    def wire(self, page: gr.Blocks) -> None:
        """Look once when the page is opened."""
        page.load(self.open, self.state, [self.jobs, self.timer], **QUIET)

    def open(self, state: RunningState, request: gr.Request) -> Answer:
        state.shown = ""  # a page that was opened again shows nothing yet
        rows = self._rows(request)
        return {self.jobs: self._html(rows), self.timer: gr.Timer(active=bool(rows))}

    def wake(self, state: RunningState) -> Answer:
        state.idle = 0
        return {self.timer: gr.Timer(active=True)}

    def tick(self, state: RunningState, request: gr.Request) -> Answer:
        rows = self._rows(request)
        state.idle = 0 if rows else state.idle + 1
        html = self._html(rows)
        answer: Answer = {} if html == state.shown else {self.jobs: html}
        state.shown = html
        if state.idle >= PATIENCE:
            answer[self.timer] = gr.Timer(active=False)
        return answer or gr.skip()

    def cancel(self, state: RunningState, event: gr.EventData, request: gr.Request) -> Answer:
        """Stop a job; what the page sends may be anything."""
        with as_gr_error():
            job_id = pressed_job(event)
            self._services.jobs.cancel(self._services.caller(request), job_id)
        state.shown = ""
        return self.tick(state, request)

    def _rows(self, request: gr.Request) -> Rows:
        try:
            caller = self._services.caller(request)
            rows = self._services.jobs.list(caller, user_id=caller.user_id)
        except RvcError:
            return []
        return [row for row in rows if row["status"] in ACTIVE][:SHOWN]

    def _html(self, rows: Rows) -> str:
        title = f"<h2>{tr('What runs')}</h2>"
        if not rows:
            none = empty_card(
                tr("Nothing runs"),
                tr("What you train or convert stands here, whichever tab is open."),
            )
            return title + none
        return title + running_list(rows, title_of)
