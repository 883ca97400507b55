"""Slice review: every slice of a check with its waveform, to hear, reject and take back.

    show(caller, job_id)    draw the slices of an upload, or of the one that a job works on
    hide()                  draw nothing
    drawn                   the components that answers of both may change

What is pressed comes as the event "act", with what and which; all of it is a stranger's word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.jobs.reviews import ONLY, SORTS
from pipelines.recordings.pieces import MIN_SPEECH_S
from pipelines.store.records import Caller, Row
from rvc.errors import AudioError
from ui.look.html import BUTTONS_JS
from ui.look.language import tr, tr_n
from ui.look.review_html import review_list
from ui.server.published import publish_file
from ui.server.services import QUIET, Answer, Services, as_gr_error, event_value

PAGE = 25  # rows
JS = (Path(__file__).parents[1] / "look" / "review.js").read_text(encoding="utf-8")


@dataclass(kw_only=True)
class ReviewState:
    # Changed in place, as CloneState.
    job_id: str | None = None
    only: str = "all"
    sort: str = "doubt"
    offset: int = 0
    undo: tuple[bool, list[str], list[str]] | None = None  # whether to reject, which slices and which files


class SliceReview:
    def __init__(self, services: Services) -> None:
        self._services = services
        self.state = gr.State(ReviewState())
        self.list = gr.HTML("", js_on_load=BUTTONS_JS + JS, padding=False, elem_id="slice-review", sound=None)
        self.drawn = [self.state, self.list]
        self.list.act(self.act, self.state, self.list, trigger_mode="multiple", **QUIET)

    def show(self, caller: Caller, job_id: str) -> Answer:
        """Draw the slices of an upload, the most doubtful first; nothing if there are none to judge."""
        state = ReviewState(job_id=job_id)
        try:
            drawn = self._drawn(caller, state, "")
        except AudioError:  # it was prepared by an earlier version
            return self.hide()
        return {self.state: state, self.list: drawn}

    def hide(self) -> Answer:
        return {self.state: ReviewState(), self.list: gr.HTML("")}

    def act(self, state: ReviewState, event: gr.EventData, request: gr.Request) -> Any:  # noqa: ANN401
        """Do what was pressed, and draw what has changed."""
        act, which = event_value(event, "act"), event_value(event, "id")
        if not state.job_id:
            return gr.skip()
        with as_gr_error():
            caller = self._services.caller(request)
            if act == "play":
                return self._sound(caller, state.job_id, which)
            return self._drawn(caller, state, self._done(caller, state, act, which))

    def _sound(self, caller: Caller, job_id: str, slice_id: str) -> Any:  # noqa: ANN401
        path = publish_file(self._services.jobs.reviews.audio(caller, job_id, slice_id), "slice")
        return gr.HTML(sound={"id": slice_id, "file": gr.FileData(path=path).model_dump()})

    def _done(self, caller: Caller, state: ReviewState, act: str, which: str) -> str:
        """Do it, and return what to say of it."""
        if act == "only" and which in ONLY:
            state.only, state.offset = which, 0
        elif act == "sort" and which in SORTS:
            state.sort, state.offset = which, 0
        elif act == "page" and which in ("1", "-1"):
            state.offset = max(0, state.offset + PAGE * int(which))
        elif act in ("reject", "restore"):
            return self._turn(caller, state, act == "reject", [which], [])
        elif act in ("reject_file", "restore_file"):
            return self._turn(caller, state, act == "reject_file", [], [which.partition("-")[0]])
        elif act == "undo" and state.undo:
            reject, slices, files = state.undo
            said = self._turn(caller, state, reject, slices, files)
            state.undo = None
            return tr("Undone. {said}", said=said)
        return ""

    def _turn(
        self, caller: Caller, state: ReviewState, reject: bool, slices: list[str], files: list[str]
    ) -> str:
        reviews = self._services.jobs.reviews
        change = reviews.reject if reject else reviews.restore
        found = change(caller, str(state.job_id), slices, files)
        if not found["changed"]:
            return ""
        # A slice that came back from a whole rejected file is rejected again by itself, with the same effect.
        state.undo = (not reject, slices, files)
        return _said(found, reject=reject)

    def _drawn(self, caller: Caller, state: ReviewState, said: str) -> Any:  # noqa: ANN401
        def listed() -> Row:
            asked: dict[str, Any] = {"sort": state.sort, "only": state.only, "offset": state.offset}
            return self._services.jobs.reviews.list(caller, str(state.job_id), limit=PAGE, **asked)

        page = listed()
        if not page["rows"] and state.offset:  # the last of this page has gone
            state.offset = max(0, (page["matching"] - 1) // PAGE * PAGE)
            page = listed()
        html = review_list(page, only=state.only, sort=state.sort, said=said, undoable=state.undo is not None)
        return gr.HTML(html)


def _said(found: Row, *, reject: bool) -> str:
    count = len(found["changed"])
    if reject:
        said = tr_n("{count} slice is rejected.", "{count} slices are rejected.", count=count)
        little = found["left_s"] < MIN_SPEECH_S
        return f"{said} {_too_little(found)}" if little else said
    return tr_n("{count} slice is back.", "{count} slices are back.", count=count)


def _too_little(found: Row) -> str:
    return tr(
        "Only {left:.1f} s are left, and a voice needs at least {least:.0f} s: take some back, or add "
        "recordings.",
        left=found["left_s"],
        least=MIN_SPEECH_S,
    )
