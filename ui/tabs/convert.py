"""The Convert tab: a voice, a recording or many, one button; the result beside the source.

convert     upload -> conversion job -> follow it, or batch (batch.py); in the group "gpu", one at a time
rest        follow the batch that was just started, outside that group: it may take hours
reattach    on load: a conversion of this visitor that still runs, so that a closed tab loses nothing
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.store.records import CONVERTING
from rvc.errors import RvcError
from ui.look.html import CONVERT_START, card, job_card, paragraph, picture_of, player, waveform
from ui.server.services import (
    ACTIVE,
    EXAMPLES,
    Services,
    Update,
    calmly,
    hand_out,
    plain_errors,
    received,
    remind,
    told,
)
from ui.tabs.batch import MANY, ONE, follow_batch, many_files, suited_to_number
from ui.tabs.conversion_settings import ConversionSettings, conversion_settings, settings_from, suited_to

if TYPE_CHECKING:
    from pipelines.store.records import Caller

DRAWN = 7
"""How many components a conversion draws."""
EXAMPLE = EXAMPLES / "recordings" / "visitor.flac"


@dataclass(kw_only=True)
class Shown:
    """The conversion that this visitor looks at; changed in place.

    Attributes:
        job_id: Its id; None before the first.
        begun: A batch that was just started and that nobody follows yet.
    """

    job_id: str | None = None
    begun: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConvertTab:
    """Components that this tab's listeners, and other tabs, refer to."""

    voice: gr.Dropdown
    number: gr.Radio
    source: gr.Audio
    files: gr.File
    example: gr.Button
    expert: ConversionSettings
    convert: gr.Button
    status: gr.HTML
    cancel: gr.Button
    results: gr.Column
    before: gr.Audio
    after: gr.Audio
    pictures: gr.Accordion
    picture: gr.Image
    download: gr.DownloadButton
    shown: gr.State
    engine: gr.State

    @property
    def drawn(self) -> list[Any]:
        """Components that a conversion draws, in the order in which `_Listeners` returns their values."""
        result = [self.results, self.before, self.after, self.pictures, self.download]
        return [self.status, self.cancel, *result]


def convert_tab(services: Services) -> ConvertTab:
    """Lay out the tab and wire what stays within it."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            voice = gr.Dropdown(label="Voice", choices=[], interactive=True, elem_id="convert-voice")
            number = gr.Radio([ONE, MANY], value=ONE, show_label=False, elem_id="convert-number")
            source = gr.Audio(
                label="Recording to convert",
                sources=["upload", "microphone"],
                type="filepath",
                buttons=[],
                waveform_options=waveform(source=True),
                elem_id="convert-source",
            )
            example = gr.Button("Take an example recording", size="sm", visible=EXAMPLE.exists())
            files = many_files()
            expert = conversion_settings()
            convert = gr.Button("Convert", variant="primary", size="lg", elem_id="convert")
        with gr.Column(scale=6, min_width=320):
            status = gr.HTML(CONVERT_START, elem_id="convert-status", padding=False)
            cancel = gr.Button(
                "Stop converting", variant="stop", size="sm", visible=False, elem_id="convert-cancel"
            )
            download = gr.DownloadButton(
                "Download all as a .zip", variant="primary", visible=False, elem_id="convert-zip"
            )
            with gr.Column(visible=False, elem_id="convert-results") as results:
                before = player("Before", "before", source=True)
                after = player("After", "after", download=True)
                with gr.Accordion("Before and after as pictures", open=False, elem_id="pictures") as pictures:
                    picture = gr.Image(show_label=False, interactive=False, buttons=[], elem_id="picture")
    tab = ConvertTab(
        voice=voice,
        number=number,
        source=source,
        files=files,
        example=example,
        expert=expert,
        convert=convert,
        status=status,
        cancel=cancel,
        results=results,
        before=before,
        after=after,
        pictures=pictures,
        picture=picture,
        download=download,
        shown=gr.State(Shown()),
        engine=gr.State("lite"),
    )
    _wire(tab, _Listeners(services))
    return tab


def _wire(tab: ConvertTab, listeners: _Listeners) -> None:
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    tab.example.click(lambda: hand_out(EXAMPLE, EXAMPLE.stem), None, tab.source, **quiet)
    started = tab.convert.click(
        listeners.convert,
        [tab.shown, tab.voice, tab.number, tab.source, tab.files, *tab.expert.inputs],
        tab.drawn,
        concurrency_id="gpu",
        concurrency_limit=1,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[tab.status],
    )
    started.then(
        listeners.rest, [tab.shown], tab.drawn, concurrency_id="watch", concurrency_limit=20, **quiet
    )
    tab.number.input(
        suited_to_number, tab.number, [tab.source, tab.example, tab.files, tab.convert], queue=False, **quiet
    )
    tab.voice.change(
        listeners.suit, [tab.voice, tab.engine], [tab.engine, *tab.expert.suited], queue=False, **quiet
    )
    tab.cancel.click(listeners.cancel, [tab.shown], [tab.cancel], **quiet)
    tab.pictures.expand(
        listeners.picture, [tab.shown], [tab.picture], api_visibility="private", show_progress="minimal"
    )


def wire_voices(page: gr.Blocks, tab: ConvertTab, opened: gr.Tab, services: Services) -> None:
    """When the page or the tab is opened: read the voices; follow a conversion that still runs."""
    listeners = _Listeners(services)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    page.load(listeners.voices, [tab.voice], [tab.voice], **quiet)
    opened.select(listeners.voices, [tab.voice], [tab.voice], **quiet)
    page.load(
        listeners.reattach, [tab.shown], tab.drawn, concurrency_id="watch", concurrency_limit=20, **quiet
    )


def voice_choices(services: Services, request: gr.Request) -> list[tuple[str, str]]:
    """Return (label, id) of the caller's voices."""
    rows = services.library.list(services.caller(request))
    names = [row["model_name"] for row in rows]
    return [
        (
            row["model_name"]
            if names.count(row["model_name"]) == 1
            else f"{row['model_name']} ({row['id'][:6]})",
            row["id"],
        )
        for row in rows
    ]


class _Listeners:
    """What happens at each event; every one checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def voices(self, chosen: str | None, request: gr.Request) -> Update:
        """Return the dropdown with the voices that there are now; the choice stays if it can."""
        with plain_errors():
            choices = voice_choices(self._services, request)
        ids = [model_id for _, model_id in choices]
        info = None if ids else "No voice yet: train one in the Clone tab or import one under Voices."
        return gr.Dropdown(
            choices=choices, value=chosen if chosen in ids else next(iter(ids), None), info=info
        )

    def suit(self, voice: str | None, engine: str, request: gr.Request) -> tuple[Any, ...]:
        """Suit the expert settings to the voice that was chosen."""
        with plain_errors():
            row = self._services.library.get(self._services.caller(request), voice) if voice else None
        if row is None:
            return (gr.skip(),) * 5
        return str(row["engine"]), *suited_to(row, engine)

    def convert(  # noqa: PLR0913  # one parameter for each component
        self,
        shown: Shown,
        voice: str | None,
        number: str,
        source: str | None,
        files: list[str] | None,
        request: gr.Request,
        *expert: object,
    ) -> Iterator[tuple[Any, ...]]:
        """Convert and draw each step; the job goes on when the page is closed."""
        many = number == MANY
        wanted = files if many else source
        if not voice or not wanted:
            remind(_missing(voice, many=many))
            yield (gr.skip(),) * DRAWN
            return
        services = self._services
        try:
            caller, settings = services.caller(request), settings_from(expert)
            kind = "batch" if many else "conversion"
            job = services.send_and_submit(caller, received(wanted), kind, settings, model_id=voice)
            shown.job_id = job["id"]
            shown.begun = job["id"] if many else None
            # A batch is followed by rest(): here it would keep everybody else's conversions waiting.
            yield from itertools.islice(self._follow(shown, caller, job), 1 if many else None)
        except (RvcError, OSError) as error:
            title = "These recordings were not converted" if many else "This recording was not converted"
            yield card(title, paragraph(told(error)), tone="bad"), *(gr.skip(),) * (DRAWN - 1)

    def rest(self, shown: Shown, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Follow the batch that was just started, if one was."""
        yield (gr.skip(),) * DRAWN
        begun, shown.begun = shown.begun, None
        try:
            if begun:
                caller = self._services.caller(request)
                yield from self._follow(shown, caller, self._services.jobs.get(caller, begun))
        except RvcError:
            return

    def reattach(self, shown: Shown, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Follow a conversion that was started before the page was opened."""
        # A generator that yields nothing would clear its outputs.
        yield (gr.skip(),) * DRAWN
        try:
            caller = self._services.caller(request)
            rows = self._services.jobs.list(caller)
            active = [row for row in rows if row["status"] in ACTIVE and row["type"] in CONVERTING]
            if active:
                shown.job_id = active[0]["id"]
                yield from self._follow(shown, caller, active[0])
        except RvcError:
            return

    def cancel(self, shown: Shown, request: gr.Request) -> Update:
        """Stop the conversion; who follows it draws the rest."""
        with plain_errors():
            if shown.job_id:
                self._services.jobs.cancel(self._services.caller(request), shown.job_id)
        return gr.Button(visible=False)

    def picture(self, shown: Shown, request: gr.Request) -> Update:
        """Draw the spectrograms of the source and of the result."""
        if not shown.job_id:
            return None
        with plain_errors():
            jobs, caller = self._services.jobs, self._services.caller(request)
            row = jobs.get(caller, shown.job_id)
            before, after = (
                jobs.files.input_path(caller, row["id"]),
                jobs.files.result_path(caller, row["id"]),
            )
            return picture_of(before, after, str(row["model_name"]))

    def _follow(self, shown: Shown, caller: Caller, job: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Draw a job until it has ended, or the visitor has started another one, which is drawn instead."""
        services = self._services
        if job["type"] == "batch":
            for html, active, download in follow_batch(services, caller, job):
                if shown.job_id != job["id"]:
                    return
                yield html, gr.Button(visible=active), gr.Column(visible=False), *(gr.skip(),) * 3, download
            return
        name = _voice_name(services, caller, job["model_id"])
        no_zip = gr.DownloadButton(visible=False)
        for row in calmly(services.jobs.follow(caller, job["id"])):
            if shown.job_id != job["id"]:
                return
            ended = row["status"] not in ACTIVE
            if row["status"] != "completed":
                yield (
                    job_card(row, title=f"Converting into {name}"),
                    gr.Button(visible=not ended),
                    gr.Column(visible=False),
                    gr.skip(),
                    gr.skip(),
                    gr.skip(),
                    no_zip,
                )
                continue
            stem = Path(row["files"][0]["name"]).stem if row["files"] else "recording"
            before = hand_out(services.jobs.files.input_path(caller, row["id"]), stem)
            after = hand_out(services.jobs.files.result_path(caller, row["id"]), f"{stem} as {name}")
            yield (
                card("Done", paragraph(_what_was_done(row, name)), tone="good"),
                gr.Button(visible=False),
                gr.Column(visible=True),
                before,
                gr.Audio(after, label=f"After: {name}"),
                gr.Accordion(open=False),
                no_zip,
            )


def _missing(voice: str | None, *, many: bool) -> str:
    if not voice:
        return "Choose a voice; if there is none, train one in the Clone tab."
    if many:
        return "Add recordings to convert, or a .zip of them."
    return "Add a recording to convert, or take the example."


def _voice_name(services: Services, caller: Caller, model_id: str | None) -> str:
    try:
        return str(services.library.get(caller, str(model_id))["model_name"])
    except RvcError:
        return "a voice that is gone"


def _what_was_done(row: dict[str, Any], name: str) -> str:
    moved = (row.get("result") or {}).get("transpose_semitones")
    if moved is None:
        return f"Here is your recording in the voice {name}. Listen to both, and download the second one."
    if abs(moved) < 0.05:
        return f"Here is your recording in the voice {name}, at its own pitch."
    way = "up" if moved > 0 else "down"
    return (
        f"Here is your recording in the voice {name}, {abs(moved):.1f} semitones {way}. Too high or too low? "
        "Set the pitch by hand in the expert settings."
    )
