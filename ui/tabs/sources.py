"""What can be converted: each kind of source with its fields, and the job that comes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import gradio as gr

from pipelines.recordings.sources import faults
from pipelines.store.records import Caller, Row
from ui.look.fields import field_note, said
from ui.look.html import waveform
from ui.look.language import retold, tr_later
from ui.server.published import publish_file
from ui.server.services import EXAMPLES, QUIET, Answer, Services, as_gr_error, uploaded_files
from ui.tabs.conversion_view import names_of

EXAMPLE = EXAMPLES / "recordings" / "visitor.flac"
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
        return said(" ".join(row["reason"] for row in wrong[:MOST_FAULTS]))

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


SOURCES: tuple[type[Source], ...] = (OneRecording, ManyRecordings)


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
