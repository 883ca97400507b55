"""The named endpoints about voices and about the server itself.

No `from __future__ import annotations` here: Gradio reads the return annotation as an object.
"""

# ruff: noqa: D417 -- `request` comes from Gradio; the docstrings are for those who call from outside

import gradio as gr
from gradio import FileData

from ui.api import Row, Rows
from ui.services import Services, plain_errors, plain_id, received
from ui.status import health_of, info_of


class VoiceEndpoints:
    """Endpoints about voices, as bound methods."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._library = services.library

    def list_models(self, request: gr.Request) -> Rows:
        """List the voices that you may use.

        Returns:
            One row for each; its id is the model_id of the other endpoints.
        """
        with plain_errors():
            return self._library.list(self._services.caller(request))

    def get_model(self, model_id: str, request: gr.Request) -> Row:
        """Read what is known of a voice: pitch, engine, sample rate, scores, permission.

        Args:
            model_id: From list_models.

        Returns:
            The voice's row.
        """
        with plain_errors():
            return self._library.get(self._services.caller(request), plain_id(model_id, "voice"))

    def rename_model(self, model_id: str, model_name: str, request: gr.Request) -> Row:
        """Give a voice another name.

        Args:
            model_id: From list_models.
            model_name: The new name.

        Returns:
            The voice's row.
        """
        with plain_errors():
            caller = self._services.caller(request)
            return self._library.rename(caller, plain_id(model_id, "voice"), model_name)

    def delete_model(self, model_id: str, request: gr.Request) -> Row:
        """Delete a voice for good.

        Args:
            model_id: From list_models.

        Returns:
            The row of the voice that is gone.
        """
        with plain_errors():
            caller = self._services.caller(request)
            row = self._library.get(caller, plain_id(model_id, "voice"))
            self._library.delete(caller, row["id"])
            return row

    def model_stats(self, model_id: str, request: gr.Request) -> Row:
        """Read how much a voice was used.

        Args:
            model_id: From list_models.

        Returns:
            Times used, seconds converted and more.
        """
        with plain_errors():
            return self._library.stats(self._services.caller(request), plain_id(model_id, "voice"))

    def import_model(self, files: list[FileData], model_name: str, request: gr.Request) -> Row:
        """Add a voice that was trained elsewhere.

        Args:
            files: One .zip as export_model gives it, or the .pth of an RVC program, with its .index if you
                have it.
            model_name: What it shall be called; empty: as the files say.

        Returns:
            The voice's row.
        """
        with plain_errors():
            return self._services.take_in(self._services.caller(request), received(files), model_name)

    def export_model(self, model_id: str, request: gr.Request, format: str = "bundle") -> FileData:
        """Download a voice as one file, to keep it or to use it elsewhere.

        Args:
            model_id: From list_models.
            format: "bundle" (a zip that import_model reads), or for voices of the engine rvc also "rvc"
                (.pth and .index in a zip, as other RVC programs read them).

        Returns:
            The file.
        """
        with plain_errors():
            caller = self._services.caller(request)
            return FileData(path=self._services.export(caller, plain_id(model_id, "voice"), format))


class ServerEndpoints:
    """Endpoints about the server, as bound methods."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def health(self) -> Row:
        """Tell whether the server works: device, memory, disk, registry, queue, worker, version.

        Returns:
            status "ok" or "degraded", the reason, and the facts.
        """
        return health_of(self._services)

    def info(self) -> Row:
        """Tell what this server accepts and offers: version, limits, formats, settings.

        Returns:
            The facts by name.
        """
        return info_of(self._services)
