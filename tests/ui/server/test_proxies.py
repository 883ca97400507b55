from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from ui.server.identity import is_local, is_same_site

HERE = Headers({"host": "127.0.0.1:7860"})


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860"])
def test_this_machine_is_local_by_any_of_its_names(peer: str, host: str) -> None:
    assert is_local(peer, Headers({"host": host}))


@pytest.mark.parametrize("peer", [None, "", "10.0.0.3", "8.8.8.8", "testclient", "::2"])
def test_other_machines_are_not(peer: str | None) -> None:
    assert not is_local(peer, HERE)


OF_PROXIES = """
    Forwarded Via X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto X-Forwarded-Server
    X-Forwarded-Scheme X-Forwarded-Prefix X-Forwarded X-Original-Forwarded-For X-Original-Host X-Original-URL
    X-Real-IP X-Client-IP X-Cluster-Client-IP X-ProxyUser-Ip X-Remote-IP X-Remote-Addr X-Originating-IP X-Host
    X-Envoy-External-Address X-Envoy-Attempt-Count X-Azure-ClientIP X-Appengine-User-IP X-Amzn-Trace-Id
    X-Cloud-Trace-Context X-Request-ID X-Scheme X-NginX-Proxy X-Varnish X-ARR-LOG-ID X-Vercel-Id
    CF-Connecting-IP CF-Ray CF-Visitor CDN-Loop True-Client-IP Client-IP Fastly-Client-IP Fastly-FF
    Fly-Client-IP
    Akamai-Origin-Hop Incap-Client-IP WL-Proxy-Client-IP Proxy-Client-IP Cloudfront-Viewer-Address
    Tailscale-User-Login Remote-Addr Surrogate-Capability Max-Forwards Front-End-Https Early-Data
    Ali-CDN-Real-IP HTTP_X_FORWARDED_FOR
"""
# What browsers and programs send by themselves.
OF_VISITORS = """
    Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Length Content-Type
    Cookie DNT If-Modified-Since If-None-Match If-Range Pragma Priority Range Save-Data Sec-CH-UA
    Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-GPC TE
    Upgrade-Insecure-Requests User-Agent X-Timbre-Token X-Requested-With X-Gradio-User
    X-Prometheus-Scrape-Timeout-Seconds
"""


@pytest.mark.parametrize("name", OF_PROXIES.split())
def test_what_a_proxy_passed_on_is_not_local_whatever_it_says(name: str) -> None:
    for written in (name, name.lower(), name.upper()):
        assert not is_local("127.0.0.1", Headers({"host": "127.0.0.1", written: "127.0.0.1"}))


@pytest.mark.parametrize("name", OF_VISITORS.split())
def test_what_a_visitor_s_own_program_sends_leaves_them_local(name: str) -> None:
    assert is_local("127.0.0.1", Headers({"host": "127.0.0.1", name: "1"}))


@pytest.mark.parametrize("version", ["1.0", "0.9"])
def test_a_proxy_that_speaks_the_oldest_protocol_is_not_local(version: str) -> None:
    assert not is_local("127.0.0.1", HERE, version)
    assert is_local("127.0.0.1", HERE, "1.1")


@pytest.mark.parametrize("name", ["origin", "referer"])
@pytest.mark.parametrize(
    ("page", "local"),
    [
        ("http://127.0.0.1:7860", True),
        ("http://127.0.0.1:7860/?x", True),
        ("https://voices.example.org", False),
        ("https://voices.example.org/127.0.0.1:7860/", False),
        ("http://127.0.0.1:7860@voices.example.org/", False),
        ("http://127.0.0.1:8000/", False),
        ("null", False),
        ("", False),
        ("http://[broken", False),
    ],
)
def test_a_page_of_another_host_is_not_local(name: str, page: str, local: bool) -> None:
    assert is_local("127.0.0.1", Headers({"host": "127.0.0.1:7860", name: page})) is local


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
