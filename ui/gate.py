"""The outermost gate: which web sites may call, and whether only over HTTPS.

It stands before Gradio's own middleware, which on a public host lets every web site in: browsers then send
along whoever is logged in. Here other sites' pages may look at nothing and do nothing, but for those in
ALLOWED_ORIGINS. Programs are no web sites: they send no Origin and are not concerned.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pipelines.envfile import entries
from pipelines.meters import REFUSALS
from ui.arrivals import is_same_site

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pipelines.settings import Settings

READING = ("GET", "HEAD")
ALWAYS_OPEN = ("/health", "/gradio_api/startup-events")
"""What also answers without HTTPS: the probes of a container, and how the launch wakes its own page."""
HSTS = f"max-age={365 * 24 * 3600}"
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
OTHER_SITE = (
    "Another web site's page may not call this server; whoever runs it can allow the site in ALLOWED_ORIGINS."
)
NO_HTTPS = "This server answers over HTTPS only; use an address that begins with https://."


def gated(settings: Settings) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that puts the gate before everything else in an application.

    A middleware that is handed to Gradio stands behind Gradio's; only at start-up is the whole known.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if app.middleware_stack is not None:
            app.middleware_stack = Gate(app.middleware_stack, settings)
        yield

    return lifespan


class Gate:
    """ASGI middleware.

    Args:
        app: What lies behind it.
        settings: Allowed origins, and whether HTTPS is required.
    """

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
        """Serve one request, or refuse it."""
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
