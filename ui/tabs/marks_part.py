"""'Is this synthetic?', folded below the tabs: what marks a recording has, and what they prove."""

from __future__ import annotations

import gradio as gr

from ui.look.marks_found import marks_card
from ui.server.services import QUIET, Answer, Services, as_gr_error, uploaded_files, warn_of


class MarksPart:
    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Accordion("Is this synthetic?", open=False, elem_id="marks"):
            gr.Markdown(
                "Add any recording: Timbre looks for its own watermark, a signed C2PA manifest, and tags "
                "that speak of synthetic sound. Nothing of it is kept."
            )
            self.file = gr.File(label="A recording", height=120, elem_id="marks-file")
            self.button = gr.Button("Look for marks", elem_id="marks-look")
            self.found = gr.HTML(elem_id="marks-found", padding=False)
        self.button.click(
            self.look,
            self.file,
            self.found,
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=[self.button],
        )
        self.file.clear(lambda: "", None, self.found, queue=False, **QUIET)

    def look(self, file: str | None, request: gr.Request) -> Answer:
        if not file:
            warn_of("Add a recording.")
            return gr.skip()
        with as_gr_error():
            caller = self._services.caller(request)
            found = self._services.is_synthetic(caller, uploaded_files(file))
        return {self.found: marks_card(found)}
