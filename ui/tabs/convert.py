"""The Convert tab: a voice, a recording or many, one button; the result beside the source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.store.records import CONVERTING, SINGLE, Caller, Row
from rvc.errors import RvcError
from ui.look.fields import FOCUS_MISSING, field_note, said
from ui.look.html import card, paragraph, pitch_note
from ui.look.language import retold, tr
from ui.look.voice_cards import PLAYING, voice_cards, voice_picker
from ui.server.services import (
    ACTIVE,
    FOLLOWS,
    QUIET,
    Answer,
    Services,
    as_gr_error,
    error_message,
    event_value,
    pressed_job,
    throttle,
    validate_id,
)
from ui.tabs.conversion_settings import ConversionSettings
from ui.tabs.conversion_view import SHOWN_FILES, ConversionView, voice_name
from ui.tabs.hear_now import hear_now, heard
from ui.tabs.preset_part import PresetPart
from ui.tabs.remembered import recalled
from ui.tabs.sources import SourceChoice
from ui.tabs.takes import Takes, TakesState
from ui.tabs.voice_list import sounds_of

# Types of job that are followed by rest(): for hours, in which the button must start other conversions.
LONG = ("batch", "cover")
PLACES = frozenset(map(str, range(1, SHOWN_FILES + 1)))  # of the recordings of a batch that are listed
ANY_FILE = (Path(__file__).parents[1] / "look" / "any_file.js").read_text(encoding="utf-8")


@dataclass(kw_only=True)
class ConvertState(TakesState):
    """The conversion that this visitor looks at; changed in place."""

    job_id: str | None = None
    begun: str | None = None  # one of LONG that was just started and that nobody follows yet


class ConvertTab:
    def __init__(self, services: Services) -> None:
        self._services = services
        self.heard = hear_now()
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320, elem_id="convert-inputs"):
                self._lay_out_inputs()
            with gr.Column(scale=6, min_width=320):
                self.view = ConversionView(services)
                self.takes = Takes(services, self.view)
        self.state = gr.State(ConvertState())
        self.engine = gr.State("lite")  # whose defaults the settings show
        self.knows_pitch = gr.State(True)  # whether that of the chosen voice is known
        self.offered = [self.voice, self.voice_note, self.engine, self.knows_pitch, *self.expert.suited]
        self.offered.append(self.expert.preset)
        self._listen()

    def _lay_out_inputs(self) -> None:
        self.voice = voice_picker("convert-voice")
        self.voice_note = field_note("convert-voice")
        self.sources = SourceChoice(self._services)
        self.expert = ConversionSettings()
        self.sources.button.render()
        self.presets = PresetPart(self._services, self.expert)

    def _listen(self) -> None:
        self.drawn = [*self.view.drawn, self.voice_note, *self.sources.notes]
        self.sources.listen()
        started = self.sources.button.click(
            self.convert,
            {self.state, self.voice, *self.sources.inputs, *self.expert.inputs},
            self.drawn,
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=[self.view.status],
            **FOLLOWS,
        )
        started.then(None, None, None, js=FOCUS_MISSING, api_visibility="private")
        rested = started.then(self.rest, self.state, self.drawn, **FOLLOWS, **QUIET)
        chosen = self.voice.input(queue=False, trigger_mode="always_last", **self._renewing)
        for occasion in (self.voice.focus, chosen.failure, started.then):
            occasion(**self._renewing)
        self.view.cancel_button.click(self.cancel, self.state, self.view.cancel_button, **QUIET)
        self.view.pictures.expand(
            self.draw_pictures,
            self.state,
            [self.view.contours, self.view.image],
            api_visibility="private",
            show_progress="minimal",
        )
        self._listen_to_takes(started, rested)
        self._listen_to_presets()

    def _listen_to_takes(self, *ended: Any) -> None:  # noqa: ANN401 -- Gradio's dependency has no type
        takes, state = self.takes, self.state
        for one in ended:
            one.then(takes.show, state, takes.list, **QUIET)
        shown = [takes.list, *self.view.heard]
        takes.list.hear(takes.hear, state, shown, **QUIET)
        takes.list.compare(takes.compare, state, shown, **QUIET)
        takes.list.fetch(takes.fetch, None, takes.fetched, **QUIET)
        takes.list.remove(takes.remove, state, [takes.list, self.view.pictures], **QUIET)
        takes.list.undo(takes.undo, state, takes.list, **QUIET)
        sources = self.sources
        inputs = list(dict.fromkeys([*sources.shown, *sources.inputs, *self.offered, *self.expert.inputs]))
        takes.list.again(self.again, None, inputs, **QUIET)
        self.view.status.hear(self.hear_file, state, shown, **QUIET)
        cleaned = self.view.status.act(self.clean, state, self.drawn, **FOLLOWS, **QUIET)
        cleaned.then(takes.show, state, takes.list, **QUIET)

    def _listen_to_presets(self) -> None:
        expert, part = self.expert, self.presets
        expert.listen(self.knows_pitch)
        expert.preset.input(**self._choosing, **QUIET)
        part.save_button.click(
            self.keep,
            {part.name, part.kept, self.voice, *expert.inputs},
            [expert.preset, part.name],
            **QUIET,
        )
        part.delete_button.click(part.delete, [expert.preset, self.voice], expert.preset, **QUIET)

    @property
    def _choosing(self) -> dict[str, Any]:
        """What listens to the choice of a preset."""
        expert = self.expert
        outputs = [expert.preset, expert.said, *expert.inputs]
        return {"fn": self.presets.choose, "inputs": [expert.preset, self.voice], "outputs": outputs}

    def keep(self, values: Answer, request: gr.Request) -> Answer:
        return self.presets.save(values, values[self.voice], request)

    @property
    def choice(self) -> list[Any]:
        """What `voices` is told of what is chosen now."""
        return [self.voice, self.engine, self.expert.automatic, self.expert.semitones]

    @property
    def _renewing(self) -> dict[str, Any]:
        """What listens to occasions at which there may be other voices."""
        return {"fn": self.renew, "inputs": self.choice, "outputs": self.offered, **QUIET}

    def wire(self, page: gr.Blocks, opened: gr.Tab) -> None:
        """When the page or the tab is opened: read the voices; follow a conversion that still runs."""
        self.sources.wire(page)
        page.load(None, js=ANY_FILE)
        page.load(None, js=PLAYING)
        page.load(self.hear, None, self.heard, **QUIET)
        page.load(None, self.voice, self.voice, js=recalled("voice"), **QUIET)
        offered = page.load(js=recalled("voice"), **self._renewing)
        preset = offered.then(js=recalled("preset"), **self._choosing, **QUIET)
        # Answers may cross, and a person may have chosen before they came: what is right by now comes last.
        preset.then(**self._renewing)
        opened.select(js=recalled("voice"), **self._renewing)  # this may come before the value is there
        opened.select(self.takes.show, self.state, self.takes.list, **QUIET)
        followed = page.load(self.reattach, self.state, self.drawn, **FOLLOWS, **QUIET)
        page.load(self.takes.show, self.state, self.takes.list, **QUIET)
        followed.then(self.takes.show, self.state, self.takes.list, **QUIET)

    def hear(self, request: gr.Request) -> str:
        """Offer what can be heard at once."""
        with as_gr_error():
            return heard(self._services.library.list(self._services.caller(request)))

    def voices(
        self,
        chosen: str | None,
        engine: str,
        automatic: bool,
        semitones: float | None,
        request: gr.Request,
    ) -> Answer:
        """Choose a voice among those that there are now, and suit the settings to it; the first for None.

        Of one that is gone it is said, and no other is chosen instead.
        """
        return self._offer(chosen, engine, (automatic, semitones), request)

    def _offer(
        self,
        chosen: str | None,
        engine: str,
        pitch: tuple[bool, float | None],
        request: gr.Request,
        *,
        kept: str | None = None,
        **preset: str | None,
    ) -> Answer:
        automatic, semitones = pitch
        with as_gr_error():
            caller = self._services.caller(request)
            rows = {str(row["id"]): row for row in self._services.library.list(caller)}
            gone = bool(chosen) and chosen not in rows
            chosen = chosen or next(iter(rows), "")
            row = rows.get(chosen)
            note = pitch_note(row) if row else ""
            if not rows:
                note = tr("No voice yet: train one in the Clone tab or import one under Voices.")
            sounds = sounds_of(self._services, caller, list(rows.values()))
            group = "convert-voice-choice"
            cards = voice_cards(list(rows.values()), sounds, title=tr("Voice"), group=group, note=note)
            presets = self.presets.offered(caller, chosen if row else None, **preset)
        suited = self.expert.suited_to(row, engine, automatic=automatic, semitones=semitones) if row else {}
        return suited | {
            self.voice: gr.HTML(cards=cards) if kept == chosen else gr.HTML(value=chosen, cards=cards),
            self.voice_note: said(tr("The voice that was chosen is gone; choose another.")) if gone else "",
            self.engine: str(row["engine"]) if row else engine,
            self.knows_pitch: bool(row and row.get("f0")),
            self.expert.preset: presets,
        }

    def renew(
        self, chosen: str, engine: str, automatic: bool, semitones: float | None, request: gr.Request
    ) -> Answer:
        """As `voices`, but the choice stays as it is on the page by now: a person may have gone on."""
        return self._offer(chosen, engine, (automatic, semitones), request, kept=chosen)

    def put(self, settings: Row, model_id: str, request: gr.Request) -> Answer:
        """Return what sets the inputs (of `offered` and `expert.inputs`) to a job's settings and voice.

        A voice that is gone is said to be so.
        """
        engine, known = "lite", True
        with suppress(RvcError):
            row = self._services.library.get(self._services.caller(request), model_id)
            engine, known = str(row["engine"]), bool(row.get("f0"))
        semitones = settings.get("transpose_semitones")
        answer = self._offer(model_id, engine, (semitones is None, semitones), request, value=None)
        return self.expert.put(settings, engine, known=known) | answer

    def convert(self, values: Answer, request: gr.Request) -> Iterator[Answer]:
        """Convert and draw each step; the job goes on when the page is closed."""
        state, voice = values[self.state], values[self.voice]
        source = self.sources[values[self.sources.kind]]
        if not voice or not source.given(values):
            choose = tr("Choose a voice; if there is none, train one in the Clone tab.")
            yield {
                self.voice_note: "" if voice else said(choose),
                source.note: "" if source.given(values) else said(retold(source.missing)),
            }
            return
        try:
            caller = self._services.caller(request)
            job = source.submit(caller, values, self.expert.settings(values), voice)
            long = job["type"] in LONG
            state.job_id, state.begun = job["id"], job["id"] if long else None
            yield from itertools.islice(self._follow(state, caller, job), 1 if long else None)
        except (RvcError, OSError) as error:
            why = paragraph(error_message(error))
            yield {self.view.status: card(retold(source.refused), why, tone="bad")}

    def clean(self, state: ConvertState, event: gr.EventData, request: gr.Request) -> Iterator[Answer]:
        """Convert the recording of a take once more, cleaned first, and put both results into the player."""
        with as_gr_error():
            caller = self._services.caller(request)
            before = self._services.jobs.get(caller, pressed_job(event))
            settings = before["settings"] | {"reduce_noise": True}
            voice = str(before["model_id"])
            job = self._services.submit(caller, "conversion", before["id"], settings, model_id=voice)
        state.job_id = job["id"]
        yield from self._follow(state, caller, job)
        if (
            self._services.jobs.get(caller, job["id"])["status"] == "completed"
            and state.shown_id == job["id"]
        ):
            state.put(job["id"], before["id"])
            yield self.view.hear(caller, self._services.jobs.get(caller, job["id"]), before, play=True)

    def rest(self, state: ConvertState, request: gr.Request) -> Iterator[Answer]:
        """Follow the batch or the song that was just started, if one was."""
        yield gr.skip()  # a generator that yields nothing would clear its outputs
        begun, state.begun = state.begun, None
        with suppress(RvcError):
            if begun:
                caller = self._services.caller(request)
                yield from self._follow(state, caller, self._services.jobs.get(caller, begun))

    def reattach(self, state: ConvertState, request: gr.Request) -> Iterator[Answer]:
        """Follow a conversion that still runs when the page is opened: a closed tab loses nothing."""
        yield gr.skip()
        with suppress(RvcError):
            caller = self._services.caller(request)
            rows = self._services.jobs.list(caller, user_id=caller.user_id)
            active = [row for row in rows if row["status"] in ACTIVE and row["type"] in CONVERTING]
            if active:
                state.job_id = active[0]["id"]
                yield from self._follow(state, caller, active[0], focus=False)

    def cancel(self, state: ConvertState, request: gr.Request) -> Answer:
        """Stop the conversion; who follows it draws the rest."""
        with as_gr_error():
            if state.job_id:
                self._services.jobs.cancel(self._services.caller(request), state.job_id)
        return {self.view.cancel_button: gr.Button(visible=False)}

    def draw_pictures(self, state: ConvertState, request: gr.Request) -> Iterator[Answer]:
        """Draw the melodies and spectrograms of what is in the player."""
        yield {self.view.contours: "", self.view.image: None}
        if state.shown_id:
            with as_gr_error():
                caller, ids = self._services.caller(request), (state.shown_id, state.against_id)
                yield from self.view.draw_pictures(caller, *ids)

    def hear_file(self, state: ConvertState, event: gr.EventData, request: gr.Request) -> Answer:
        """Play one recording of the batch that is shown."""
        with as_gr_error():
            caller, number = self._services.caller(request), event_value(event, "number")
            job_id = validate_id(state.job_id, "job")
            heard = self.view.hear_file(caller, job_id, int(number) if number in PLACES else 0)
            state.put(None)
            return heard | self.takes.show(state, request)

    def again(self, event: gr.EventData, request: gr.Request) -> Answer:
        """Set the inputs as they were for a take: its source, its voice and its settings."""
        with as_gr_error():
            caller, row = self.takes.chosen(event, request)
            source = self.sources.put(caller, row)
            return source | self.put(row["settings"], row["model_id"], request)

    def _follow(
        self, state: ConvertState, caller: Caller, job: Row, *, focus: bool = True
    ) -> Iterator[Answer]:
        """Draw a job until it has ended, or the visitor has started another one, which is drawn instead."""
        name = voice_name(self._services, caller, job["model_id"])
        for row in throttle(self._services.jobs.follow(caller, job["id"])):
            if state.job_id != job["id"]:
                return
            if row["status"] == "completed" and row["type"] in SINGLE:
                state.put(row["id"])
            yield self.view.draw(caller, row, name, focus=focus)
