"""Where a voice lies, and the trash, from which a deleted voice or job comes back."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from pipelines.store.records import Caller, Row, Rows
from pipelines.voices.pitch import MEDIANS_HZ
from rvc.engine.options import LITE
from ui.look.html import choice_list
from ui.look.language import tr
from ui.look.wording import ago, seconds_until, time_left
from ui.server.services import Answer, Services, uploaded_files, warn_of

NUMBER, RECORDING = "number", "recording"
WORDS = {"low": "Low, as most men", "middle": "Between", "high": "High, as most women"}
PITCHES = [
    *((f"{said} ({MEDIANS_HZ[word]:g} Hz)", word) for word, said in WORDS.items()),
    ("In Hz", NUMBER),
    ("By a recording of it", RECORDING),
]


class PitchPart:
    """A folded part that asks where a voice lies; hidden for a voice that follows no melody."""

    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Accordion("Pitch of this voice", open=False, elem_id="voice-pitch") as self.part:
            gr.Markdown("Automatic pitch moves recordings to where the voice usually speaks.")
            self.how = gr.Radio(PITCHES, value=None, label="It lies", elem_id="voice-pitch-how")
            self.median = gr.Number(label="Middle of its pitch, in Hz", visible=False, elem_id="voice-median")
            self.recording = gr.Audio(
                label="A recording of the voice, speaking",
                sources=["upload", "microphone"],
                type="filepath",
                buttons=[],
                visible=False,
                elem_id="voice-pitch-recording",
            )
            self.button = gr.Button("Set the pitch", elem_id="voice-pitch-set")
        self.inputs = [self.how, self.median, self.recording]
        self.drawn = [self.part, *self.inputs]

    def suited(self, how: str | None) -> Answer:
        return {
            self.median: gr.Number(visible=how == NUMBER),
            self.recording: gr.Audio(visible=how == RECORDING),
        }

    def show(self, row: Row) -> Answer:
        """Return the part as it is for a voice ({} for none), with nothing entered."""
        return {
            self.part: gr.Accordion(visible=bool(row) and pitch_can_be_set(row)),
            self.how: None,
            self.median: gr.Number(value=None, visible=False),
            self.recording: gr.Audio(value=None, visible=False),
        }

    def apply(
        self, caller: Caller, model_id: str, how: str | None, median: float | None, recording: str | None
    ) -> Row | None:
        """Set the pitch of a voice and return its row; None if something is missing yet, which is said."""
        given = {NUMBER: median, RECORDING: recording}.get(how or "", how)
        if not given:
            warn_of("Say where the voice lies: choose one, and add the number or the recording.")
            return None
        if how == RECORDING:
            return self._services.set_voice_pitch(caller, model_id, None, uploaded_files(recording))
        return self._services.set_voice_pitch(caller, model_id, given, [])


def pitch_can_be_set(row: Row) -> bool:
    """Whether a voice follows a melody, and was not told where it lies by its own recordings."""
    return row.get("uses_f0") is not False and not (row["engine"] == LITE and row["f0"])


class TrashPart:
    """What was deleted within a day, and comes back from here; hidden while there is nothing.

    `deleted` gives a caller's rows, `title` what is said of one, `what` begins the ids of the components.
    """

    def __init__(
        self, label: str, what: str, deleted: Callable[[Caller], Rows], title: Callable[[Row], str]
    ) -> None:
        self._deleted, self._title = deleted, title
        with gr.Column(visible=False, elem_id=f"{what}-trash") as self.part:
            self.choice = choice_list(label, f"deleted-{what}s")
            with gr.Row():
                self.undo_button = gr.Button("Undo", elem_id=f"{what}-undo")
                self.purge_button = gr.Button("Delete for good now", variant="stop", elem_id=f"{what}-purge")
        self.drawn = [self.part, self.choice]

    def show(self, caller: Caller) -> Answer:
        rows = self._deleted(caller)
        choices = [(_line_of(row, self._title(row)), row["id"]) for row in rows]
        first = choices[0][1] if choices else None
        return {
            self.part: gr.Column(visible=bool(rows)),
            self.choice: gr.Radio(choices=choices, value=first, visible=bool(rows)),
        }


def _line_of(row: Row, title: str) -> str:
    left = time_left(seconds_until(row["purge_at"])) or tr("about to go")
    return f"{title} · {tr('deleted {when}', when=ago(row['deleted_at']))} · {left}"
