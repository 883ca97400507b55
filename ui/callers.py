"""Who is calling: the login user, the bearer of a token, or the browser that holds a signed cookie.

With users:     a personal token, else the login in the cookie (`ui.login`); nobody else is anybody.
Without users:  a personal token, else the header `x-timbre-token`, else the signed cookie.
Personal:       `Authorization: Bearer tmb_...`, or the same in `x-timbre-token`; made on the page, revocable.
Signed:         `<id>.<signature>` as this server signs them; the cookie holds one. A client may also make up
                a secret of its own, 16..200 characters without a dot, for its header.
Cookies:        named after the server's secret, because cookies ignore ports and two servers on one machine
                would otherwise overwrite each other's. Python's gradio_client keeps them as browsers do.
Not here:       what a caller may see or change; `pipelines.jobs` and `pipelines.library` check that.
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

from pipelines.accounts import Account, Accounts
from pipelines.rows import Caller, Row
from pipelines.tokens import Tokens, looks_like_one
from rvc.errors import NotAllowedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import gradio as gr
    from starlette.requests import HTTPConnection
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
    """Tells who sent a request, and issues the signed tokens of those who have no login.

    Args:
        secret: The server's secret; tokens signed with another one are not accepted.
        tokens: Logins and personal tokens.
        accounts: Who may log in; None: a login is not needed.

    Attributes:
        tokens: As given.
        accounts: As given.
        cookie_name: Name of the cookie of those without a login.
        login_name: Name of the cookie of those with one.
    """

    def __init__(self, secret: str, *, tokens: Tokens, accounts: Accounts | None = None) -> None:
        self._key = secret.encode()
        self.tokens = tokens
        self.accounts = accounts
        mark = hashlib.sha256(self._key).hexdigest()[:8]
        self.cookie_name, self.login_name = f"timbre_{mark}", f"timbre_login_{mark}"

    def issue(self) -> str:
        """Return a new signed token for a browser that has none."""
        identity = secrets.token_hex(16)
        return f"{identity}.{self._signature(identity)}"

    def is_signed(self, token: str) -> bool:
        """Whether this server issued the token."""
        match = SIGNED.fullmatch(token)
        return match is not None and hmac.compare_digest(match[2], self._signature(match[1]))

    def of(self, request: gr.Request | HTTPConnection | None) -> Caller:
        """Return who sent a request.

        Raises:
            NotAllowedError: The token is malformed, foreign or revoked, or nothing tells who is calling.
        """
        if request is None:
            raise NotAllowedError("This can only be called through the page or a client of it.")
        address = request.client.host if request.client else ""
        if self.accounts is not None:
            account = self.account(request)
            if account is None:
                raise NotAllowedError(
                    "Log in first: open the page, or use Client(url, auth=(name, password)), or send a "
                    "header Authorization: Bearer with a personal token."
                )
            return Visitor(account.name, admin=account.admin, address=address)
        return Visitor(self._without_login(request), address=address)

    def account(self, request: gr.Request | HTTPConnection) -> Account | None:
        """Return the user whose token or login a request carries, None if it carries none that is valid."""
        if self.accounts is None:
            return None
        personal = personal_token(request.headers)
        if personal:
            row = self.tokens.find(personal, "personal")
            return self.accounts.get(row["user_id"]) if row else None
        row = self.tokens.find(self.login_token(request), "login")
        account = self.accounts.get(row["user_id"]) if row else None
        # The stamp is the password's: a login does not outlive the password that opened it.
        return account if account and row and account.stamp == row["stamp"] else None

    def login_token(self, request: gr.Request | HTTPConnection) -> str:
        """Return the login that a request's cookie holds, or ""."""
        return str(dict(request.cookies).get(self.login_name, ""))

    def _without_login(self, request: gr.Request | HTTPConnection) -> str:
        personal = personal_token(request.headers)
        if personal:
            row = self.tokens.find(personal, "personal")
            if row is None:
                raise NotAllowedError(
                    "This personal token is not valid (any more); make a new one on the page."
                )
            return str(row["user_id"])
        token = str(request.headers.get(HEADER) or dict(request.cookies).get(self.cookie_name, ""))
        if self.is_signed(token):
            return "visitor-" + token.partition(".")[0]
        if OWN_SECRET.fullmatch(token):
            return "client-" + self._signature(token)[:32]
        raise NotAllowedError(
            "Nothing tells who is calling: allow cookies for this page, or send a header Authorization: "
            f"Bearer with a token that the page's Voices tab makes, or {HEADER} with a secret of your own of "
            "16 to 200 characters without dots or spaces."
        )

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:40]


def personal_token(headers: Mapping[str, str]) -> str:
    """Return the personal token that the headers carry, or ""; other bearers' tokens are not meant for us."""
    bearer = str(headers.get("authorization") or "")
    scheme, _, token = bearer.partition(" ")
    for text in (token.strip() if scheme.lower() == "bearer" else "", str(headers.get(HEADER) or "")):
        if looks_like_one(text, "personal"):
            return text
    return ""


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
                line = set_cookie(name, token, COOKIE_AGE_S, scope)
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


def set_cookie(name: str, value: str, age_s: int, scope: Scope) -> str:
    """Return the line that sets a cookie which scripts cannot read; an age of 0 removes it."""
    return f"{name}={value}; Max-Age={age_s}; Path=/; HttpOnly; {_site_rule(scope)}"


def _site_rule(scope: Scope) -> str:
    headers = dict(scope["headers"])
    secure = scope["scheme"] == "https" or headers.get(b"x-forwarded-proto", b"").startswith(b"https")
    if secure and os.environ.get("SPACE_ID"):
        # A Space is shown inside a frame of another site, where a Lax cookie is never sent.
        return "SameSite=None; Secure; Partitioned"
    return "SameSite=Lax; Secure" if secure else "SameSite=Lax"
