"""The takes: every conversion of the visitor, to hear, to compare, to make again, to download and to remove.

They are the completed conversions of the registry, so a reload loses none.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import gradio as gr

from pipelines.store.records import SINGLE, Caller, Row, Rows
from rvc.errors import RvcError
from ui.look.html import BUTTONS_JS, action
from ui.look.language import tr, tr_n
from ui.look.settings_words import settings_in_words
from ui.look.wording import ago
from ui.server.services import Answer, Services, as_gr_error, pressed_job
from ui.tabs.conversion_view import ConversionView, names_of, title_of_take

SHOWN_TAKES = 50
FETCHED_JS = (Path(__file__).parents[1] / "look" / "fetched.js").read_text(encoding="utf-8")


@dataclass(kw_only=True)
class TakesState:
    """What a visitor has done with takes; changed in place."""

    shown_id: str | None = None  # the conversion that is in the player, as its second track
    against_id: str | None = None  # that whose result is the first track, instead of the source of the second
    removed: list[str] = field(default_factory=list)  # that may be brought back here

    def put(self, shown_id: str | None, against_id: str | None = None) -> None:
        """Note what is in the player now."""
        self.shown_id, self.against_id = shown_id, against_id


class Takes:
    def __init__(self, services: Services, view: ConversionView) -> None:
        self._services = services
        self._view = view
        self.list = gr.HTML(js_on_load=BUTTONS_JS, elem_id="takes", padding=False)
        self.fetched = gr.HTML(None, html_template="", js_on_load=FETCHED_JS)

    def show(self, state: TakesState, request: gr.Request) -> Answer:
        """Draw the list; empty for who cannot be told from others."""
        with suppress(RvcError):
            return {self.list: self._html(state, self._services.caller(request))}
        return {self.list: ""}

    def hear(self, state: TakesState, event: gr.EventData, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            return self._hear(state, caller, self._take(caller, event))

    def _hear(self, state: TakesState, caller: Caller, row: Row) -> Answer:
        heard = self._view.hear(caller, row, play=True)
        state.put(row["id"])
        return heard | {self.list: self._html(state, caller)}

    def compare(self, state: TakesState, event: gr.EventData, request: gr.Request) -> Answer:
        """Put a take into the player as the first track, in the place of the source.

        It is heard by itself if what was in the player is gone: deleted elsewhere, or its list is an old one.
        """
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._take(caller, event)
            with suppress(RvcError):
                if state.shown_id not in (None, row["id"]):
                    shown = self._services.jobs.get(caller, state.shown_id)
                    heard = self._view.hear(caller, shown, row, play=True)
                    state.put(shown["id"], row["id"])
                    return heard
            return self._hear(state, caller, row)

    def fetch(self, event: gr.EventData, request: gr.Request) -> Answer:
        """Publish a take; the browser downloads it then."""
        with as_gr_error():
            caller = self._services.caller(request)
            path = self._view.result_file(caller, self._take(caller, event))
            return {self.fetched: {"file": gr.FileData(path=path, orig_name=Path(path).name).model_dump()}}

    def remove(self, state: TakesState, event: gr.EventData, request: gr.Request) -> Answer:
        """Put a take into the trash; its line offers to bring it back."""
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.jobs.remove(caller, pressed_job(event))
            state.removed.append(row["id"])
            answer: Answer = {}
            if row["id"] in (state.shown_id, state.against_id):
                # It may sound to its end, but there is nothing any more to compare with, or to draw.
                state.put(None)
                answer[self._view.pictures] = gr.Accordion(visible=False, open=False)
            return answer | {self.list: self._html(state, caller)}

    def undo(self, state: TakesState, event: gr.EventData, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.jobs.restore(caller, pressed_job(event))
            state.removed = [job_id for job_id in state.removed if job_id != row["id"]]
            return {self.list: self._html(state, caller)}

    def chosen(self, event: gr.EventData, request: gr.Request) -> tuple[Caller, Row]:
        """Return who asks, and the take that was pressed."""
        caller = self._services.caller(request)
        return caller, self._take(caller, event)

    def _take(self, caller: Caller, event: gr.EventData) -> Row:
        return self._services.jobs.get(caller, pressed_job(event))

    def _html(self, state: TakesState, caller: Caller) -> str:
        jobs, of = self._services.jobs, caller.user_id
        gone = jobs.list(caller, user_id=of, deleted=True)
        rows = jobs.list(caller, user_id=of, status="completed")
        rows += [row for row in gone if row["id"] in state.removed]
        rows = [row for row in rows if row["type"] in SINGLE]
        rows = sorted(rows, key=lambda row: row["completed_at"] or "", reverse=True)[:SHOWN_TAKES]
        return self.takes_list(caller, rows, state.shown_id) if rows else ""

    def takes_list(self, caller: Caller, rows: Rows, shown_id: str | None) -> str:
        engines = {row["id"]: str(row["engine"]) for row in self._services.library.list(caller)}
        lines = "".join(
            _removed(row) if row["deleted_at"] else _take(row, shown_id, engines.get(row["model_id"], ""))
            for row in rows
        )
        kept = sum(not row["deleted_at"] for row in rows)
        told = tr_n("{count} take, the newest first", "{count} takes, the newest first", count=kept)
        return (
            f'<section class="tm-takes" aria-label="{escape(tr("Takes"))}"><h2>{escape(tr("Takes"))}</h2>'
            f'<p class="tm-quiet">{escape(told)}</p><ul>{lines}</ul></section>'
        )


def _take(row: Row, shown_id: str | None, engine: str) -> str:
    name, voice = names_of(row)
    called, job = {"name": name, "voice": voice}, row["id"]
    words = [ago(row["completed_at"]), *settings_in_words(row["settings"], engine)]
    compare = tr("Compare {name} in {voice} with what is in the player", **called)
    buttons = [
        action("hear", tr("Play"), tr("Play {name} in {voice}", **called), job=job),
        action("compare", tr("Compare"), compare, job=job) if shown_id not in (None, job) else "",
        action("again", tr("Again with these settings"), tr("Again as {name} in {voice}", **called), job=job),
        action("fetch", tr("Download"), tr("Download {name} in {voice}", **called), job=job),
        action("remove", tr("Remove"), tr("Remove {name} in {voice}", **called), job=job),
    ]
    current = ' aria-current="true"' if job == shown_id else ""
    title = escape(title_of_take(row))
    return (
        f"<li{current}><div><strong>{title}</strong>"
        f'<div class="tm-quiet">{escape(" · ".join(words))}</div></div>'
        f'<div class="tm-actions">{"".join(buttons)}</div></li>'
    )


def _removed(row: Row) -> str:
    name, voice = names_of(row)
    said = escape(tr("{name} in {voice} was removed.", name=name, voice=voice))
    label = tr("Bring back {name} in {voice}", name=name, voice=voice)
    undo = action("undo", tr("Undo"), label, job=row["id"])
    return f'<li><div role="status">{said}</div><div class="tm-actions">{undo}</div></li>'
