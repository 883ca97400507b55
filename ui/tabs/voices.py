"""The Voices tab: what voices there are; their way in and out, names and pitch; deleting and undoing it.

Deleting asks first, naming the jobs that use the voice: the button only opens a question, and the question's
own button deletes. A list that a page shows may be old: of what was chosen and is gone it is said that it is.
"""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from rvc.errors import UnknownNameError
from ui.look.html import NO_VOICES, hidden_button, voice_card
from ui.look.language import retold, tr, translated_html
from ui.look.voice_cards import voice_cards, voice_picker
from ui.server.services import (
    QUIET,
    Answer,
    Services,
    as_gr_error,
    inform,
    uploaded_files,
    validate_id,
    warn_of,
)
from ui.tabs.blend_part import BlendPart
from ui.tabs.permission_part import PermissionPart
from ui.tabs.voice_list import sounds_of
from ui.tabs.voice_parts import PitchPart, TrashPart

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
                self.choice = voice_picker("voices")
                self._lay_out_import()
                self.trash = TrashPart(
                    "Deleted voices",
                    "voice",
                    lambda caller: services.library.list(caller, deleted=True),
                    lambda row: str(row["model_name"]),
                )
            with gr.Column(scale=6, min_width=320):
                self._lay_out_details()
        self._listen()

    def _lay_out_import(self) -> None:
        with gr.Accordion("Import a voice", open=False, elem_id="voice-import"):
            gr.Markdown(
                "A voice that Timbre exported (one .zip), or one of another RVC program: the .pth, and its "
                "added_….index if you have it, or the .zip that holds them."
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
        self.blend = BlendPart(self._services, self.choice)
        with gr.Column(visible=False) as self.actions:
            self.pitch = PitchPart(self._services)
            self.permission = PermissionPart(self._services)
            self.name = gr.Textbox(label="Another name", max_length=80, elem_id="voice-name")
            with gr.Row():
                self.rename_button = gr.Button("Rename", elem_id="voice-rename")
                self.delete_button = gr.Button("Delete …", elem_id="voice-delete")
        self.told = gr.State("")  # which jobs use the voice, as the question said
        with gr.Column(visible=False, elem_classes=["tm-danger"], elem_id="voice-question") as self.question:
            self.asked = gr.HTML(padding=False)
            with gr.Row():
                self.keep_button = gr.Button("Keep it", elem_id="voice-keep")
                self.sure_button = gr.Button("Delete", variant="stop", elem_id="voice-sure")

    def _listen(self) -> None:
        exported = [self.export_button, self.download]
        actions = [self.actions, self.name, self.question, *self.pitch.drawn, *self.trash.drawn]
        actions += [*self.blend.drawn, *self.permission.drawn]
        self.drawn = [self.choice, self.details, self.use, self.form, *exported, *actions]
        self.choice.input(self.show, self.choice, self.drawn, **QUIET)
        export = self.export_button.click(
            self.export, [self.choice, self.form], exported, show_progress_on=[self.export_button], **BUSY
        )
        export.success(None, None, None, js=START_DOWNLOAD, api_visibility="private")
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
        question = [self.question, self.asked, self.told]
        self.keep_button.click(lambda: gr.Column(visible=False), None, self.question, queue=False, **QUIET)
        pitch, trash = self.pitch, self.trash
        pitch.how.input(pitch.suited, pitch.how, pitch.inputs[1:], queue=False, **QUIET)
        named = [self.choice, self.name]
        asked = self.delete_button.click(self.ask, self.choice, question, **QUIET)
        asked.success(js="() => { window.timbre.focus('#voice-keep'); }", **QUIET)
        acts = [
            export,
            self.rename_button.click(self.rename, named, self.drawn, **QUIET),
            self.name.submit(self.rename, named, self.drawn, **QUIET),
            asked,
            self.sure_button.click(self.delete, [self.choice, self.told], self.drawn, **QUIET),
            trash.undo_button.click(self.restore, trash.choice, self.drawn, **QUIET),
            trash.purge_button.click(self.purge, [trash.choice, self.choice], self.drawn, **QUIET),
            pitch.button.click(
                self.set_pitch,
                [self.choice, *pitch.inputs],
                self.drawn,
                show_progress_on=[pitch.button],
                **BUSY,
            ),
            self.blend.button.click(
                self.make_blend,
                self.blend.inputs,
                self.drawn,
                show_progress_on=[self.blend.button],
                **BUSY,
            ),
        ]
        acts += self.permission.listen(self.choice, self.show, self.drawn)
        for act in acts:  # what was refused may have been gone: the lists heal themselves
            act.failure(self.heal, self.choice, self.drawn, **QUIET)
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
        """Show a voice; the first one when the chosen one is gone, which is said."""
        with as_gr_error():
            caller = self._services.caller(request)
            rows = self._services.library.list(caller)
            ids = [row["id"] for row in rows]
            if chosen and chosen not in ids:
                inform(
                    "The voice that was chosen is gone; this is another one."
                    if ids
                    else "The voice that was chosen is gone."
                )
            chosen = chosen if chosen in ids else next(iter(ids), None)
            row = self._services.library.get(caller, chosen) if chosen else {}
            trash = self.trash.show(caller)
            sounds = sounds_of(self._services, caller, rows)
            cards = voice_cards(rows, sounds, title=tr("Voices"), group="voices-choice")
        return {
            self.choice: gr.HTML(value=chosen or "", cards=cards, visible=bool(row)),
            self.details: voice_card(row) if row else translated_html(NO_VOICES),
            self.use: gr.Button(visible=bool(row)),
            self.form: gr.Radio(visible=row.get("engine") == "rvc", value="bundle"),
            self.export_button: gr.Button(visible=bool(row) and not row.get("locked")),
            self.download: gr.DownloadButton(visible=False, value=None),
            self.actions: gr.Column(visible=bool(row) and not row.get("builtin")),
            self.name: row.get("model_name", ""),
            self.question: gr.Column(visible=False),
            **self.pitch.show(row),
            **self.permission.show(caller, row),
            **self.blend.show(row, rows),
            **trash,
        }

    def heal(self, chosen: str | None, request: gr.Request) -> Answer:
        """Draw everything again if the chosen voice is gone, else the trash; a question is asked anew."""
        with as_gr_error():
            caller = self._services.caller(request)
            there = chosen in [row["id"] for row in self._services.library.list(caller)]
            trash = self.trash.show(caller)
        return trash | {self.question: gr.Column(visible=False)} if there else self.show(None, request)

    def rename(self, model_id: str | None, name: str, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.library.rename(caller, validate_id(model_id, "voice"), name)
        inform(f"The voice is called {row['model_name']} now.")
        return self.show(model_id, request)

    def set_pitch(
        self,
        model_id: str | None,
        how: str | None,
        median: float | None,
        recording: str | None,
        request: gr.Request,
    ) -> Answer:
        with as_gr_error():
            caller, known_id = self._services.caller(request), validate_id(model_id, "voice")
            row = self.pitch.apply(caller, known_id, how, median, recording)
        if row is None:
            return gr.skip()
        hz, name = row["f0"]["median_hz"], row["model_name"]
        inform(f"Automatic pitch moves recordings for {name} to {hz:.0f} Hz now.")
        return self.show(model_id, request)

    def make_blend(self, values: Answer, request: gr.Request) -> Answer:
        with as_gr_error():
            row = self.blend.apply(values, self._services.caller(request))
        if row is None:
            return gr.skip()
        inform(f"{row['model_name']} is one of your voices now.")
        return self.show(row["id"], request)

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
        use = self._services.jobs.use_of(row["id"])
        told = tr("It is in use by {use}, which will fail.", use=retold(use)) if use else ""
        kept = tr(
            "For a day it can be brought back, under Deleted voices, and takes its room. Recordings that "
            "were converted with it stay."
        )
        question = escape(tr("Delete {name}?", name=row["model_name"]))
        asked = f"<p><strong>{question} {escape(told)}</strong> {escape(kept)}</p>"
        return {self.question: gr.Column(visible=True), self.asked: asked, self.told: use}

    def delete(self, model_id: str | None, told: str, request: gr.Request) -> Answer:
        """Delete a voice; of jobs that use it only those fail that the question told of."""
        with as_gr_error():
            caller, known_id = self._services.caller(request), validate_id(model_id, "voice")
            row = self._services.jobs.delete_voice(caller, known_id, force=bool(told))
        inform(f"{row['model_name']} is deleted; Undo brings it back. It keeps its room for a day.")
        return self.show(None, request)

    def restore(self, model_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.jobs.restore_voice(caller, validate_id(model_id, "voice"))
        inform(f"{row['model_name']} is one of your voices again.")
        return self.show(row["id"], request)

    def purge(self, model_id: str | None, chosen: str | None, request: gr.Request) -> Answer:
        """Remove a voice of the trash for good; the chosen one stays."""
        with as_gr_error():
            caller, known_id = self._services.caller(request), validate_id(model_id, "voice")
            if known_id not in [row["id"] for row in self._services.library.list(caller, deleted=True)]:
                raise UnknownNameError("This voice is not among the deleted ones; look at the list again.")
            row = self._services.jobs.delete_voice(caller, known_id, force=True, purge=True)
        inform(f"{row['model_name']} is gone for good.")
        return self.show(chosen, request)

    def import_voice(self, bundle: list[str] | None, name: str, request: gr.Request) -> Answer:
        if not bundle:
            warn_of("Add the files of a voice.")
            return gr.skip()
        with as_gr_error():
            row = self._services.import_voice(self._services.caller(request), uploaded_files(bundle), name)
        inform(f"{row['model_name']} is one of your voices now.")
        return self.show(row["id"], request) | {self.bundle: None, self.bundle_name: ""}
