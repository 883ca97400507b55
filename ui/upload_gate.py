"""The gate before Gradio's own upload: it would write whatever anybody sends before a handler is asked.

A file that is sent lies in Gradio's cache first, whether or not an endpoint ever takes it. So who sends it,
how often, and whether there is room, is checked by the headers alone, before the first byte is written.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response

from rvc.errors import LimitError, NotAllowedError, RvcError
from ui.no_fetching import PASSED_ON, REFUSAL
from ui.status import SPARE_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ui.services import Services

UPLOAD = "/gradio_api/upload"


class UploadGate:
    """ASGI middleware: refuses files before they are received, and what lies at other addresses.

    Args:
        app: What lies behind the gate.
        services: The collaborators.
    """

    def __init__(self, app: ASGIApp, *, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        sends_files = scope["type"] == "http" and scope["method"] == "POST"
        if sends_files and scope["path"].rstrip("/") == UPLOAD:
            try:
                await anyio.to_thread.run_sync(self._admit, HTTPConnection(scope))
            except RvcError as error:
                await _refusal(error)(scope, receive, send)
                return
        if scope["type"] == "http" and scope["path"].lower().startswith(PASSED_ON):
            await PlainTextResponse(REFUSAL + "\n", status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, connection: HTTPConnection) -> None:
        """Refuse files that may not be sent; look at nothing but the headers."""
        services = self._services
        caller = services.caller(connection)
        length = connection.headers.get("content-length", "")
        if not length.isdecimal():
            raise NotAllowedError(
                "Send files with their length (Content-Length), as browsers and gradio_client do."
            )
        if shutil.disk_usage(services.settings.data_dir).free < int(length) + SPARE_BYTES:
            raise NotAllowedError(
                "There is no room for this on the server's disk; delete old jobs, or ask its owner."
            )
        services.jobs.quota.require(caller)
        services.jobs.limits.take("files", caller)


def _refusal(error: RvcError) -> Response:
    if not isinstance(error, LimitError):
        return PlainTextResponse(str(error), status_code=403)
    wait_s = round(error.retry_after_s)
    headers = {"retry-after": str(max(1, wait_s))} if wait_s else {}
    return PlainTextResponse(str(error), status_code=429, headers=headers)
