"""Presets: settings of a conversion that are kept under a name."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

from pipelines.store.records import Caller, Row, Rows
from ui.endpoints.registration import Endpoints, endpoint
from ui.server.services import validate_id


class PresetEndpoints(Endpoints):
    @endpoint()
    def list_presets(self, caller: Caller, model_id: str = "") -> Rows:
        """List your presets and those that are kept with a voice.

        Args:
            model_id: From list_models; empty: only your own.

        Returns:
            name, settings as start_conversion takes them, and model_id, null for one of your own.
        """
        return self._services.presets.list(caller, _voice(model_id))

    @endpoint()
    def save_preset(self, caller: Caller, name: str, settings: Row, model_id: str = "") -> Row:
        """Keep settings under a name, in the place of what the name meant before.

        Args:
            name: At most 80 characters.
            settings: As for start_conversion.
            model_id: A voice of yours, with which the preset is exported; empty: it is yours for all voices.

        Returns:
            The preset.
        """
        return self._services.save_preset(caller, name, settings, _voice(model_id))

    @endpoint()
    def delete_preset(self, caller: Caller, name: str, model_id: str = "") -> Row:
        """Remove a preset of yours, or one that is kept with a voice of yours.

        Args:
            name: From list_presets.
            model_id: The voice that it is kept with; empty: one of your own.

        Returns:
            The preset that is gone.
        """
        return self._services.presets.delete(caller, name, _voice(model_id))


def _voice(model_id: str) -> str | None:
    return None if model_id in ("", None) else validate_id(model_id, "voice")
