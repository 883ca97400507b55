"""Logging in and out, and the gate before everything else; only where AUTH_FILE names users.

    GET  /login    the form; the page itself shows it to whoever is not logged in
    POST /login    name and password, from the form or from gradio_client's auth=(name, password)
    GET  /logout   ends this login

Not Gradio's own login: it tells no address, blocks the event loop while a hash is computed, and forgets who
is logged in when the server restarts. Gradio is told who it is by its `auth_dependency`.
"""

from __future__ import annotations

import asyncio
from html import escape
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.datastructures import FormData
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from pipelines.store.records import Caller
from pipelines.users.accounts import normal
from pipelines.users.rate_limits import network_of
from pipelines.users.tokens import LOGIN_LIFE
from rvc.errors import LimitError
from ui.server.identity import is_same_site, set_cookie

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pipelines.users.accounts import Account, Accounts
    from ui.server.services import Services

AT_ONCE = 2
"""Passwords that are verified at the same time; each takes 64 MB."""
MOST_WAITING = 32
MOST_BYTES = 16_384
OPEN = frozenset({"/login", "/logout", "/health", "/metrics", "/robots.txt", "/gradio_api/startup-events"})
"""What needs no login. The last is how the launch wakes its own page; it tells nothing."""
KNOWN_PLACES = 10_000
WRONG = "The name or the password is wrong; try again."


class Login:
    """The routes of the login.

    Args:
        services: The collaborators; there must be accounts.
        accounts: Who may log in.
    """

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
            Route("/logout", self.log_out, methods=["GET"]),
        ]

    async def form(self, request: Request) -> Response:
        """Show the form, or the page to whoever is logged in."""
        if self._callers.account(request) is not None:
            return RedirectResponse("./", status_code=303)
        return form_page()

    async def log_in(self, request: Request) -> Response:
        """Check a name and a password."""
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
        account = None
        if self._waiting < MOST_WAITING:
            account = await self._verified(name, password)
        else:
            self._limits.give_back("logins", guest)
            return _refusal(request, "Too many people are logging in; try again in 10 seconds.", 503, 10)
        if account is None:
            return _refusal(request, WRONG, 401, name=name)
        self._limits.give_back("logins", guest)
        return self._welcome(request, account, place)

    async def log_out(self, request: Request) -> Response:
        """End this login; the tokens of programs stay."""
        token = self._callers.login_token(request)
        if token:
            self._callers.tokens.end(token)
        response = RedirectResponse("./", status_code=303)
        gone = set_cookie(self._callers.login_name, "", 0, request.scope)
        response.headers.append("set-cookie", gone)
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
        token, _ = self._callers.tokens.create(account.name, "login", "login", stamp=account.stamp)
        age_s = round(LOGIN_LIFE.total_seconds())
        response: Response = (
            RedirectResponse("./", status_code=303)
            if _is_browser(request)
            else JSONResponse({"success": True})
        )
        response.headers.append(
            "set-cookie", set_cookie(self._callers.login_name, token, age_s, request.scope)
        )
        return response


class LoginGate:
    """ASGI middleware: lets nobody past who is not logged in.

    Args:
        app: What lies behind the gate.
        services: The collaborators.
    """

    def __init__(self, app: ASGIApp, *, services: Services) -> None:
        self._app = app
        self._callers = services.callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer with the form."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if self._callers.account(connection) is not None:
            await self._app(scope, receive, send)
            return
        answer: Response = JSONResponse({"detail": "Log in first."}, status_code=401)
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            answer = form_page()
        await answer(scope, receive, send)


def user_of(services: Services, request: Request) -> str | None:
    """Return the login name that Gradio asks for; None where nobody is logged in."""
    account = services.callers.account(request)
    return account.name if account else None


def form_page(said: str = "", status: int = 200, name: str = "") -> HTMLResponse:
    """Return the login form.

    Args:
        said: Why the last try failed.
        status: HTTP status.
        name: What was typed as the name.
    """
    alert = f'<p role="alert">{escape(said)}</p>' if said else ""
    page = FORM.replace("{alert}", alert).replace("{name}", escape(name[:64], quote=True))
    return HTMLResponse(page, status_code=status, headers={"cache-control": "no-store"})


def _refusal(
    request: Request, sentence: str, status: int, retry_after_s: float = 0.0, name: str = ""
) -> Response:
    response: Response = (
        form_page(sentence, status, name)
        if _is_browser(request)
        else JSONResponse({"detail": sentence}, status_code=status)
    )
    if retry_after_s:
        response.headers["retry-after"] = str(max(1, round(retry_after_s)))
    return response


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _text(fields: FormData, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


FORM = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Timbre: log in</title>
<style>
:root { color-scheme: light dark; --ground: #fafaf9; --card: #fff; --text: #1c1917; --quiet: #57534e;
  --line: #78716c; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #1c1917; --card: #292524; --text: #f5f5f4; --quiet: #d6d3d1; --line: #a8a29e; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { width: 100%; max-width: 24rem; }
form { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.4rem; }
h1 { margin: 0; font-size: 1.7rem; }
p { margin: .2rem 0 1rem; color: var(--quiet); }
p[role=alert] { color: var(--text); border-left: 5px solid #b91c1c; padding-left: .7rem;
  overflow-wrap: anywhere; }
label { display: block; font-weight: 600; margin-top: .8rem; }
input { width: 100%; font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line);
  border-radius: 8px; padding: .6rem .7rem; margin-top: .2rem; }
button { width: 100%; font: inherit; font-weight: 600; color: #fff; background: #0f766e; border: 0;
  border-radius: 8px; padding: .7rem; margin-top: 1.3rem; cursor: pointer; }
button:hover { background: #115e59; }
:focus-visible { outline: 3px solid #14b8a6; outline-offset: 2px; }
</style>
</head>
<body>
<main>
<form method="post" action="login">
<h1>Timbre</h1>
<p>Log in to clone voices and to convert recordings.</p>
{alert}
<label for="username">Name</label>
<input id="username" name="username" value="{name}" autocomplete="username" autocapitalize="none" required
  autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Log in</button>
</form>
</main>
</body>
</html>
"""
