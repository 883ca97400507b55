"""The Live tab: speak into the microphone and hear the chosen voice; the browser does it (live.js)."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ui.look.language import tr
from ui.look.voice_cards import voice_cards, voice_picker
from ui.server.services import QUIET, Answer, Services, as_gr_error
from ui.tabs.voice_list import sounds_of

LOOK = Path(__file__).parents[1] / "look"
PANEL = (LOOK / "live.html").read_text(encoding="utf-8")
LIVE_JS = (LOOK / "live.js").read_text(encoding="utf-8")
LIVE_JS = LIVE_JS.replace("{{worklet}}", (LOOK / "live_worklet.js").read_text(encoding="utf-8"))


class LiveTab:
    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.voice = voice_picker("live-voice")
            with gr.Column(scale=6, min_width=320):
                gr.HTML(PANEL, elem_id="live", padding=False)
        offered = {"fn": self.voices, "inputs": self.voice, "outputs": self.voice, **QUIET}
        self.voice.focus(**offered)

    def wire(self, page: gr.Blocks, opened: gr.Tab) -> None:
        page.load(None, js=LIVE_JS)
        page.load(self.voices, self.voice, self.voice, **QUIET)
        opened.select(self.voices, self.voice, self.voice, **QUIET)

    def voices(self, chosen: str | None, request: gr.Request) -> Answer:
        """Offer the voices that there are now; the choice stays while there is such a voice."""
        with as_gr_error():
            caller = self._services.caller(request)
            rows = self._services.library.list(caller)
            ids = [str(row["id"]) for row in rows]
            note = "" if rows else tr("No voice yet: train one in the Clone tab or import one under Voices.")
            sounds = sounds_of(self._services, caller, rows)
            cards = voice_cards(rows, sounds, title=tr("Voice"), group="live-voice-choice", note=note)
        kept = chosen if chosen in ids else next(iter(ids), "")
        return {self.voice: gr.HTML(value=kept, cards=cards)}
