"""Logging in and out, and the gate before everything else; only where AUTH_FILE names users.

    GET  /login    the form; the page itself shows it to whoever is not logged in
    POST /login    name and password, from the form or from gradio_client's auth=(name, password)
    POST /logout   ends this login, for a page of this server alone: a link or an image must not

Not Gradio's own login: it tells no address, blocks the event loop while a hash is computed, and forgets who
is logged in when the server restarts. Gradio is told who it is by its `auth_dependency`.
"""

from __future__ import annotations

import asyncio
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.datastructures import FormData
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from pipelines.store.records import Caller
from pipelines.users.accounts import normal
from pipelines.users.limits import network_of
from pipelines.users.tokens import LOGIN_LIFE
from rvc.errors import LimitError
from ui.look.language import LANGUAGE, direction, retold, translated_html
from ui.server.identity import is_same_site, set_cookie

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pipelines.users.accounts import Account, Accounts
    from ui.server.services import Services

AT_ONCE = 2  # passwords that are verified at the same time; each takes 64 MB
MOST_WAITING = 32
MOST_BYTES = 16_384
# What needs no login. The last is how the launch wakes its own page; it tells nothing.
OPEN = frozenset({"/login", "/logout", "/health", "/metrics", "/robots.txt", "/gradio_api/startup-events"})
PAGES = frozenset({"/", "/admin"})  # in whose place the form is shown
KNOWN_PLACES = 10_000
FORM = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
WRONG = "The name or the password is wrong; try again."


class Login:
    def __init__(self, services: Services, accounts: Accounts) -> None:
        self._callers = services.callers
        self._limits = services.jobs.limits
        self._accounts = accounts
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        # Where each user has logged in before: guesses from elsewhere must not lock them out there.
        self._places: dict[tuple[str, str], None] = {}

    def routes(self) -> list[Route]:
        """Return the routes; they stand before Gradio's own of the same names."""
        return [
            Route("/login", self.form, methods=["GET"]),
            Route("/login", self.log_in, methods=["POST"]),
            Route("/logout", self.log_out, methods=["POST"]),
        ]

    async def form(self, request: Request) -> Response:
        if self._callers.account(request) is not None:
            return RedirectResponse("./", status_code=303)
        return form_page()

    async def log_in(self, request: Request) -> Response:
        if not 0 < int(request.headers.get("content-length") or 0) <= MOST_BYTES:
            return _refusal(request, "Send a name and a password, and nothing else.", 413)
        if not is_same_site(request.headers):
            return _refusal(request, "Log in on the page itself, not from another site.", 403)
        fields = await request.form()
        name, password = normal(_text(fields, "username").strip()), _text(fields, "password")
        place = network_of(request.client.host if request.client else "")
        known = (name, place) in self._places
        # The place comes first: no name that a stranger types counts for what is known.
        guest = Caller(f"{place if known else 'anywhere'} {name[:64]}", address=place)
        try:
            self._limits.take("logins", guest)
        except LimitError as error:
            return _refusal(request, str(error), 429, error.retry_after_s)
        if self._waiting >= MOST_WAITING:
            self._limits.give_back("logins", guest)
            return _refusal(request, "Too many people are logging in; try again in 10 seconds.", 503, 10)
        account = await self._verified(name, password)
        if account is None:
            return _refusal(request, WRONG, 401, name=name)
        self._limits.give_back("logins", guest)
        return self._welcome(request, account, place)

    async def log_out(self, request: Request) -> Response:
        """End this login; the tokens of programs stay."""
        if not is_same_site(request.headers):
            return _refusal(request, "Log out on the page itself, not from another site.", 403)
        if token := self._callers.login_token(request):
            self._callers.tokens.end(token)
        response = RedirectResponse("./", status_code=303)
        response.headers.append("set-cookie", set_cookie(self._callers.login_name, "", 0, request.scope))
        return response

    async def _verified(self, name: str, password: str) -> Account | None:
        self._waiting += 1
        try:
            async with self._free:
                return await anyio.to_thread.run_sync(self._accounts.verify, name, password)
        finally:
            self._waiting -= 1

    def _welcome(self, request: Request, account: Account, place: str) -> Response:
        self._places[account.name, place] = None
        if len(self._places) > KNOWN_PLACES:
            del self._places[next(iter(self._places))]
        binding = {"account": account.id, "stamp": account.stamp}
        token, _ = self._callers.tokens.create(account.name, "login", "login", **binding)
        cookie = set_cookie(self._callers.login_name, token, round(LOGIN_LIFE.total_seconds()), request.scope)
        response: Response = JSONResponse({"success": True})
        if _is_browser(request):
            response = RedirectResponse("./", status_code=303)
        response.headers.append("set-cookie", cookie)
        return response


class LoginMiddleware:
    """ASGI middleware: lets nobody past who is not logged in."""

    def __init__(self, app: ASGIApp, *, services: Services) -> None:
        self._app = app
        self._callers = services.callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN)
        if is_open or self._callers.account(HTTPConnection(scope)) is not None:
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer: Response = JSONResponse({"detail": "Log in first."}, status_code=401)
        if scope["type"] == "http" and scope["path"] in PAGES and scope["method"] in ("GET", "HEAD"):
            answer = form_page()
        await answer(scope, receive, send)


def user_of(services: Services, request: Request) -> str | None:
    account = services.callers.account(request)
    return account.name if account else None


def form_page(said: str = "", status: int = 200, name: str = "") -> HTMLResponse:
    """Return the login form, with why the last try failed and the name that was typed."""
    alert = f'<p role="alert">{escape(said)}</p>' if said else ""
    spoken = LANGUAGE.get()
    form = translated_html(FORM).replace('lang="en"', f'lang="{spoken}" dir="{direction(spoken)}"', 1)
    page = form.replace("{alert}", alert).replace("{name}", escape(name[:64], quote=True))
    return HTMLResponse(page, status_code=status, headers={"cache-control": "no-store"})


def _refusal(
    request: Request, sentence: str, status: int, retry_after_s: float = 0.0, name: str = ""
) -> Response:
    sentence = retold(sentence)
    response: Response = JSONResponse({"detail": sentence}, status_code=status)
    if _is_browser(request):
        response = form_page(sentence, status, name)
    if retry_after_s:
        response.headers["retry-after"] = str(max(1, round(retry_after_s)))
    return response


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _text(fields: FormData, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
