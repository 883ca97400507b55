"""Which web sites may call this server, and whether they must come over HTTPS.

Gradio on a public host lets every web site in, and browsers send along whoever is logged in. Here other
sites' pages see and do nothing, but for ALLOWED_ORIGINS. Programs send no Origin.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pipelines.monitoring import REFUSALS
from pipelines.settings import entries
from ui.server.identity import is_same_site

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pipelines.settings import Settings

READING = ("GET", "HEAD")
# What also answers without HTTPS: the probes of a container, and how the launch wakes its own page.
ALWAYS_OPEN = ("/health", "/gradio_api/startup-events")
HSTS = f"max-age={365 * 24 * 3600}"
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
OTHER_SITE = (
    "Another web site's page may not call this server; whoever runs it can allow the site in ALLOWED_ORIGINS."
)
NO_HTTPS = "This server answers over HTTPS only; use an address that begins with https://."


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
        headers = Headers(raw=list(scope.get("headers", ())))
        if scope["type"] == "websocket" and not self._may_connect(scope, headers):
            REFUSALS.labels("OtherSite").inc()
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
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

    def _may_connect(self, scope: Scope, headers: Headers) -> bool:
        """Whether a page may open a WebSocket: no browser asks first, and every one sends cookies."""
        if self._https and scope["scheme"] != "wss":
            return False
        return is_same_site(headers) or headers["origin"].lower() in self._origins


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
