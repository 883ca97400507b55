"""The gate: which routes exist, what every answer says, and that a new route of Gradio cannot slip in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from tests.hostile.attacker import Attacker
from tests.ui.launched import Launched
from tests.ui.raw_http import ask
from ui.server.gate import Routes

# The paths of the installed Gradio, as it writes them, that the page or a client needs.
NEEDED = {
    ("GET", "/"), ("GET", "/admin"), ("GET", "/config"), ("GET", "/theme.css"), ("GET", "/favicon.ico"),
    ("GET", "/robots.txt"),
    ("GET", "/manifest.json"), ("GET", "/assets/{path:path}"), ("GET", "/static/{path:path}"),
    ("GET", "/svelte/{path:path}"), ("GET", "/gradio_api/info"), ("GET", "/gradio_api/openapi.json"),
    ("GET", "/gradio_api/theme.css"), ("GET", "/gradio_api/app_id"), ("GET", "/gradio_api/user"),
    ("GET", "/gradio_api/login_check"), ("GET", "/gradio_api/startup-events"),
    ("POST", "/gradio_api/queue/join"), ("GET", "/gradio_api/queue/data"), ("POST", "/gradio_api/cancel"),
    ("POST", "/gradio_api/reset"), ("POST", "/gradio_api/call/{api_name}"),
    ("POST", "/gradio_api/call/v2/{api_name}"), ("GET", "/gradio_api/call/{api_name}/{event_id}"),
    ("GET", "/gradio_api/call/v2/{api_name}/{event_id}"), ("POST", "/gradio_api/run/{api_name}"),
    ("GET", "/gradio_api/heartbeat/{session_hash}"), ("POST", "/gradio_api/upload"),
    ("GET", "/gradio_api/upload_progress"),
}  # fmt: skip
FILES = {("GET", "/gradio_api/file={path_or_url:path}")}  # open for what was handed out
PICTURES = ("icon.svg", "icon-192.png", "icon-512.png", "preview.png")
OURS = {("GET", "/health"), ("GET", "/metrics"), *(("GET", f"/{name}") for name in PICTURES)}


def walked(routes: list[BaseRoute], under: str = "") -> Iterator[tuple[str, str]]:
    """Every (method, path) that an application answers, HEAD beside GET left out."""
    for route in routes:
        if isinstance(route, Mount):
            yield from walked(list(route.routes), under + route.path)
        elif isinstance(route, Route | APIRoute):
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield method, under + route.path
        elif isinstance(route, WebSocketRoute):
            yield "WEBSOCKET", under + route.path
        else:
            inner: Any = getattr(route, "original_router", route)  # what FastAPI makes of an included one
            yield from walked(list(getattr(inner, "routes", ())), under)


@pytest.fixture(scope="module")
def routes(page: Launched) -> set[tuple[str, str]]:
    found = {(method, path.rstrip("/") or "/") for method, path in walked(list(page.app.routes))}
    assert len(found) >= 50, "the walk does not find Gradio's routes any more"
    return found


def filled(path: str) -> str:
    """A path with something in each place for a name."""
    return re.sub(r"{(\w+)(:path)?}", "x", path)


def test_every_route_of_gradio_is_open_by_a_list_or_not_at_all(routes: set[tuple[str, str]]) -> None:
    gate = Routes(with_users=False)
    opened = {(method, path) for method, path in routes if gate.refusal_of(method, filled(path)) is None}
    assert opened - OURS == NEEDED
    assert routes >= NEEDED | FILES, "Gradio has other names for these by now"


def test_what_is_not_on_the_list_answers_404_and_reads_and_writes_nothing(
    page: Launched, routes: set[tuple[str, str]]
) -> None:
    before = sorted(page.cache.rglob("*"))
    closed = sorted(routes - NEEDED - OURS)
    assert {path for _, path in closed} >= {"/gradio_api/process_recording", "/gradio_api/component_server"}
    for method, path in closed:
        for end in ("", "/"):
            body = None if method == "GET" else "x" * 10_000
            verb = "GET" if method == "WEBSOCKET" else method
            answer = ask(page.url, filled(path) + end, method=verb, body=body)
            assert (answer.status, "nothing at this address" in answer.text) == (404, True), (method, path)
    assert sorted(page.cache.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    ["/login", "/gradio_api/monitoring", "/docs", "/openapi.json", "/redoc", "/gradio_api//upload",
     "/a/../config", "/gradio_api/%66ile/etc/passwd", "/gradio_api/FILE=/etc/passwd", "/%2e%2e/etc/passwd",
     "//config", "/config/x", "/assets/..%2f..%2fblocks.py", "/gradio_api/upload%00",
     "/gradio_api/call/a/b/c", "/vibe-code/"],
)  # fmt: skip
def test_other_spellings_and_neighbours_lead_nowhere(page: Launched, path: str) -> None:
    assert ask(page.url, path).status in (404, 405)
    assert ask(page.url, path, method="POST", body="{}").status in (404, 405)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_refused(page: Launched, method: str) -> None:
    for path in ("/", "/health", "/gradio_api/upload", "/gradio_api/queue/join"):
        answer = ask(page.url, path, method=method)
        assert answer.status in (400, 405), (method, path)


def test_a_websocket_is_closed(page: Launched) -> None:
    answer = ask(
        page.url, "/gradio_api/queue/join",
        upgrade="websocket", connection="Upgrade",
        sec_websocket_version="13", sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==",
    )  # fmt: skip
    assert answer.status in (403, 404, 405)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/health"), ("GET", "/config"), ("GET", "/nothing"), ("PUT", "/"),
     ("POST", "/gradio_api/upload"), ("POST", "/gradio_api/queue/join"), ("GET", "/gradio_api/file=/x")],
)  # fmt: skip
def test_every_answer_forbids_frames_and_guessing_of_types(page: Launched, method: str, path: str) -> None:
    answer = ask(page.url, path, method=method, body="{}" if method == "POST" else None)
    policy = answer.header("content-security-policy") or ""
    assert "frame-ancestors 'self'" in policy
    assert "img-src 'self' data: blob:" in policy
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("x-frame-options") == "SAMEORIGIN"
    assert answer.header("referrer-policy") == "same-origin"


def test_a_range_is_served_and_tells_nothing_of_who_asked(page: Launched) -> None:
    file = Attacker(url=page.url, token="a-secret-of-my-own").send("a.txt", b"0123456789")
    assert file is not None
    path = f"/gradio_api/file={file['path']}"
    given = {"cookie": "private=1", "x_timbre_token": "a-secret-of-my-own", "authorization": "Bearer private"}
    part = ask(page.url, path, range="bytes=2-4", **given)
    assert (part.status, part.text, part.header("content-range")) == (206, "234", "bytes 2-4/10")
    for answer in (part, ask(page.url, path, range="bytes=7-", **given), ask(page.url, path, **given)):
        assert answer.status in (200, 206)
        repeated = {name for name, _ in answer.headers} & {
            "cookie",
            "x-timbre-token",
            "authorization",
            "host",
        }
        assert not repeated
        assert "private" not in str([pair for pair in answer.headers if pair[0] != "set-cookie"])
    for wrong in ("bytes=1-2-3", "bytes=²-3", f"bytes=0-{'9' * 5000}", "bytes=-", "lines=1-2", "bytes=a-b"):
        answer = ask(page.url, path, range=wrong.encode().decode("latin-1"))
        assert (answer.status, answer.text) == (200, "0123456789"), wrong
    assert ask(page.url, path, range="bytes=99-100").status in (200, 416)
