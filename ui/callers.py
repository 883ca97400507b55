"""Who is calling: the login user, the bearer of a token, or the browser that holds a signed cookie.

Order:   a login decides alone; else the header `x-timbre-token`; else the cookie.
Tokens:  `<id>.<signature>` as this server signs them (the cookie holds one, and the page shows it to
         people who want their own voices from Python), or any secret of 16..200 characters without a
         dot, which a client makes up for itself.
Cookie:  named after the server's secret, because cookies ignore ports and two servers on one machine
         would otherwise overwrite each other's. Python's gradio_client keeps it as browsers do.
Not here: what a caller may see or change; `pipelines.jobs` and `pipelines.library` check that.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

from pipelines.rows import Caller, Row
from rvc.errors import NotAllowedError

if TYPE_CHECKING:
    import gradio as gr
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-timbre-token"
COOKIE_AGE_S = 365 * 24 * 3600
OWN_SECRET = re.compile(r"[^\s.]{16,200}")
SIGNED = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{40})")


@dataclass(frozen=True)
class Visitor(Caller):
    """A caller of this server, who also sees the voices that it offers to everybody."""

    def may_see(self, row: Row) -> bool:
        """Whether the row is the caller's own, or is there for everybody; nobody may change those."""
        return super().may_see(row) or row.get("builtin") is True


class Callers:
    """Issues and reads the tokens of one server.

    Args:
        secret: The server's secret; tokens signed with another one are not accepted.
        admins: Login names that may see and change everything.
    """

    def __init__(self, secret: str, *, admins: frozenset[str] = frozenset()) -> None:
        self._key = secret.encode()
        self._admins = admins
        self.cookie_name = "timbre_" + hashlib.sha256(self._key).hexdigest()[:8]

    def issue(self) -> str:
        """Return a new signed token for a browser that has none."""
        identity = secrets.token_hex(16)
        return f"{identity}.{self._signature(identity)}"

    def is_signed(self, token: str) -> bool:
        """Whether this server issued the token."""
        match = SIGNED.fullmatch(token)
        return match is not None and hmac.compare_digest(match[2], self._signature(match[1]))

    def of(self, request: gr.Request | None) -> Caller:
        """Return who sent a request.

        Raises:
            NotAllowedError: The token is malformed or foreign, or nothing tells who is calling.
        """
        if request is None:
            raise NotAllowedError("This can only be called through the page or a client of it.")
        if request.username:
            return Visitor(user_id=request.username, admin=request.username in self._admins)
        token = self.token(request)
        if self.is_signed(token):
            return Visitor(user_id="visitor-" + token.partition(".")[0], admin=False)
        if OWN_SECRET.fullmatch(token):
            return Visitor(user_id="client-" + self._signature(token)[:32], admin=False)
        raise NotAllowedError(
            f"Nothing tells who is calling: allow cookies for this page, or send a header {HEADER} with the "
            "token that the page's Voices tab shows, or with a secret of your own of 16 to 200 characters "
            "without dots or spaces."
        )

    def token(self, request: gr.Request) -> str:
        """Return the token that a request carries, or ""."""
        header = request.headers.get(HEADER)
        return str(header) if header else str(dict(request.cookies).get(self.cookie_name, ""))

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:40]


class CallerCookie:
    """ASGI middleware: gives every browser without one a signed cookie.

    The request that brings no cookie is served as if it had brought the new one, so that the very
    first call of a client already belongs to the identity that it is given.
    """

    def __init__(self, app: ASGIApp, *, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in {"/health", "/metrics"}:
            await self._app(scope, receive, send)
            return
        name = self._callers.cookie_name
        held = _cookies(scope).get(name, "")
        token = held if self._callers.is_signed(held) else self._callers.issue()
        if token != held:
            scope = dict(scope)
            scope["headers"] = _with_cookie(scope["headers"], name, token)

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and (token != held or scope["path"] == "/"):
                line = f"{name}={token}; Max-Age={COOKIE_AGE_S}; Path=/; HttpOnly; {_site_rule(scope)}"
                message.setdefault("headers", []).append((b"set-cookie", line.encode()))
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def _cookies(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        if key == b"cookie":
            try:
                found.update({k: morsel.value for k, morsel in SimpleCookie(value.decode("latin-1")).items()})
            except CookieError:
                continue
    return found


def _with_cookie(headers: list[tuple[bytes, bytes]], name: str, token: str) -> list[tuple[bytes, bytes]]:
    others = [(k, v) for k, v in headers if k != b"cookie"]
    kept = [v for k, v in headers if k == b"cookie"]
    pairs = [p.strip() for v in kept for p in v.decode("latin-1").split(";")]
    pairs = [p for p in pairs if p and not p.startswith(f"{name}=")]
    return [*others, (b"cookie", "; ".join([*pairs, f"{name}={token}"]).encode("latin-1"))]


def _site_rule(scope: Scope) -> str:
    headers = dict(scope["headers"])
    secure = scope["scheme"] == "https" or headers.get(b"x-forwarded-proto", b"").startswith(b"https")
    if secure and os.environ.get("SPACE_ID"):
        # A Space is shown inside a frame of another site, where a Lax cookie is never sent.
        return "SameSite=None; Secure; Partitioned"
    return "SameSite=Lax; Secure" if secure else "SameSite=Lax"
