"""Who is calling: the login user, the bearer of a token, or the browser that holds a signed cookie.

With users:     a personal token, else the login in the cookie (`ui.server.login`); nobody else is anybody.
Without users:  a personal token, else the header `x-timbre-token`, else the signed cookie.
Personal:       `Authorization: Bearer tmb_...`, or the same in `x-timbre-token`; made on the page, revocable.
Signed:         `<id>.<signature>` as this server signs them; the cookie holds one. A client may also make up
                a secret of its own, 16..200 characters without a dot, for its header.

Cookies are named after the server's secret, because they ignore ports and two servers on one machine would
overwrite each other's. Headers that anybody can send can only make a request *less* trusted.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from pipelines.settings import Settings
from pipelines.store.records import COMMAND_LINE, Caller, Row
from pipelines.users.accounts import NOT_A_LOGIN, Account, Accounts
from pipelines.users.signatures import Signatures
from pipelines.users.tokens import Kind, Tokens, looks_like_one
from rvc.errors import NotAllowedError

if TYPE_CHECKING:
    import gradio as gr
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-timbre-token"
COOKIE_AGE_S = 365 * 24 * 3600
OWN_SECRET = re.compile(r"[^\s.]{16,200}")
SIGNED = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{40})")


@dataclass(frozen=True)
class WebCaller(Caller):
    """A caller of this server, who also sees the voices that it offers to everybody.

    And who sits at it and needs no login, what was made on its command line.
    """

    at_this_machine: bool = field(default=False, compare=False)

    def may_see(self, row: Row) -> bool:
        made_here = self.at_this_machine and row["user_id"] == COMMAND_LINE
        return super().may_see(row) or row.get("builtin") is True or made_here


class Callers:
    """Tells who sent a request, and issues signed tokens; without accounts nobody needs a login."""

    def __init__(self, secret: str, *, tokens: Tokens, accounts: Accounts | None = None) -> None:
        self._signatures = Signatures(secret)
        self.tokens = tokens
        self.accounts = accounts
        mark = hashlib.sha256(secret.encode()).hexdigest()[:8]
        self.cookie_name, self.login_name = f"timbre_{mark}", f"timbre_login_{mark}"

    def issue(self, token: str = "") -> str:
        """Return a signed token of the browser that holds this one, or of a new one if it is not valid."""
        identity = token.partition(".")[0] if self.is_signed(token) else secrets.token_hex(16)
        return f"{identity}.{self._signatures.of_visitor(identity)}"

    def is_signed(self, token: str) -> bool:
        match = SIGNED.fullmatch(token)
        return match is not None and self._signatures.is_of_visitor(match[1], match[2])

    def authenticate(self, request: gr.Request | HTTPConnection | None) -> WebCaller:
        """Return who sent a request; a NotAllowedError if nothing tells, or a token that is not valid."""
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
            return WebCaller(account.name, admin=account.admin, address=address)
        return WebCaller(self._without_login(request), address=address)

    def account(self, request: gr.Request | HTTPConnection) -> Account | None:
        """Return the user whose token or login a request carries, None if it carries none that is valid."""
        if self.accounts is None:
            return None
        personal = personal_token(request.headers)
        kind: Kind = "personal" if personal else "login"
        row = self.tokens.find(personal or self.login_token(request), kind)
        account = self.accounts.get(row["user_id"]) if row else None
        if row is None or account is None or account.id != row["account"]:
            return None
        # The stamp is the password's: a login does not outlive the password that opened it.
        return account if personal or account.stamp == row["stamp"] else None

    def login_token(self, request: gr.Request | HTTPConnection) -> str:
        return str(dict(request.cookies).get(self.login_name, ""))

    def _without_login(self, request: gr.Request | HTTPConnection) -> str:
        if personal := personal_token(request.headers):
            row = self.tokens.find(personal, "personal")
            if row is None or not row["user_id"].startswith(NOT_A_LOGIN):
                raise NotAllowedError(
                    "This personal token is not valid (any more); make a new one on the page."
                )
            return str(row["user_id"])
        token = str(request.headers.get(HEADER) or dict(request.cookies).get(self.cookie_name, ""))
        if self.is_signed(token):
            return "visitor-" + token.partition(".")[0]
        if OWN_SECRET.fullmatch(token):
            return self._signatures.client_id(token)
        raise NotAllowedError(
            "Nothing tells who is calling: allow cookies for this page, or send a header Authorization: "
            f"Bearer with a token that 'Account' on the page makes, or {HEADER} with a secret of your own of "
            "16 to 200 characters without dots or spaces."
        )


def personal_token(headers: Mapping[str, str]) -> str:
    """Return the personal token that the headers carry, or ""; other bearers' tokens are not meant for us."""
    scheme, _, token = str(headers.get("authorization") or "").partition(" ")
    for text in (token.strip() if scheme.lower() == "bearer" else "", str(headers.get(HEADER) or "")):
        if looks_like_one(text, "personal"):
            return text
    return ""


class CallerCookie:
    """ASGI middleware: gives every browser without one a signed cookie.

    A request without one is served as if it had brought the new one: the first call has its identity too.
    """

    def __init__(self, app: ASGIApp, *, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in {"/health", "/metrics"}:
            await self._app(scope, receive, send)
            return
        name = self._callers.cookie_name
        held = HTTPConnection(scope).cookies.get(name, "")
        token = self._callers.issue(held)
        if token != held:
            scope = {**scope, "headers": _with_cookie(scope["headers"], name, token)}

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and (token != held or scope["path"] == "/"):
                line = set_cookie(name, token, COOKIE_AGE_S, scope)
                message.setdefault("headers", []).append((b"set-cookie", line.encode()))
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def _with_cookie(headers: list[tuple[bytes, bytes]], name: str, token: str) -> list[tuple[bytes, bytes]]:
    sent = [pair.strip() for k, v in headers if k == b"cookie" for pair in v.decode("latin-1").split(";")]
    pairs = [pair for pair in sent if pair and not pair.startswith(f"{name}=")]
    others = [(k, v) for k, v in headers if k != b"cookie"]
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


# What somebody who passes a request on adds to it: any header beginning with x- that is of no client of ours,
# and any in whose name a word speaks of addresses, of clients, or of passing on. One word too many costs a
# visitor of this machine a right, one too few gives it to a stranger.
OF_CLIENTS = ("x-timbre-", "x-gradio-", "x-prometheus-", "x-requested-with")
OF_PROXIES = re.compile(
    "via|real|remote|original|originating|addr|address|client|early|edge|hops?|cdn|loop|tunnel|relay|gateway"
    "|surrogate|front|cf|cloudfront|fastly|fly|akamai|incap|tailscale|ngrok|envoy|.*ip|.*forward.*|.*prox.*"
)


def _is_of_a_proxy(header: str) -> bool:
    name = header.lower()
    if name.startswith(("x-", "sec-")):
        return name.startswith("x-") and not name.startswith(OF_CLIENTS)
    return any(map(OF_PROXIES.fullmatch, name.replace("_", "-").split("-")))


def trust_proxies(settings: Settings, *, shared: bool = False) -> None:
    """Have uvicorn take client and scheme from the trusted proxies' headers alone; before it starts.

    The tunnel of a shared page ends on this machine, and appends to X-Forwarded-For who came through it; what
    a visitor has sent stands before that and does not count.
    """
    tunnel = "127.0.0.1,::1" if shared else ""
    os.environ["FORWARDED_ALLOW_IPS"] = ",".join(filter(None, (settings.trusted_proxies, tunnel)))


def is_local(peer: str | None, headers: Mapping[str, str], http_version: str = "1.1") -> bool:
    """Whether a request was sent by a peer on this machine to this machine, and passed on by nobody.

    A proxy on this machine that adds no header gives itself away by the name that the browser asked for, by
    the page that it came from, or by HTTP/1.0, which no browser speaks; and so does a site whose name was
    made to lead here.
    """
    host = headers.get("host", "").lower()
    if peer is None or not (_is_loopback(peer) and _is_loopback(_host_of(host))) or http_version < "1.1":
        return False
    if any(map(_is_of_a_proxy, headers)):
        return False
    pages = (headers.get("origin"), headers.get("referer"))
    return all(page is None or _netloc_of(page) == host for page in pages)


def is_same_site(headers: Mapping[str, str]) -> bool:
    """Whether the page that sent a request came from the server that it is sent to, or no page sent it.

    X-Forwarded-Host counts from anybody here: a page cannot set it without asking first, and other sites'
    pages are refused when they ask.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    if headers.get("sec-fetch-site") == "same-origin":
        return True  # no script can set this header
    sent_by = origin.lower().partition("://")[2]
    asked_for = (headers.get("host", "").lower(), headers.get("x-forwarded-host", "").lower())
    return bool(sent_by) and sent_by in asked_for


def _host_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc_of(address: str) -> str:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)
