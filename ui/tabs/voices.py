"""The Voices tab: what voices there are, and renaming, exporting, importing and deleting them.

Deleting asks first: the button only opens a question, and the question's own button deletes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.look.html import NO_VOICES, voice_card
from ui.server.services import Services, Update, plain_errors, plain_id, received, remind
from ui.tabs.account import account_part
from ui.tabs.convert import voice_choices

FORMS = [("Timbre (one .zip)", "bundle"), ("RVC programs (.pth and .index in a .zip)", "rvc")]
"""What a voice of RVC's engine can be exported for; others can be exported for Timbre alone."""

START_DOWNLOAD = """() => {
  let tries = 0;
  const press = () => {
    const button = document.querySelector('#voice-download');
    if (button) button.click();
    else if (++tries < 50) setTimeout(press, 100);
  };
  setTimeout(press, 100);
}"""
"""Starts the download as soon as its button is there; where a browser forbids that, it can be pressed."""


@dataclass(frozen=True, kw_only=True)
class VoicesTab:
    """Components that this tab's listeners, and other tabs, refer to."""

    choice: gr.Radio
    details: gr.HTML
    use: gr.Button
    actions: gr.Column
    name: gr.Textbox
    rename: gr.Button
    form: gr.Radio
    export: gr.Button
    download: gr.DownloadButton
    delete: gr.Button
    question: gr.Column
    asked: gr.Markdown
    sure: gr.Button
    keep: gr.Button
    bundle: gr.File
    bundle_name: gr.Textbox
    take_in: gr.Button

    @property
    def drawn(self) -> list[Any]:
        """Components that show a chosen voice, in the order in which `_Listeners` returns their values."""
        return [
            self.choice,
            self.details,
            self.use,
            self.form,
            self.export,
            self.download,
            self.actions,
            self.name,
            self.question,
        ]


def voices_tab(services: Services) -> VoicesTab:
    """Lay out the tab and wire what stays within it."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            choice = gr.Radio(
                label="Voices", choices=[], visible=False, elem_id="voices", elem_classes=["tm-list"]
            )
            parts = _taking_in()
            account_part(services)
        with gr.Column(scale=6, min_width=320):
            details = gr.HTML(NO_VOICES, elem_id="voice-details", padding=False)
            use = gr.Button("Convert with this voice", variant="primary", visible=False, elem_id="voice-use")
            form = gr.Radio(FORMS, value="bundle", label="Export for", visible=False, elem_id="voice-form")
            export = gr.Button("Export as a file", visible=False, elem_id="voice-export")
            download = gr.DownloadButton("Download the file", visible=False, elem_id="voice-download")
            with gr.Column(visible=False) as actions:
                name = gr.Textbox(label="Another name", max_length=80, elem_id="voice-name")
                with gr.Row():
                    rename = gr.Button("Rename", elem_id="voice-rename")
                    delete = gr.Button("Delete …", elem_id="voice-delete")
            with gr.Column(visible=False, elem_classes=["tm-danger"], elem_id="voice-question") as question:
                asked = gr.Markdown()
                with gr.Row():
                    keep = gr.Button("Keep it", elem_id="voice-keep")
                    sure = gr.Button("Delete for good", variant="stop", elem_id="voice-sure")
    tab = VoicesTab(
        choice=choice,
        details=details,
        use=use,
        form=form,
        actions=actions,
        name=name,
        rename=rename,
        export=export,
        download=download,
        delete=delete,
        question=question,
        asked=asked,
        sure=sure,
        keep=keep,
        **parts,
    )
    _wire(tab, _Listeners(services))
    return tab


def _taking_in() -> dict[str, Any]:
    with gr.Accordion("Import a voice", open=False, elem_id="voice-import"):
        gr.Markdown(
            "A voice that Timbre exported (one .zip), or one of another RVC program: the .pth, and its "
            "added_….index if you have it."
        )
        bundle = gr.File(label="Files of one voice (.zip, .pth, .index)", file_count="multiple", height=180)
        bundle_name = gr.Textbox(label="Name", placeholder="As in the file", max_length=80)
        take_in = gr.Button("Import", variant="primary")
    return {"bundle": bundle, "bundle_name": bundle_name, "take_in": take_in}


def _wire(tab: VoicesTab, listeners: _Listeners) -> None:
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    busy: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
    tab.choice.input(listeners.show, tab.choice, tab.drawn, **quiet)
    tab.rename.click(listeners.rename, [tab.choice, tab.name], tab.drawn, **quiet)
    tab.name.submit(listeners.rename, [tab.choice, tab.name], tab.drawn, **quiet)
    tab.export.click(
        listeners.export,
        [tab.choice, tab.form],
        [tab.export, tab.download],
        show_progress_on=[tab.export],
        **busy,
    ).success(None, None, None, js=START_DOWNLOAD, api_visibility="private")
    tab.form.input(
        lambda: (gr.Button(visible=True), gr.DownloadButton(visible=False, value=None)),
        None,
        [tab.export, tab.download],
        queue=False,
        **quiet,
    )
    tab.delete.click(listeners.ask, tab.choice, [tab.question, tab.asked], **quiet)
    tab.keep.click(lambda: gr.Column(visible=False), None, tab.question, queue=False, **quiet)
    tab.sure.click(listeners.delete, tab.choice, tab.drawn, **quiet)
    tab.take_in.click(
        listeners.take_in,
        [tab.bundle, tab.bundle_name],
        [*tab.drawn, tab.bundle, tab.bundle_name],
        show_progress_on=[tab.take_in],
        **busy,
    )


def wire_refresh(trigger: Update, tab: VoicesTab, services: Services) -> None:
    """Read the voices anew at an event, such as the opening of the tab."""
    trigger(
        _Listeners(services).show, tab.choice, tab.drawn, api_visibility="private", show_progress="hidden"
    )


class _Listeners:
    """What happens at each event; every one checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def show(self, chosen: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Show a voice; the first one when the chosen one is gone."""
        with plain_errors():
            choices = voice_choices(self._services, request)
            ids = [model_id for _, model_id in choices]
            if not ids:
                return (
                    gr.Radio(choices=[], value=None, visible=False),
                    NO_VOICES,
                    gr.Button(visible=False),
                    gr.Radio(visible=False),
                    gr.Button(visible=False),
                    gr.DownloadButton(visible=False),
                    gr.Column(visible=False),
                    "",
                    gr.Column(visible=False),
                )
            current = chosen if chosen in ids else ids[0]
            row = self._services.library.get(self._services.caller(request), current)
        return (
            gr.Radio(choices=choices, value=current, visible=True),
            voice_card(row),
            gr.Button(visible=True),
            gr.Radio(visible=row["engine"] == "rvc", value="bundle"),
            gr.Button(visible=True),
            gr.DownloadButton(visible=False, value=None),
            gr.Column(visible=not row.get("builtin")),
            row["model_name"],
            gr.Column(visible=False),
        )

    def rename(self, model_id: str | None, name: str, request: gr.Request) -> tuple[Any, ...]:
        """Give the voice another name."""
        with plain_errors():
            caller = self._services.caller(request)
            row = self._services.library.rename(caller, plain_id(model_id, "voice"), name)
        gr.Info(f"The voice is called {row['model_name']} now.")
        return self.show(model_id, request)

    def export(self, model_id: str | None, form: str, request: gr.Request) -> tuple[Update, Update]:
        """Pack the voice and put the file where the browser fetches it."""
        with plain_errors():
            caller = self._services.caller(request)
            path = self._services.export(caller, plain_id(model_id, "voice"), form)
        return gr.Button(visible=False), gr.DownloadButton(value=path, visible=True)

    def ask(self, model_id: str | None, request: gr.Request) -> tuple[Any, str]:
        """Ask whether the voice shall really be deleted."""
        with plain_errors():
            caller = self._services.caller(request)
            row = self._services.library.get(caller, plain_id(model_id, "voice"))
        return gr.Column(visible=True), (
            f"**Delete {row['model_name']} for good?** The voice cannot be brought back; export it first "
            "if you may want it again. Recordings that were converted with it stay."
        )

    def delete(self, model_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Delete the voice, after the question."""
        with plain_errors():
            caller = self._services.caller(request)
            row = self._services.library.get(caller, plain_id(model_id, "voice"))
            self._services.library.delete(caller, row["id"])
        gr.Info(f"{row['model_name']} is deleted.")
        return self.show(None, request)

    def take_in(self, bundle: list[str] | None, name: str, request: gr.Request) -> tuple[Any, ...]:
        """Import a voice."""
        if not bundle:
            remind("Add the files of a voice.")
            return (gr.skip(),) * 11
        with plain_errors():
            row = self._services.take_in(self._services.caller(request), received(bundle), name)
        gr.Info(f"{row['model_name']} is one of your voices now.")
        return *self.show(row["id"], request), None, ""
