"""The outermost gate: which routes exist at all, and what every answer says to browsers.

Gradio brings routes that this page has no use for: some convert or fetch what a stranger names, some write
files, and each version brings more. So the routes are an allow-list; what is not on it answers 404, and not a
byte of its body is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gradio.utils import get_upload_folder
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response

from rvc.errors import ConfigError
from ui.look.language import LANGUAGE
from ui.server.answers import refusal
from ui.server.languages import language_of
from ui.server.origins import READING, OriginMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pipelines.settings import Settings

API = "/gradio_api"
UPLOAD = f"{API}/upload"
FILE = f"{API}/file="
LIVE = "/live"  # the one WebSocket
_ID = r"[\w.-]{1,100}"
READ, CALL = frozenset(READING), frozenset({"POST"})
# Methods and path of all that the page and gradio_client ask for. Of each, a slash at the end is the same.
ROUTES: tuple[tuple[frozenset[str], str], ...] = (
    # the page, and what it is made of
    (READ, r"/|/admin|/config|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json"),
    (READ, r"/(?:assets|static|svelte)/(?!.*\.\.)[\w./@~+-]{1,300}"),
    (READ, rf"{API}/(?:info|openapi\.json|theme\.css|app_id|user|login_check|startup-events)"),
    # calls of endpoints and listeners, and their answers
    (CALL, rf"{API}/(?:queue/join|cancel|reset|(?:call|call/v2|run)/{_ID})"),
    (READ, rf"{API}/(?:queue/data|heartbeat/{_ID}|(?:call|call/v2)/{_ID}/{_ID})"),
    # files in and out
    (CALL, UPLOAD),
    (READ, rf"{API}/upload_progress"),
    (READ, rf"{FILE}.{{1,4096}}"),
    # our own
    (READ, r"/health|/metrics|/icon\.svg|/icon-(?:192|512)\.png|/preview\.png"),
)
WITH_USERS = ((READ | CALL, r"/login"), (CALL, r"/logout"))

NO_SUCH = "There is nothing at this address."


def install_gate(settings: Settings) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that puts the gate before Gradio's own middleware: only at start-up is that known."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if app.middleware_stack is None:
            raise ConfigError(
                "Gradio starts its server otherwise by now, so nothing is served without a gate."
            )
        inside = OriginMiddleware(app.middleware_stack, settings)
        app.middleware_stack = GateMiddleware(inside, with_users=settings.auth_file is not None)
        yield

    return lifespan


class GateMiddleware:
    """ASGI middleware: answers 404 where nothing is, and adds to every answer what browsers shall heed."""

    def __init__(self, app: ASGIApp, *, with_users: bool) -> None:
        self._app = app
        self._routes = Routes(with_users=with_users)
        self._headers = security_headers(framed=bool(os.environ.get("SPACE_ID")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope = _without_prefix(scope)
        if scope["type"] == "websocket" and scope["path"] != LIVE:
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted
            return
        LANGUAGE.set(language_of(HTTPConnection(scope)))  # of whatever is answered from here on

        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        answer = self._routes.refusal_of(scope["method"], scope["path"]) or _of_two_lengths(scope)
        await (answer or self._app)(scope, receive, guarded)


class Routes:
    """The routes that a page has, with or without a login."""

    def __init__(self, *, with_users: bool) -> None:
        listed = (*ROUTES, *(WITH_USERS if with_users else ()))
        self._cache = os.path.normpath(Path(get_upload_folder()).absolute())
        self._routes = [(methods, re.compile(f"(?:{path})/?", re.DOTALL)) for methods, path in listed]

    def refusal_of(self, method: str, path: str) -> Response | None:
        """Return the answer where there is no such route, or not for this method; None where there is one."""
        allowed = frozenset[str]().union(
            *(methods for methods, route in self._routes if route.fullmatch(path))
        )
        if not allowed or (path.startswith(FILE) and not self._is_served(path.removeprefix(FILE))):
            return refusal(404, NO_SUCH)
        # A browser asks with OPTIONS first whether another site's page may call; the next in line answers.
        if method in allowed or method == "OPTIONS":
            return None
        answer = refusal(405, f"This address is for {' and '.join(sorted(allowed))}.")
        answer.headers["allow"] = ", ".join(sorted(allowed))
        return answer

    def _is_served(self, path: str) -> bool:
        """Whether a path lies in Gradio's cache: no address, no other folder."""
        return "\0" not in path and Path(os.path.normpath(Path(path).absolute())).is_relative_to(self._cache)


def security_headers(*, framed: bool) -> dict[str, str]:
    """Return the headers of every answer; a page that is `framed` is shown inside another site's."""
    policy = {
        "frame-ancestors": "'self'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
    }
    headers = {"x-content-type-options": "nosniff", "referrer-policy": "same-origin"}
    if framed:
        del policy["frame-ancestors"]
    else:
        headers["x-frame-options"] = "SAMEORIGIN"
    headers["content-security-policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())
    return headers


def _without_prefix(scope: Scope) -> Scope:
    """Leave out the prefix (GRADIO_ROOT_PATH) that some proxies pass on, for everybody behind the gate."""
    prefix = scope.get("root_path", "").rstrip("/")
    if not prefix or not scope["path"].startswith(f"{prefix}/"):
        return scope
    return {**scope, "path": scope["path"].removeprefix(prefix)}


def _of_two_lengths(scope: Scope) -> Response | None:
    """Refuse a body that states its length and comes in chunks: what is counted must be what comes."""
    names = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" not in names or b"content-length" not in names:
        return None
    return refusal(400, "State the length of a body, or send it in chunks; not both.")
