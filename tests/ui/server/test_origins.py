"""Which web sites' pages may call a launched page, and what happens to what does not come over HTTPS."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.ui.launched import FRIEND_SITE as FRIEND
from tests.ui.launched import Launched, launched
from tests.ui.raw_http import Answer, ask

STRANGER = "https://stranger.example"
CALL = "/gradio_api/call/info"
BODY = json.dumps({"data": []})


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A page behind a proxy on this machine that speaks HTTPS."""
    folder = tmp_path_factory.mktemp("encrypted")
    with launched(folder, require_https=True, trusted_proxies="127.0.0.1") as page:
        yield page


def call(page: Launched, **headers: str) -> Answer:
    return ask(page.url, CALL, method="POST", body=BODY, content_type="application/json", **headers)


def allowed(answer: Answer) -> str | None:
    return answer.header("access-control-allow-origin")


def test_programs_and_this_page_may_call(page: Launched) -> None:
    assert call(page).status == 200
    assert call(page, origin=page.url.rstrip("/")).status == 200
    assert call(page, host="voices.example", origin="https://voices.example").status == 200
    behind_proxy = {"x_forwarded_host": "voices.example", "x_forwarded_for": "10.0.0.8"}
    assert call(page, origin="https://voices.example", **behind_proxy).status == 200


@pytest.mark.parametrize("host", [None, "voices.example"])
@pytest.mark.parametrize(
    "origin", [STRANGER, "null", "https://friend.example.evil.example", "http://friend.example"]
)
def test_other_sites_may_do_nothing_and_read_nothing(page: Launched, origin: str, host: str | None) -> None:
    """With a public host name too, where Gradio by itself allows every site."""
    where = {"host": host} if host else {}
    refused = call(page, origin=origin, **where)
    assert refused.status == 403
    assert "ALLOWED_ORIGINS" in refused.text
    assert allowed(refused) is None
    asked = ask(
        page.url, CALL, method="OPTIONS", origin=origin, access_control_request_method="POST", **where
    )
    assert asked.status == 403
    assert allowed(asked) is None
    for path in ("/config", "/health", "/gradio_api/info"):
        assert allowed(ask(page.url, path, origin=origin, **where)) is None


def test_allowed_sites_may_call_and_read(page: Launched) -> None:
    for origin in (FRIEND, "http://lab.example:8080"):
        answer = call(page, origin=origin)
        assert answer.status == 200
        assert allowed(answer) == origin
        event = json.loads(answer.text)["event_id"]
        result = ask(page.url, f"{CALL}/{event}", origin=origin)
        assert '"name": "Timbre"' in result.text
        assert allowed(result) == origin
    asked = ask(
        page.url,
        CALL,
        method="OPTIONS",
        origin=FRIEND,
        access_control_request_method="POST",
        access_control_request_headers="content-type,x-timbre-token",
    )
    assert asked.status == 200
    assert allowed(asked) == FRIEND
    assert "x-timbre-token" in str(asked.header("access-control-allow-headers"))


def test_what_comes_in_the_clear_is_sent_to_https_or_refused(encrypted: Launched) -> None:
    sent = ask(encrypted.url, "/gradio_api/info?x=1", host="voices.example")
    assert (sent.status, sent.header("location")) == (307, "https://voices.example/gradio_api/info?x=1")
    assert call(encrypted, host="voices.example").status == 403
    for untrue in ("http", "ftp", ""):
        assert call(encrypted, x_forwarded_proto=untrue).status == 403
    assert ask(encrypted.url, "/", host="evil.example/x?").status == 403
    assert "set-cookie" not in dict(sent.headers)


def test_probes_need_no_https(encrypted: Launched) -> None:
    assert ask(encrypted.url, "/health").status == 200
    assert ask(encrypted.url, "/metrics").status == 307


def test_over_https_cookies_are_secure_and_browsers_are_told_to_stay(encrypted: Launched) -> None:
    proxied = {"x_forwarded_proto": "https", "x_forwarded_for": "198.51.100.7", "host": "voices.example"}
    answer = ask(encrypted.url, "/", **proxied)
    assert answer.status == 200
    assert str(answer.header("strict-transport-security")).startswith("max-age=")
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert cookies
    assert all("; secure" in cookie.lower() for cookie in cookies)
    assert call(encrypted, origin="https://voices.example", **proxied).status == 200
    assert call(encrypted, origin=STRANGER, **proxied).status == 403


def test_only_a_trusted_proxy_is_believed(tmp_path_factory: pytest.TempPathFactory) -> None:
    with launched(
        tmp_path_factory.mktemp("untrusted"), require_https=True, trusted_proxies="10.0.0.1"
    ) as page:
        assert call(page, x_forwarded_proto="https", x_forwarded_for="10.0.0.1").status == 403
        assert ask(page.url, "/", x_forwarded_proto="https", host="a.example").status == 307


def test_without_the_setting_nothing_is_sent_to_https(page: Launched) -> None:
    answer = ask(page.url, "/")
    assert answer.status == 200
    assert answer.header("strict-transport-security") is None
