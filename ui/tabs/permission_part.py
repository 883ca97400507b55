"""The permission of a voice: its spoken consent, the lock against export, and taking it back."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from pipelines.jobs.revoking import beyond_reach, revoke_consent
from pipelines.store.records import Caller, Row
from pipelines.voices.permission import consent_recording, set_lock
from ui.look.html import bullets, paragraph
from ui.look.language import retold, tr, tr_later
from ui.look.voice_cards import play_button
from ui.server.published import publish_once
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

NOT_CHECKED = tr_later(
    "It is checked for sound and length only, not for who speaks: it can be shown, and proves no more."
)
Show = Callable[[str | None, gr.Request], Answer]


class PermissionPart:
    """A folded part of a voice's card; hidden for a voice that comes with Timbre."""

    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Accordion("Permission", open=False, elem_id="voice-permission") as self.part:
            self.kept = gr.HTML(elem_id="voice-consent-kept", padding=False)
            self.speaker = gr.Textbox(
                label="Whose voice it is",
                placeholder="First name and surname",
                max_length=80,
                elem_id="voice-speaker",
            )
            self.sentence = gr.HTML(elem_id="voice-consent-sentence", padding=False)
            self.recording = gr.Audio(
                label="The sentence, read aloud by that person",
                sources=["microphone", "upload"],
                type="filepath",
                buttons=[],
                elem_id="voice-consent-recording",
            )
            self.keep = gr.Button("Keep this recording", elem_id="voice-consent-keep")
            self.locked = gr.Checkbox(
                label="Locked against export",
                info="Nobody downloads the voice here, until its owner takes the lock off. Backups hold it.",
                elem_id="voice-locked",
            )
            self.revoke = gr.Button("Take the permission back …", elem_id="voice-revoke")
        with gr.Column(visible=False, elem_classes=["tm-danger"], elem_id="revoke-question") as self.question:
            self.asked = gr.HTML(padding=False)
            with gr.Row():
                self.leave = gr.Button("Leave it", elem_id="revoke-leave")
                self.sure = gr.Button("Remove all of it for good", variant="stop", elem_id="revoke-sure")
        self.drawn = [self.part, self.kept, self.speaker, self.sentence, self.recording, self.locked]
        self.drawn += [self.question]

    def listen(self, choice: gr.HTML, show: Show, drawn: list[Any]) -> list[Any]:
        """Wire it to the list of voices; returns what may have been refused."""
        self._show_all = show
        # Not its input: what is pasted or filled in at once is none to Gradio.
        self.speaker.change(
            self.told,
            [choice, self.speaker],
            self.sentence,
            queue=False,
            trigger_mode="always_last",
            **QUIET,
        )
        self.leave.click(lambda: gr.Column(visible=False), None, self.question, queue=False, **QUIET)
        asked = self.revoke.click(self.ask, choice, [self.question, self.asked], **QUIET)
        asked.success(js="() => { window.timbre.focus('#revoke-leave'); }", **QUIET)
        return [
            asked,
            self.keep.click(
                self.record,
                [choice, self.speaker, self.recording],
                drawn,
                show_progress="minimal",
                show_progress_on=[self.keep],
                api_visibility="private",
            ),
            self.locked.input(self.lock, [choice, self.locked], drawn, **QUIET),
            self.sure.click(self.end, choice, drawn, **QUIET),
        ]

    def show(self, caller: Caller, row: Row) -> Answer:
        """Return the part as it is for a voice ({} for none), with nothing entered."""
        own = bool(row) and not row.get("builtin")
        spoken = (row.get("consent") or {}).get("spoken") if own else None
        return {
            self.part: gr.Accordion(visible=own),
            self.kept: self._kept(caller, row, spoken),
            self.speaker: (spoken or {}).get("speaker", ""),
            self.sentence: "",
            self.recording: gr.Audio(value=None),
            self.locked: bool(row.get("locked")),
            self.question: gr.Column(visible=False),
        }

    def told(self, model_id: str | None, speaker: str, request: gr.Request) -> str:
        """Return the sentence that is to be read, as soon as it is known by whom."""
        if not (speaker or "").strip():
            return ""
        with as_gr_error():
            caller, known = self._services.caller(request), validate_id(model_id, "voice")
            said = self._services.sentence_of_consent(caller, known, speaker)
        return (
            f'<div class="tm-sentence" aria-live="polite"><p class="tm-read">{escape(said)}</p></div>'
            f"{paragraph(retold(NOT_CHECKED), quiet=True)}"
        )

    def record(
        self, model_id: str | None, speaker: str, recording: str | None, request: gr.Request
    ) -> Answer:
        if not (speaker or "").strip() or not recording:
            warn_of("Say whose voice it is, and record the sentence or add a recording of it.")
            return gr.skip()
        with as_gr_error():
            caller, known = self._services.caller(request), validate_id(model_id, "voice")
            self._services.record_consent(caller, known, speaker, uploaded_files(recording))
        inform("The spoken consent is kept with the voice.")
        return self._show_all(model_id, request)

    def lock(self, model_id: str | None, locked: bool, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            row = set_lock(self._services.library, caller, validate_id(model_id, "voice"), locked)
        name = row["model_name"]
        inform(f"{name} is locked against export." if locked else f"{name} may be exported again.")
        return self._show_all(model_id, request)

    def ask(self, model_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            caller, known = self._services.caller(request), validate_id(model_id, "voice")
            row = self._services.library.changeable(caller, known)
            stays = [retold(sentence) for sentence in beyond_reach(self._services.jobs, caller, known)]
        question = tr("Take the permission for {name} back?", name=row["model_name"])
        goes = tr(
            "The voice, its exports, its training and the recordings go at once; nothing brings them back."
        )
        told = f"<p><strong>{escape(question)}</strong> {escape(goes)}</p>"
        told += paragraph(tr("What it does not reach:")) + bullets(stays)
        return {self.question: gr.Column(visible=True), self.asked: told}

    def end(self, model_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
            gone = revoke_consent(self._services.jobs, caller, validate_id(model_id, "voice"))
        inform(f"{gone['model_name']} is gone for good, with its training and recordings.")
        return self._show_all(None, request)

    def _kept(self, caller: Caller, row: Row, spoken: Row | None) -> str:
        if spoken is None:
            return paragraph(tr("No spoken consent is kept with this voice."), quiet=True)
        with as_gr_error():
            path = consent_recording(self._services.library, caller, row["id"])
        sound = publish_once(path, "consent")
        hear = play_button(sound, tr("Hear the spoken consent"), text=tr("Hear the spoken consent"))
        return f"<p>{hear}</p>{paragraph(spoken['sentence'], quiet=True)}"
