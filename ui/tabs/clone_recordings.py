"""The first step of the Clone tab: where the recordings come from, and how many minutes they are."""

from __future__ import annotations

import gradio as gr

from ui.look.clone_parts import how_to_record, minutes_meter
from ui.tabs.guided_reading import GuidedReading


class RecordingsStep:
    def __init__(self) -> None:
        gr.HTML("<h2>Recordings of the voice</h2>", padding=False)
        self.meter = gr.HTML(minutes_meter(0.0), elem_id="clone-meter", padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self.kept = gr.HTML(elem_id="clone-kept", elem_classes=["tm-note"], padding=False)
                self.files = gr.File(
                    label="Audio files, or .zip files of them",
                    file_count="multiple",
                    height=200,
                    elem_id="clone-files",
                )
                self.example = gr.Button("Use the example recordings", elem_id="clone-example")
                with gr.Accordion("Record with the microphone: read a few sentences", open=False):
                    self.reading = GuidedReading()
            with gr.Column(scale=5, min_width=320):
                self.advice = gr.HTML(how_to_record(), padding=False)
        self.of_files = [self.meter, self.kept, self.example]  # what changes with the list
