"""Who is calling, told from a login, a header or a cookie; and the cookie that browsers are given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from pipelines.store.records import Caller, Row
from pipelines.store.registry import Registry
from pipelines.users.accounts import Accounts
from pipelines.users.tokens import Tokens
from rvc.errors import NotAllowedError
from tests.cheap_accounts import accounts_of
from ui.server.identity import HEADER, CallerCookie, Callers, WebCaller

TOKENS: Any = SimpleNamespace(find=lambda token, kind: None)  # nobody has one
CALLERS = Callers("a secret that is long enough", tokens=TOKENS)


Request = Any  # as much of Gradio's as is looked at


def request(token: str = "", cookie: str = "", login: str = "", bearer: str = "") -> Request:
    headers = {HEADER: token, "authorization": f"Bearer {bearer}" if bearer else ""}
    cookies = {CALLERS.cookie_name: cookie, CALLERS.login_name: login}
    return SimpleNamespace(
        headers={name: value for name, value in headers.items() if value},
        cookies={name: value for name, value in cookies.items() if value},
        client=SimpleNamespace(host="192.0.2.7"),
    )


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    registry = Registry(tmp_path / "data")
    yield Tokens(registry)
    registry.close()


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return accounts_of(tmp_path, "root", "bob")


@pytest.fixture
def guarded(tokens: Tokens, accounts: Accounts) -> Callers:
    """Callers of a server where one has to log in."""
    return Callers("a secret that is long enough", tokens=tokens, accounts=accounts)


def logged_in(guarded: Callers, name: str) -> str:
    assert guarded.accounts is not None
    account = guarded.accounts.get(name)
    assert account is not None
    return guarded.tokens.create(name, "login", "browser", account=account.id, stamp=account.stamp)[0]


def made_token(guarded: Callers, name: str) -> tuple[str, Row]:
    assert guarded.accounts is not None
    account = guarded.accounts.get(name)
    assert account is not None
    return guarded.tokens.create(name, "personal", "x", account=account.id)


def test_a_signed_token_is_the_same_person_in_the_cookie_and_in_the_header() -> None:
    token = CALLERS.issue()
    assert CALLERS.authenticate(request(cookie=token)) == CALLERS.authenticate(request(token=token))
    assert CALLERS.authenticate(request(cookie=token)) != CALLERS.authenticate(
        request(cookie=CALLERS.issue())
    )


def test_with_users_a_login_or_a_personal_token_decides_alone(guarded: Callers) -> None:
    personal, row = made_token(guarded, "bob")
    assert guarded.authenticate(request(login=logged_in(guarded, "root"))) == WebCaller("root", admin=True)
    assert guarded.authenticate(request(login=logged_in(guarded, "bob"))) == WebCaller("bob", admin=False)
    for way in ({"bearer": personal}, {"token": personal}, {"bearer": "hf_other", "token": personal}):
        assert guarded.authenticate(request(**way)) == WebCaller("bob")
    guarded.tokens.revoke("bob", row["id"])
    nobody = [{}, {"bearer": personal}, {"token": "sixteen-letters-or-more"}, {"cookie": CALLERS.issue()}]
    for way in nobody:
        with pytest.raises(NotAllowedError, match="Log in first"):
            guarded.authenticate(request(**way))
    with pytest.raises(NotAllowedError):
        guarded.authenticate(request(bearer=personal, login=logged_in(guarded, "root")))


def test_a_login_ends_with_the_password_and_everything_with_the_user(
    guarded: Callers, accounts: Accounts
) -> None:
    login, (personal, _) = logged_in(guarded, "bob"), made_token(guarded, "bob")
    accounts.put("bob", "another long password")
    assert guarded.account(request(login=login)) is None
    assert guarded.account(request(bearer=personal)) is not None
    users = json.loads(accounts.path.read_text())
    del users["users"]["bob"]
    accounts.path.write_text(json.dumps(users))
    assert guarded.account(request(bearer=personal)) is None


def test_without_users_a_personal_token_stands_for_the_browser_that_made_it(tokens: Tokens) -> None:
    callers = Callers("a secret that is long enough", tokens=tokens)
    browser = callers.authenticate(request(cookie=CALLERS.issue()))
    personal, row = tokens.create(browser.user_id, "personal", "x")
    assert callers.authenticate(request(bearer=personal)) == browser
    assert callers.authenticate(request(token=personal, cookie=CALLERS.issue())) == browser
    assert callers.authenticate(request(bearer="hf_other", cookie=CALLERS.issue())) != browser
    tokens.revoke(browser.user_id, row["id"])
    with pytest.raises(NotAllowedError, match="not valid"):
        callers.authenticate(request(token=personal, cookie=CALLERS.issue()))


def test_the_address_of_a_request_counts_for_limits_and_makes_no_other_person() -> None:
    caller = CALLERS.authenticate(request(token="sixteen-letters-or-more"))
    assert caller.address == "192.0.2.7"
    assert caller == WebCaller(caller.user_id)


def test_an_own_secret_is_a_person_and_does_not_appear_in_the_name() -> None:
    mine = CALLERS.authenticate(request(token="sixteen-letters-or-more"))
    assert mine == CALLERS.authenticate(request(token="sixteen-letters-or-more"))
    assert mine != CALLERS.authenticate(request(token="sixteen-letters-or-less"))
    assert "sixteen" not in mine.user_id


@pytest.mark.parametrize(
    "token", ["", "short", "with a space in between", "x" * 201, "f" * 32 + "." + "0" * 40]
)
def test_nothing_else_is_anybody(token: str) -> None:
    with pytest.raises(NotAllowedError):
        CALLERS.authenticate(request(token=token))


def test_a_token_of_another_server_is_refused() -> None:
    foreign = Callers("another secret, long enough", tokens=TOKENS).issue()
    assert not CALLERS.is_signed(foreign)
    with pytest.raises(NotAllowedError):
        CALLERS.authenticate(request(cookie=foreign))


def test_voices_that_are_there_for_everybody_are_seen_and_those_of_others_are_not() -> None:
    visitor = WebCaller("me")
    assert visitor.may_see({"user_id": None, "builtin": True})
    assert visitor.may_see({"user_id": "me"})
    assert not visitor.may_see({"user_id": "you", "builtin": False})
    assert not Caller("me").may_see({"user_id": None, "builtin": True})


def passed(
    headers: list[tuple[bytes, bytes]], path: str = "/", scheme: str = "http"
) -> tuple[str, list[str]]:
    """Send a request through the middleware: the cookies that the app saw, and those that were set."""
    seen: list[str] = []
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(v.decode() for k, v in scope["headers"] if k == b"cookie")
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Message) -> None:
        sent.extend(v.decode() for k, v in message["headers"] if k == b"set-cookie")

    async def receive() -> Message:
        return {}

    scope: Scope = {"type": "http", "path": path, "scheme": scheme, "headers": headers}
    asyncio.run(CallerCookie(app, callers=CALLERS)(scope, receive, send))
    return "; ".join(seen), sent


def test_a_browser_without_a_cookie_gets_one_and_is_already_that_person() -> None:
    seen, sent = passed([(b"cookie", b"theme=dark")])
    given = SimpleCookie(sent[0])[CALLERS.cookie_name]
    assert CALLERS.is_signed(given.value)
    assert given["httponly"]
    assert given["samesite"] == "Lax"
    assert f"{CALLERS.cookie_name}={given.value}" in seen
    assert "theme=dark" in seen


def test_a_forged_cookie_is_replaced() -> None:
    forged = f"{CALLERS.cookie_name}={'f' * 32}.{'0' * 40}"
    seen, sent = passed([(b"cookie", forged.encode())])
    assert "f" * 32 not in seen
    assert len(sent) == 1


def test_a_known_browser_keeps_its_cookie() -> None:
    token = CALLERS.issue()
    cookie = [(b"cookie", f"{CALLERS.cookie_name}={token}".encode())]
    assert passed(cookie, path="/config")[1] == []
    assert token in passed(cookie)[1][0], "opening the page renews its age"


def test_over_https_the_cookie_is_never_sent_in_the_clear() -> None:
    assert "Secure" in passed([], scheme="https")[1][0]
    assert "Secure" in passed([(b"x-forwarded-proto", b"https")])[1][0]


def test_machines_that_poll_get_no_cookie() -> None:
    assert passed([], path="/health") == ("", [])


def test_two_servers_on_one_machine_do_not_share_a_cookie_name() -> None:
    assert Callers("another secret, long enough", tokens=TOKENS).cookie_name != CALLERS.cookie_name
