from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from ui.server.identity import FORWARDED, is_local, is_same_site

HERE = Headers({"host": "127.0.0.1:7860"})


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860"])
def test_this_machine_is_local_by_any_of_its_names(peer: str, host: str) -> None:
    assert is_local(peer, Headers({"host": host}))


@pytest.mark.parametrize("peer", [None, "", "10.0.0.3", "8.8.8.8", "testclient", "::2"])
def test_other_machines_are_not(peer: str | None) -> None:
    assert not is_local(peer, HERE)


@pytest.mark.parametrize("name", FORWARDED)
def test_what_a_proxy_passed_on_is_not_local_whatever_it_says(name: str) -> None:
    assert not is_local("127.0.0.1", Headers({"host": "127.0.0.1", name.title(): "127.0.0.1"}))


@pytest.mark.parametrize(
    "host", ["voices.example.org", "", "a.gradio.live", "127.0.0.1.example.org", "[", "::1"]
)
def test_a_name_from_outside_gives_a_silent_proxy_away(host: str) -> None:
    assert not is_local("127.0.0.1", Headers({"host": host}))


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({"host": "a.example"}, True),
        ({"host": "a.example", "origin": "https://a.example"}, True),
        ({"host": "A.Example:80", "origin": "http://a.example:80"}, True),
        ({"host": "a.example", "origin": "https://b.example"}, False),
        ({"host": "a.example", "origin": "https://a.example:8443"}, False),
        ({"host": "a.example", "origin": "null"}, False),
        ({"host": "a.example", "origin": ""}, False),
        ({"host": "a.example", "origin": "https://a.example.b.example"}, False),
        ({"host": "a.example", "origin": "http://[broken"}, False),
        ({"host": "10.0.0.2:7860", "x-forwarded-host": "a.example", "origin": "https://a.example"}, True),
        ({"host": "10.0.0.2", "sec-fetch-site": "same-origin", "origin": "https://a.example"}, True),
        ({"host": "10.0.0.2", "sec-fetch-site": "cross-site", "origin": "https://a.example"}, False),
    ],
)
def test_a_page_is_of_this_site_when_it_came_from_the_same_host(headers: dict[str, str], same: bool) -> None:
    assert is_same_site(Headers(headers)) is same
