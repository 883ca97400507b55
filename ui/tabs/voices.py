"""The Voices tab: what voices there are, and renaming, exporting, importing and deleting them.

Deleting asks first: the button only opens a question, and the question's own button deletes.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.look.html import NO_VOICES, choice_list, hidden_button, voice_card
from ui.server.services import QUIET, Answer, Services, as_gr_error, uploaded_files, validate_id, warn_of
from ui.tabs.account import AccountPart
from ui.tabs.convert import voice_choices

# What a voice of RVC's engine can be exported for; others can be exported for Timbre alone.
FORMS = [("Timbre (one .zip)", "bundle"), ("RVC programs (.pth and .index in a .zip)", "rvc")]
BUSY: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}

# Starts the download as soon as its button is there; where a browser forbids that, it can be pressed.
START_DOWNLOAD = """() => {
  let tries = 0;
  const press = () => {
    const button = document.querySelector('#voice-download');
    if (button) button.click();
    else if (++tries < 50) setTimeout(press, 100);
  };
  setTimeout(press, 100);
}"""


class VoicesTab:
    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=280):
                self.choice = choice_list("Voices", "voices")
                self._lay_out_import()
                AccountPart(services)
            with gr.Column(scale=6, min_width=320):
                self._lay_out_details()
        self._listen()

    def _lay_out_import(self) -> None:
        with gr.Accordion("Import a voice", open=False, elem_id="voice-import"):
            gr.Markdown(
                "A voice that Timbre exported (one .zip), or one of another RVC program: the .pth, and its "
                "added_….index if you have it."
            )
            self.bundle = gr.File(
                label="Files of one voice (.zip, .pth, .index)", file_count="multiple", height=180
            )
            self.bundle_name = gr.Textbox(label="Name", placeholder="As in the file", max_length=80)
            self.import_button = gr.Button("Import", variant="primary")

    def _lay_out_details(self) -> None:
        self.details = gr.HTML(NO_VOICES, elem_id="voice-details", padding=False)
        self.use = hidden_button("Convert with this voice", "voice-use", variant="primary")
        self.form = gr.Radio(FORMS, value="bundle", label="Export for", visible=False, elem_id="voice-form")
        self.export_button = hidden_button("Export as a file", "voice-export")
        self.download = gr.DownloadButton("Download the file", visible=False, elem_id="voice-download")
        with gr.Column(visible=False) as self.actions:
            self.name = gr.Textbox(label="Another name", max_length=80, elem_id="voice-name")
            with gr.Row():
                self.rename_button = gr.Button("Rename", elem_id="voice-rename")
                self.delete_button = gr.Button("Delete …", elem_id="voice-delete")
        with gr.Column(visible=False, elem_classes=["tm-danger"], elem_id="voice-question") as self.question:
            self.asked = gr.Markdown()
            with gr.Row():
                self.keep_button = gr.Button("Keep it", elem_id="voice-keep")
                self.sure_button = gr.Button("Delete for good", variant="stop", elem_id="voice-sure")

    def _listen(self) -> None:
        exported = [self.export_button, self.download]
        actions = [self.actions, self.name, self.question]
        self.drawn = [self.choice, self.details, self.use, self.form, *exported, *actions]
        self.choice.input(self.show, self.choice, self.drawn, **QUIET)
        for renamed in (self.rename_button.click, self.name.submit):
            renamed(self.rename, [self.choice, self.name], self.drawn, **QUIET)
        self.export_button.click(
            self.export, [self.choice, self.form], exported, show_progress_on=[self.export_button], **BUSY
        ).success(None, None, None, js=START_DOWNLOAD, api_visibility="private")
        self.form.input(
            lambda: {
                self.export_button: gr.Button(visible=True),
                self.download: gr.DownloadButton(visible=False, value=None),
            },
            None,
            exported,
            queue=False,
            **QUIET,
        )
        self.delete_button.click(self.ask, self.choice, [self.question, self.asked], **QUIET)
        self.keep_button.click(lambda: gr.Column(visible=False), None, self.question, queue=False, **QUIET)
        self.sure_button.click(self.delete, self.choice, self.drawn, **QUIET)
        self.import_button.click(
            self.import_voice,
            [self.bundle, self.bundle_name],
            [*self.drawn, self.bundle, self.bundle_name],
            show_progress_on=[self.import_button],
            **BUSY,
        )

    def wire(self, opened: gr.Tab) -> None:
        opened.select(self.show, self.choice, self.drawn, **QUIET)

    def show(self, chosen: str | None, request: gr.Request) -> Answer:
        """Show a voice; the first one when the chosen one is gone."""
        with as_gr_error():
            choices = voice_choices(self._services, request)
            ids = [model_id for _, model_id in choices]
            chosen = chosen if chosen in ids else next(iter(ids), None)
            row = self._services.library.get(self._services.caller(request), chosen) if chosen else {}
        return {
            self.choice: gr.Radio(choices=choices, value=chosen, visible=bool(row)),
            self.details: voice_card(row) if row else NO_VOICES,
            self.use: gr.Button(visible=bool(row)),
            self.form: gr.Radio(visible=row.get("engine") == "rvc", value="bundle"),
            self.export_button: gr.Button(visible=bool(row)),
            self.download: gr.DownloadButton(visible=False, value=None),
            self.actions: gr.Column(visible=bool(row) and not row.get("builtin")),
            self.name: row.get("model_name", ""),
            self.question: gr.Column(visible=False),
        }

    def rename(self, model_id: str | None, name: str, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.library.rename(caller, validate_id(model_id, "voice"), name)
        gr.Info(f"The voice is called {row['model_name']} now.")
        return self.show(model_id, request)

    def export(self, model_id: str | None, form: str, request: gr.Request) -> Answer:
        """Pack the voice and put the file where the browser fetches it."""
        with as_gr_error():
            caller = self._services.caller(request)
            path = self._services.export(caller, validate_id(model_id, "voice"), form)
        return {
            self.export_button: gr.Button(visible=False),
            self.download: gr.DownloadButton(value=path, visible=True),
        }

    def ask(self, model_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.library.get(caller, validate_id(model_id, "voice"))
        asked = (
            f"**Delete {row['model_name']} for good?** The voice cannot be brought back; export it first "
            "if you may want it again. Recordings that were converted with it stay."
        )
        return {self.question: gr.Column(visible=True), self.asked: asked}

    def delete(self, model_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.library.get(caller, validate_id(model_id, "voice"))
            self._services.library.delete(caller, row["id"])
        gr.Info(f"{row['model_name']} is deleted.")
        return self.show(None, request)

    def import_voice(self, bundle: list[str] | None, name: str, request: gr.Request) -> Answer:
        if not bundle:
            warn_of("Add the files of a voice.")
            return gr.skip()
        with as_gr_error():
            row = self._services.import_voice(self._services.caller(request), uploaded_files(bundle), name)
        gr.Info(f"{row['model_name']} is one of your voices now.")
        return self.show(row["id"], request) | {self.bundle: None, self.bundle_name: ""}
