"""What can be converted: each kind of source with its fields, and the job that comes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr

from pipelines.job_spec import CoverOptions, SpeechOptions
from pipelines.recordings.sources import faults
from pipelines.speech.synthesisers import languages, speakers
from pipelines.store.records import Caller, Row
from pipelines.weights import separator_installed
from rvc.errors import RvcError, TextError
from ui.look.fields import field_note, said
from ui.look.html import waveform
from ui.look.language import LANGUAGE, language_name, retold, tr_later
from ui.server.published import publish_file
from ui.server.services import EXAMPLES, QUIET, Answer, Services, as_gr_error, uploaded_files
from ui.tabs.conversion_view import names_of

EXAMPLE = EXAMPLES / "recordings" / "visitor.flac"
SONG_NOTE = tr_later(
    "Its vocals are taken out, converted in the song's own key, and mixed back; without a GPU that takes "
    "longer than the song. Of two files, call one vocals and the other backing."
)
TWO_FILES_NOTE = tr_later(
    "This server cannot take vocals out of a song: add its vocals and its backing as two files, and call one "
    "vocals and the other backing."
)
ALL_PLAIN = tr_later("eSpeak NG reads the text aloud. It sounds plain, and the voice keeps its rhythm.")
SOME_NATURAL = tr_later(
    "English, French, Hindi, Italian, Portuguese and Spanish are read aloud naturally, all others plainly."
)
MOST_FAULTS = 3  # files of which it is said at once what is wrong


class Source(ABC):
    """One kind of source, whose fields stand in a column that is shown while it is chosen."""

    label: ClassVar[str]  # in the choice of sources
    button: ClassVar[str] = tr_later("Convert")
    missing: ClassVar[str]  # said at its field when nothing is given
    refused: ClassVar[str]  # over the sentence that says why it was not taken
    job_type: ClassVar[str]

    field: gr.components.Component  # what has to be given
    note: gr.HTML  # what is wrong with it

    def __init__(self, services: Services, *, shown: bool) -> None:
        self._services = services
        with gr.Column(visible=shown) as self.column:
            self._lay_out()

    @abstractmethod
    def _lay_out(self) -> None: ...

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What `submit` reads."""
        return [self.field]

    def given(self, values: Answer) -> bool:
        """Whether there is something to convert."""
        return bool(values[self.field])

    def wire(self, page: gr.Blocks) -> None:
        """Register what happens when the page is opened."""
        del page  # to most, nothing does

    def listen(self) -> None:
        """Register what happens inside the column."""
        self.field.change(self.judge, self.field, self.note, **QUIET)

    def judge(self, sent: Any, request: gr.Request) -> str:  # noqa: ANN401 -- one path, several, or nothing
        """Say at once of files that were added which of them are no recordings."""
        settings = self._services.settings
        with as_gr_error():
            self._services.caller(request)
            wrong = (
                faults(
                    uploaded_files(sent),
                    most=settings.max_files,
                    most_mb=settings.max_batch_mb,
                    most_bytes=settings.max_file_size_bytes,
                )
                if sent
                else []
            )
        return said(" ".join(retold(row["reason"]) for row in wrong[:MOST_FAULTS]))

    def submit(self, caller: Caller, values: Answer, settings: Row, voice: str) -> Row:
        """Start the job; return its row. `values`: of `inputs`."""
        files = uploaded_files(values[self.field])
        return self._services.send_and_submit(caller, files, self.job_type, settings, model_id=voice)

    def put(self, caller: Caller, row: Row) -> Answer:
        """Return what sets the inputs as they were for a job of this type."""
        recording = self._services.jobs.files.input_path(caller, row["id"])
        return {self.field: publish_file(recording, names_of(row)[0])}


class OneRecording(Source):
    label = tr_later("One recording")
    missing = tr_later("Add a recording to convert, or take the example.")
    refused = tr_later("This recording was not converted")
    job_type = "conversion"

    def _lay_out(self) -> None:
        self.field = gr.Audio(
            label="Recording to convert",
            sources=["upload", "microphone"],
            type="filepath",
            buttons=[],
            waveform_options=waveform(source=True),
            elem_id="convert-source",
        )
        self.note = field_note("convert-source")
        self.example = gr.Button(
            "Take an example recording", size="sm", visible=EXAMPLE.exists(), elem_id="convert-example"
        )

    def listen(self) -> None:
        super().listen()
        self.example.click(lambda: publish_file(EXAMPLE, EXAMPLE.stem), None, self.field, **QUIET)


class ManyRecordings(Source):
    label = tr_later("Many, or a .zip")
    button = tr_later("Convert all")
    missing = tr_later("Add recordings to convert, or a .zip of them.")
    refused = tr_later("These recordings were not converted")
    job_type = "batch"

    def _lay_out(self) -> None:
        self.field = gr.File(
            label="Recordings, or .zip files of them",
            file_count="multiple",
            height=180,
            elem_id="convert-files",
        )
        self.note = field_note("convert-files")


class ASong(Source):
    label = tr_later("A song")
    button = tr_later("Convert the song")
    missing = tr_later("Add a song, or its vocals and its backing as two files.")
    refused = tr_later("This song was not converted")
    job_type = "cover"

    def _lay_out(self) -> None:
        self.field = gr.File(
            label="A song, or its vocals and its backing as two files",
            file_count="multiple",
            height=150,
            elem_id="convert-song",
        )
        self.note = field_note("convert-song")
        gr.HTML(f'<p class="tm-quiet">{escape(SONG_NOTE if separator_installed() else TWO_FILES_NOTE)}</p>')
        with gr.Accordion("How it is mixed", open=False, elem_id="convert-mix"):
            self.mix = {
                "voice_gain_db": _gain("Voice, in dB", "convert-voice-gain"),
                "backing_gain_db": _gain("Backing, in dB", "convert-backing-gain"),
                "reverb": gr.Slider(
                    0,
                    1,
                    value=0,
                    step=0.05,
                    label="Reverb of the original vocals",
                    info="How much of what rings on after the original singer is kept.",
                    elem_id="convert-reverb",
                ),
            }

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.field, *self.mix.values()]

    def submit(self, caller: Caller, values: Answer, settings: Row, voice: str) -> Row:
        of_mix = {name: values[slider] for name, slider in self.mix.items() if values[slider] is not None}
        return super().submit(caller, values, settings | of_mix, voice)

    def put(self, caller: Caller, row: Row) -> Answer:
        files = self._services.jobs.files.input_paths(caller, row["id"])
        usual = CoverOptions()
        return {self.field: [publish_file(path, Path(name).stem) for path, name in files]} | {
            slider: row["settings"].get(name, getattr(usual, name)) for name, slider in self.mix.items()
        }


def _gain(label: str, elem_id: str) -> gr.Slider:
    low, high = CoverOptions.ranges["voice_gain_db"]
    return gr.Slider(low, high, value=0, step=0.5, label=label, elem_id=elem_id)


class TextSource(Source):
    label = tr_later("A text")
    button = tr_later("Say it")
    missing = tr_later("Type what shall be said, or add a text file.")
    refused = tr_later("This text was not said")
    job_type = "speech"

    def _lay_out(self) -> None:
        self.field = gr.Textbox(
            label="Text to say",
            placeholder="Type what the voice shall say.",
            lines=5,
            max_lines=14,
            elem_id="convert-text",
        )
        self.note = field_note("convert-text")
        named = [(row["name"], row["language"]) for row in languages()]
        natural = any("kokoro" in row["synthesisers"] for row in languages())
        with gr.Row():
            self.language = gr.Dropdown(
                named,
                value=None,
                label="Language",
                info=SOME_NATURAL if natural else ALL_PLAIN,
                elem_id="convert-language",
            )
            self.speed = gr.Slider(0.5, 2.0, value=1.0, step=0.05, label="Speed", elem_id="convert-speed")
        with gr.Accordion("A text file, one sound file for each line", open=False):
            self.lines = gr.File(label="Text file (.txt)", height=180, elem_id="convert-lines")

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.field, self.language, self.speed, self.lines]

    def wire(self, page: gr.Blocks) -> None:
        page.load(self.offer, self.language, self.language, **QUIET)

    def listen(self) -> None:
        for given in (self.field, self.lines):
            given.change(lambda: "", None, self.note, queue=False, **QUIET)

    def offer(self, chosen: str | None, request: gr.Request) -> Answer:
        """Call the languages what the visitor calls them, and choose the visitor's own at first."""
        with as_gr_error():
            self._services.caller(request)
        names = [(language_name(row["language"]), row["language"], row["name"]) for row in languages()]
        choices = [(name if name != tag else english, tag) for name, tag, english in names]
        choices.sort(key=lambda choice: choice[0].casefold())
        return {self.language: gr.Dropdown(choices=choices, value=chosen or _offered(LANGUAGE.get()))}

    def given(self, values: Answer) -> bool:
        return bool(str(values[self.field] or "").strip() or values[self.lines])

    def submit(self, caller: Caller, values: Answer, settings: Row, voice: str) -> Row:
        settings |= {"speed": values[self.speed]}
        if values[self.language]:
            settings |= {"language": values[self.language]}
        lines, text = uploaded_files(values[self.lines]), str(values[self.field] or "")
        if lines and text.strip():
            raise TextError("A text and a text file are given; remove one of them.")
        if lines:
            return self._services.send_and_submit(caller, lines, "lines", settings, model_id=voice)
        return self._services.say(caller, text, settings, voice)

    def put(self, caller: Caller, row: Row) -> Answer:
        text, settings = self._services.jobs.files.input_path(caller, row["id"]), row["settings"]
        return {
            self.field: text.read_text(encoding="utf-8"),
            self.language: _offered(settings.get("language", SpeechOptions.language)),
            self.speed: float(settings.get("speed", SpeechOptions.speed)),
            self.lines: None,
        }


def _offered(language: str) -> str | None:
    """Return as which of those that are offered a language is spoken; None if it is not."""
    with suppress(RvcError):
        return next(iter(speakers(SpeechOptions(language=language)).values()))
    return None


SOURCES: tuple[type[Source], ...] = (OneRecording, ManyRecordings, ASong, TextSource)


class SourceChoice:
    """The choice of what to convert, and the fields of what was chosen."""

    def __init__(self, services: Services) -> None:
        labels = [source.label for source in SOURCES]
        self.kind = gr.Radio(
            labels, value=labels[0], label="What to convert", show_label=False, elem_id="convert-kind"
        )
        with gr.Column(elem_id="convert-recording"):  # keeps the room of what loads late
            self._of_kind = {source.label: source(services, shown=source is SOURCES[0]) for source in SOURCES}
        self.button = gr.Button("Convert", variant="primary", size="lg", elem_id="convert", render=False)
        all_sources = self._of_kind.values()
        self.notes = [source.note for source in all_sources]
        self.inputs = [self.kind, *(part for source in all_sources for part in source.inputs)]
        self.shown = [self.button, *self.notes, *(source.column for source in all_sources)]

    def listen(self) -> None:
        self.kind.input(self.show, self.kind, self.shown, queue=False, **QUIET)
        for source in self._of_kind.values():
            source.listen()

    def wire(self, page: gr.Blocks) -> None:
        for source in self._of_kind.values():
            source.wire(page)

    def __getitem__(self, kind: object) -> Source:
        return self._of_kind.get(str(kind)) or self._of_kind[SOURCES[0].label]

    def show(self, kind: str) -> Answer:
        """Show the fields of the chosen kind, and nothing that was said of others."""
        chosen = self[kind]
        columns = {source.column: gr.Column(visible=source is chosen) for source in self._of_kind.values()}
        return columns | {self.button: gr.Button(retold(chosen.button)), **dict.fromkeys(self.notes, "")}

    def put(self, caller: Caller, row: Row) -> Answer:
        """Return what sets the choice and its inputs as they were for a job."""
        of_type = (source for source in self._of_kind.values() if source.job_type == row["type"])
        source = next(of_type, self[SOURCES[0].label])
        return self.show(source.label) | source.put(caller, row) | {self.kind: source.label}
