"""Presets of one's own on the Convert tab: saved under a name, for oneself or with the voice, and deleted."""

from __future__ import annotations

import gradio as gr

from pipelines.store.records import Caller, Row
from rvc.errors import ConfigError
from ui.look.language import tr
from ui.server.services import Answer, Services, as_gr_error, inform, validate_id
from ui.tabs.conversion_settings import SEMITONES, ConversionSettings, chosen_preset, preset_choices

MINE, OF_VOICE = "mine", "voice"


class PresetPart:
    def __init__(self, services: Services, settings: ConversionSettings) -> None:
        self._services = services
        self._settings = settings
        with gr.Accordion("Save as preset", open=False, elem_id="convert-presets"):
            self.name = gr.Textbox(label="Name of the preset", max_length=80, elem_id="preset-name")
            self.kept = gr.Radio(
                [("For me, with every voice", MINE), ("With this voice, also when it is exported", OF_VOICE)],
                value=MINE,
                label="Keep it",
            )
            with gr.Row():
                self.save_button = gr.Button("Save these settings", elem_id="preset-save")
                self.delete_button = gr.Button("Delete the chosen preset", elem_id="preset-delete")

    def offered(self, caller: Caller, model_id: str | None, **chosen: str | None) -> gr.Radio:
        """Return the radio's update with the presets that there are now; `value=` chooses one, or none."""
        return gr.Radio(choices=preset_choices(self._services.presets.list(caller, model_id)), **chosen)

    def choose(self, chosen: str | None, model_id: str | None, request: gr.Request) -> Answer:
        """Set the components to a preset; of ours only the pitch."""
        with as_gr_error():
            caller = self._services.caller(request)
            row: Row = self._services.library.get(caller, model_id) if model_id else {}
            known = bool(row.get("f0")) or not row
            saved = chosen_preset(chosen)
            if saved is None:
                pitch = self._settings.at_pitch(SEMITONES.get(str(chosen)), known=known)
                return pitch | {self._settings.preset: chosen}
            name, of_voice = saved
            presets = self._services.presets.list(caller, model_id if of_voice else None)
            found = [one for one in presets if one["name"] == name and bool(one["model_id"]) == of_voice]
            if not found:
                raise ConfigError(f"The preset {name} is gone; choose another.")
            engine = str(row.get("engine", "lite"))
            return self._settings.put(found[0]["settings"], engine, known=known) | {
                self._settings.preset: chosen
            }

    def save(self, values: Answer, voice: str | None, request: gr.Request) -> Answer:
        """Keep the settings as they stand."""
        with as_gr_error():
            caller, of_voice = self._services.caller(request), values[self.kept] == OF_VOICE
            model_id = validate_id(voice, "voice") if of_voice else None
            settings = {
                name: value for name, value in self._settings.settings(values).items() if value is not None
            }
            preset = self._services.save_preset(caller, values[self.name], settings, model_id)
            inform(tr("The preset {name} is saved.", name=preset["name"]))
            saved = f"{'voice' if of_voice else 'own'}:{preset['name']}"
            offered = self.offered(caller, voice or None, value=saved)
        return {self._settings.preset: offered, self.name: ""}

    def delete(self, chosen: str | None, model_id: str | None, request: gr.Request) -> Answer:
        """Remove the chosen preset; ours stay."""
        with as_gr_error():
            caller, saved = self._services.caller(request), chosen_preset(chosen)
            if saved is None:
                raise ConfigError("Choose one of your own presets to delete it; the others come with Timbre.")
            name, of_voice = saved
            self._services.presets.delete(caller, name, model_id if of_voice else None)
            inform(tr("The preset {name} is deleted.", name=name))
            offered = self.offered(caller, model_id or None, value=None)
        return {self._settings.preset: offered}
