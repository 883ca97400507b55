"""The Convert tab: a voice, a recording or many, one button; the result beside the source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.spectrogram_picture import draw_conversion
from pipelines.store.records import CONVERTING, ENDED, Caller, Row
from rvc.errors import RvcError
from ui.look.html import (
    CONVERT_START,
    ChoiceDropdown,
    card,
    chip,
    hidden_button,
    job_card,
    paragraph,
    pitch_note,
    player,
    quiet_note,
    waveform,
)
from ui.look.wording import duration
from ui.server.services import (
    ACTIVE,
    EXAMPLES,
    QUIET,
    START,
    WATCH,
    Answer,
    Services,
    Update,
    as_gr_error,
    error_message,
    new_served_folder,
    publish_file,
    throttle,
    uploaded_files,
    warn_of,
)
from ui.tabs.conversion_settings import ConversionSettings

EXAMPLE = EXAMPLES / "recordings" / "visitor.flac"
ONE, MANY = "One recording", "Many, or a .zip"
FILE_STATES = {  # status of a file of a batch: how it is called, the tone of its label
    "waiting": ("Waiting", ""),
    "converting": ("Converting", ""),
    "completed": ("Done", "good"),
    "failed": ("Failed", "bad"),
}
# Gradio's recorder refuses what the browser does not call audio: films, and files whose names have no ending.
# The server judges by content, so its upload box is told that they are.
ANY_FILE = """() => {
    const box = (event) => event.target.closest?.("#convert-source");
    const given = (files) => {
        const all = [...files], asAudio = new DataTransfer();
        if (!all.length || all.every((file) => file.type.startsWith("audio/"))) return null;
        all.forEach((file) => asAudio.items.add(new File([file], file.name, {type: "audio/any"})));
        return asAudio;
    };
    document.addEventListener("click", (event) => {
        box(event)?.querySelectorAll("input[type=file]").forEach((input) => input.removeAttribute("accept"));
    }, true);
    document.addEventListener("change", (event) => {
        const files = box(event) && event.target.files && given(event.target.files);
        if (files) event.target.files = files.files;
    }, true);
    document.addEventListener("drop", (event) => {
        const files = box(event) && event.dataTransfer && given(event.dataTransfer.files);
        if (!files) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        event.target.dispatchEvent(
            new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: files}));
    }, true);
}"""
SHOWN_FILES = 200  # a longer list is cut on the page; the zip's table has all of them
GONE = "The voice that was chosen is gone; choose another."
NO_VOICE = "No voice yet: train one in the Clone tab or import one under Voices."


@dataclass(kw_only=True)
class ConvertState:
    """The conversion that this visitor looks at; changed in place."""

    job_id: str | None = None
    begun: str | None = None  # a batch that was just started and that nobody follows yet


class ConvertTab:
    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self._lay_out_inputs()
            with gr.Column(scale=6, min_width=320):
                self._lay_out_results()
        self.state = gr.State(ConvertState())
        self.engine = gr.State("lite")  # whose defaults the expert settings show
        self._listen()

    def _lay_out_inputs(self) -> None:
        self.voice = ChoiceDropdown(label="Voice", choices=[], interactive=True, elem_id="convert-voice")
        self.number = gr.Radio([ONE, MANY], value=ONE, show_label=False, elem_id="convert-number")
        self.source = gr.Audio(
            label="Recording to convert",
            sources=["upload", "microphone"],
            type="filepath",
            buttons=[],
            waveform_options=waveform(source=True),
            elem_id="convert-source",
        )
        self.example = gr.Button("Take an example recording", size="sm", visible=EXAMPLE.exists())
        self.files = gr.File(
            label="Recordings, or .zip files of them",
            file_count="multiple",
            height=180,
            visible=False,
            elem_id="convert-files",
        )
        self.expert = ConversionSettings()
        self.convert_button = gr.Button("Convert", variant="primary", size="lg", elem_id="convert")

    def _lay_out_results(self) -> None:
        self.status = gr.HTML(CONVERT_START, elem_id="convert-status", padding=False)
        self.cancel_button = hidden_button("Stop converting", "convert-cancel", variant="stop", size="sm")
        self.download = gr.DownloadButton(
            "Download all as a .zip", variant="primary", visible=False, elem_id="convert-zip"
        )
        with gr.Column(visible=False, elem_id="convert-results") as self.results:
            self.before = player("Before", "before", source=True)
            self.after = player("After", "after", download=True)
            with gr.Accordion(
                "Before and after as pictures", open=False, elem_id="pictures"
            ) as self.pictures:
                self.image = gr.Image(show_label=False, interactive=False, buttons=[], elem_id="picture")

    def _listen(self) -> None:
        result = [self.results, self.before, self.after, self.pictures]
        self.drawn = [self.status, self.cancel_button, self.download, *result]
        self.example.click(lambda: publish_file(EXAMPLE, EXAMPLE.stem), None, self.source, **QUIET)
        started = self.convert_button.click(
            self.convert,
            {self.state, self.voice, self.number, self.source, self.files, *self.expert.inputs},
            self.drawn,
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=[self.status],
            **START,
        )
        started.then(self.rest, self.state, self.drawn, **WATCH, **QUIET)
        self.number.input(
            self.suited_to_number,
            self.number,
            [self.source, self.example, self.files, self.convert_button],
            queue=False,
            **QUIET,
        )
        suited = [self.voice, self.engine, *self.expert.suited]
        chosen = self.voice.change(self.suit, [self.voice, self.engine], suited, queue=False, **QUIET)
        renewed: dict[str, Any] = {"fn": self.voices, "inputs": self.voice, "outputs": self.voice, **QUIET}
        for occasion in (self.voice.focus, chosen.failure, started.then):
            occasion(**renewed)
        self.cancel_button.click(self.cancel, self.state, self.cancel_button, **QUIET)
        self.pictures.expand(
            self.picture, self.state, self.image, api_visibility="private", show_progress="minimal"
        )

    def wire(self, page: gr.Blocks, opened: gr.Tab) -> None:
        """When the page or the tab is opened: read the voices; follow a conversion that still runs."""
        page.load(None, js=ANY_FILE)
        page.load(self.voices, self.voice, self.voice, **QUIET)
        opened.select(self.voices, self.voice, self.voice, **QUIET)
        page.load(self.reattach, self.state, self.drawn, **WATCH, **QUIET)

    def voices(self, chosen: str | None, request: gr.Request) -> Answer:
        """Offer the voices that there are now; the choice stays, and of one that is gone it is said."""
        with as_gr_error():
            choices = voice_choices(self._services, request)
            ids = [model_id for _, model_id in choices]
            gone = bool(chosen) and chosen not in ids
            chosen = None if gone else chosen or next(iter(ids), None)
            info = self._note(chosen, request) if chosen else GONE if gone else NO_VOICE
        return {self.voice: gr.Dropdown(choices=choices, value=chosen, info=info or None)}

    def suit(self, voice: str | None, engine: str, request: gr.Request) -> Answer:
        """Suit the expert settings to the voice that was chosen, and say what its pitch cannot do."""
        if not voice:
            return gr.skip()
        with as_gr_error():
            row = self._services.library.get(self._services.caller(request), voice)
            note = gr.Dropdown(info=pitch_note(row) or None)
        return {self.voice: note, self.engine: str(row["engine"]), **self.expert.suited_to(row, engine)}

    def _note(self, voice: str, request: gr.Request) -> str:
        return pitch_note(self._services.library.get(self._services.caller(request), voice))

    def suited_to_number(self, how: str) -> Answer:
        many = how == MANY
        return {
            self.source: gr.Audio(visible=not many),
            self.example: gr.Button(visible=not many),
            self.files: gr.File(visible=many),
            self.convert_button: gr.Button("Convert all" if many else "Convert"),
        }

    def convert(self, values: Answer, request: gr.Request) -> Iterator[Answer]:
        """Convert and draw each step; the job goes on when the page is closed."""
        state, voice, many = values[self.state], values[self.voice], values[self.number] == MANY
        wanted = values[self.files if many else self.source]
        if not voice or not wanted:
            missing = "Add a recording to convert, or take the example."
            if many:
                missing = "Add recordings to convert, or a .zip of them."
            warn_of(missing if voice else "Choose a voice; if there is none, train one in the Clone tab.")
            yield gr.skip()
            return
        try:
            caller = self._services.caller(request)
            settings = self.expert.settings(values)
            files, kind = uploaded_files(wanted), "batch" if many else "conversion"
            job = self._services.send_and_submit(caller, files, kind, settings, model_id=voice)
            state.job_id, state.begun = job["id"], job["id"] if many else None
            # A batch is followed by rest(): for hours, here it would keep others from starting theirs.
            yield from itertools.islice(self._follow(state, caller, job), 1 if many else None)
        except (RvcError, OSError) as error:
            title = "These recordings were not converted" if many else "This recording was not converted"
            yield {self.status: card(title, paragraph(error_message(error)), tone="bad")}

    def rest(self, state: ConvertState, request: gr.Request) -> Iterator[Answer]:
        """Follow the batch that was just started, if one was; it may take hours."""
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
            rows = self._services.jobs.list(caller)
            active = [row for row in rows if row["status"] in ACTIVE and row["type"] in CONVERTING]
            if active:
                state.job_id = active[0]["id"]
                yield from self._follow(state, caller, active[0])

    def cancel(self, state: ConvertState, request: gr.Request) -> Answer:
        """Stop the conversion; who follows it draws the rest."""
        with as_gr_error():
            if state.job_id:
                self._services.jobs.cancel(self._services.caller(request), state.job_id)
        return {self.cancel_button: gr.Button(visible=False)}

    def picture(self, state: ConvertState, request: gr.Request) -> Answer:
        if not state.job_id:
            return {self.image: None}
        with as_gr_error():
            jobs, caller = self._services.jobs, self._services.caller(request)
            row = jobs.get(caller, state.job_id)
            before = jobs.files.input_path(caller, row["id"], decoded=True)
            after = jobs.files.result_path(caller, row["id"])
            picture = new_served_folder() / "spectrograms.png"
            draw_conversion(before, after, picture, name=str(row["model_name"]))
            return {self.image: str(picture)}

    def _follow(self, state: ConvertState, caller: Caller, job: Row) -> Iterator[Answer]:
        """Draw a job until it has ended, or the visitor has started another one, which is drawn instead."""
        name = voice_name(self._services, caller, job["model_id"])
        for row in throttle(self._services.jobs.follow(caller, job["id"])):
            if state.job_id != job["id"]:
                return
            yield self._draw(caller, row, name)

    def _draw(self, caller: Caller, row: Row, name: str) -> Answer:
        shown = {
            self.cancel_button: gr.Button(visible=row["status"] in ACTIVE),
            self.results: gr.Column(visible=False),
            self.download: gr.DownloadButton(visible=False),
        }
        if row["type"] == "batch":
            return shown | {
                self.status: job_card(row, title=batch_title(row)) + files_table(row["files"]),
                self.download: zip_button(self._services, caller, row),
            }
        first = row["files"][0] if row["files"] else {"name": "recording"}
        note = quiet_note(first)
        if row["status"] != "completed":
            return shown | {self.status: job_card(row, title=f"Converting into {name}") + note}
        stem = Path(first["name"]).stem
        before = publish_file(self._services.jobs.files.played_path(caller, row["id"]), stem)
        after = publish_file(self._services.jobs.files.result_path(caller, row["id"]), f"{stem} as {name}")
        return shown | {
            self.status: card("Done", paragraph(what_was_done(row, name)) + note, tone="good"),
            self.results: gr.Column(visible=True),
            self.before: before,
            self.after: gr.Audio(after, label=f"After: {name}"),
            self.pictures: gr.Accordion(open=False),
        }


def voice_choices(services: Services, request: gr.Request) -> list[tuple[str, str]]:
    """Return (label, id) of the caller's voices."""
    rows = services.library.list(services.caller(request))
    names = [row["model_name"] for row in rows]
    return [
        (name if names.count(name) == 1 else f"{name} ({row['id'][:6]})", row["id"])
        for name, row in zip(names, rows, strict=True)
    ]


def voice_name(services: Services, caller: Caller, model_id: str | None) -> str:
    """Return what a voice is called, which may have been deleted since."""
    try:
        return str(services.library.get(caller, str(model_id))["model_name"])
    except RvcError:
        return "a voice that is gone"


def what_was_done(row: Row, name: str) -> str:
    moved = (row.get("result") or {}).get("transpose_semitones")
    said = f"Here is your recording in the voice {name}"
    if moved is None:
        return f"{said}. Listen to both, and download the second one."
    if abs(moved) < 0.05:
        return f"{said}, at its own pitch."
    way = f"{abs(moved):.1f} semitones {'up' if moved > 0 else 'down'}"
    return f"{said}, {way}. Too high or too low? Set the pitch by hand in the expert settings."


def batch_title(row: Row) -> str:
    count = len(row["files"])
    return f"Convert {count} recording{'s' if count != 1 else ''} into {row.get('model_name') or 'a voice'}"


def zip_button(services: Services, caller: Caller, row: Row) -> Update:
    """Return the button that downloads what a batch has converted; hidden before there is anything."""
    made = sum(file["status"] == "completed" for file in row["files"])
    if row["status"] in ENDED and made:
        name = f"{made} recordings as {row.get('model_name') or 'another voice'}"
        with suppress(RvcError):
            path = publish_file(services.jobs.files.result_path(caller, row["id"]), name)
            return gr.DownloadButton(value=path, visible=True)
    return gr.DownloadButton(visible=False, value=None)


def files_table(files: Sequence[Row]) -> str:
    """Return how each file of a batch fares, as HTML; one that failed with its reason."""
    done = sum(file["status"] == "completed" for file in files)
    failed = sum(file["status"] == "failed" for file in files)
    title = f"{done} of {len(files)} done" + (f", {failed} failed" if failed else "")
    rows = "".join(_line(file) for file in files[:SHOWN_FILES])
    more = len(files) - SHOWN_FILES
    rest = f"And {more} more; the zip holds a table of all of them."
    head = "<tr><th>File</th><th>Length</th><th>State</th></tr>"
    table = f'<table class="tm-table"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return card(title, table + (paragraph(rest, quiet=True) if more > 0 else ""))


def _line(file: Row) -> str:
    state, tone = FILE_STATES.get(str(file["status"]), (str(file["status"]), ""))
    reason = f'<div class="tm-quiet">{escape(str(file["reason"]))}</div>' if file.get("reason") else ""
    seconds = float(file.get("seconds") or 0.0)
    return (
        f"<tr><td>{escape(str(file['name']))}{reason}{quiet_note(file)}</td>"
        f"<td>{duration(seconds) if seconds else '-'}</td><td>{chip(state, tone)}</td></tr>"
    )
