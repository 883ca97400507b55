"""What stands before Gradio's own routes: who may call from which web site, upload, and name addresses.

Origin       Gradio on a public host lets every web site in, and browsers send along whoever is logged in.
             Here other sites' pages see and do nothing, but for ALLOWED_ORIGINS. Programs send no Origin.
Upload       Gradio writes whatever anybody sends before a handler is asked; here headers are checked first.
Addresses    Gradio takes an address in a file's place and loads what lies there, past all limits: refused.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

import anyio.to_thread
import gradio as gr
from gradio import processing_utils
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pipelines.monitoring import REFUSALS
from pipelines.settings import entries
from rvc.errors import LimitError, NotAllowedError, RvcError
from ui.server.identity import is_same_site
from ui.server.monitoring import SPARE_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pipelines.settings import Settings
    from ui.server.services import Services

READING = ("GET", "HEAD")
# What also answers without HTTPS: the probes of a container, and how the launch wakes its own page.
ALWAYS_OPEN = ("/health", "/gradio_api/startup-events")
UPLOAD = "/gradio_api/upload"
# How the paths begin that ask for what lies at an address.
PASSED_ON = ("/gradio_api/file=http:", "/gradio_api/file=https:")
HSTS = f"max-age={365 * 24 * 3600}"
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
OTHER_SITE = (
    "Another web site's page may not call this server; whoever runs it can allow the site in ALLOWED_ORIGINS."
)
NO_HTTPS = "This server answers over HTTPS only; use an address that begins with https://."
REFUSAL = "This server fetches nothing from addresses; download the file and send it itself."


def install_middleware(settings: Settings) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that puts the gate before Gradio's own middleware: only at start-up is that known."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if app.middleware_stack is not None:
            app.middleware_stack = OriginMiddleware(app.middleware_stack, settings)
        yield

    return lifespan


class OriginMiddleware:
    """ASGI middleware: refuses other web sites, and what does not come over HTTPS where that is required."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._https = settings.require_https
        self._origins = frozenset(entries(settings.allowed_origins))
        self._behind = app
        self._with_cors = CORSMiddleware(
            _without_origin(app),
            allow_origins=sorted(self._origins),
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        headers = Headers(raw=list(scope["headers"]))
        if self._https:
            if scope["scheme"] == "https":
                send = _only_over_https(send)
            elif scope["path"] not in ALWAYS_OPEN:
                await _to_https(scope, headers)(scope, receive, send)
                return
        if is_same_site(headers):
            await self._behind(scope, receive, send)
        elif headers["origin"].lower() in self._origins:
            await self._with_cors(scope, receive, send)
        elif scope["method"] in READING:
            # Served, but no page may read it: the browser is not told that it may.
            await _without_origin(self._behind)(scope, receive, send)
        else:
            REFUSALS.labels("OtherSite").inc()
            await PlainTextResponse(OTHER_SITE + "\n", 403)(scope, receive, send)


def _without_origin(app: ASGIApp) -> ASGIApp:
    """Hide the origin, so that nobody behind allows it on their own."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        kept = [(name, value) for name, value in scope["headers"] if name != b"origin"]
        await app({**scope, "headers": kept}, receive, send)

    return serve


def _to_https(scope: Scope, headers: Headers) -> Response:
    host = headers.get("host", "")
    if scope["method"] not in READING or _HOST.fullmatch(host) is None:
        REFUSALS.labels("NotHttps").inc()
        return PlainTextResponse(NO_HTTPS + "\n", 403)
    query = scope.get("query_string", b"").decode("latin-1")
    path = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
    return RedirectResponse(f"https://{host}{path}{'?' + query if query else ''}", 307)


def _only_over_https(send: Send) -> Send:
    """Tell browsers to come over HTTPS from now on, and to send cookies over nothing else."""

    async def send_it(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [_secured(name, value) for name, value in message.get("headers", [])]
            MutableHeaders(scope=message)["strict-transport-security"] = HSTS
        await send(message)

    return send_it


def _secured(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    if name.lower() != b"set-cookie" or b"; secure" in value.lower():
        return name, value
    return name, value + b"; Secure"


def forbid_fetching() -> None:
    """Have Gradio refuse addresses in the place of files; for the whole process."""
    processing_utils.async_ssrf_protected_download = _refuse


async def _refuse(*_: object, **__: object) -> NoReturn:
    raise gr.Error(REFUSAL, print_exception=False)


class UploadMiddleware:
    """ASGI middleware: refuses files before they are received, and what lies at other addresses."""

    def __init__(self, app: ASGIApp, *, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
        services, caller = self._services, self._services.caller(connection)
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
