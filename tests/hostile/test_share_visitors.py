"""Visitors of a public link, as its tunnel hands them on: from this machine, X-Forwarded-For appended."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.ui.launched import Launched, launched
from tests.ui.raw_http import ask

MOST = 5  # an address may do five times as much as a user
ANNA, BERT = "203.0.113.5", "2001:db8::7"


@pytest.fixture
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("shared"), shared=True, files_per_hour=1) as page:
        yield page


def sends(page: Launched, *passed_on: str, n: int = 0) -> int:
    """Send a file as a new visitor, through these headers; return the status."""
    headers = [("x-timbre-token", f"a-visitor-with-number-{n}-{len(passed_on)}")]
    headers += [("x-forwarded-for", line) for line in passed_on]
    files = {"files": ("a.wav", b"some bytes", "audio/wav")}
    return httpx.post(f"{page.url}gradio_api/upload", files=files, headers=headers).status_code


def test_limits_count_visitors_of_a_public_link_by_their_own_addresses(page: Launched) -> None:
    assert [sends(page, ANNA, n=n) for n in range(MOST + 1)] == [200] * MOST + [429]
    assert sends(page, BERT, n=10) == 200


def test_a_visitor_of_a_public_link_cannot_pretend_to_be_another(page: Launched) -> None:
    assert [sends(page, ANNA, n=n) for n in range(MOST)] == [200] * MOST
    lies = [
        (f"198.51.100.9, {ANNA}",),
        (f"127.0.0.1, {ANNA}",),
        (f"{BERT}, ::1, {ANNA}",),
        ("198.51.100.9", ANNA),
        (f"198.51.100.9,,{ANNA}",),
        (f"nonsense, {ANNA}",),
    ]
    assert [sends(page, *lie, n=20 + n) for n, lie in enumerate(lies)] == [429] * len(lies)
    assert sends(page, f"{ANNA}, {BERT}", n=40) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_forwarded_for": "127.0.0.1"},
        {"x_forwarded_for": f"127.0.0.1, {ANNA}"},
        {"x_forwarded_for": f"{ANNA}, 127.0.0.1"},
        {"host": "a.gradio.live"},
    ],
    ids=str,
)
def test_a_visitor_of_a_public_link_is_never_at_this_machine(page: Launched, headers: dict[str, str]) -> None:
    assert ask(page.url, "/metrics", **headers).status == 403


def test_without_a_public_link_nobody_s_word_is_taken_for_their_address(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with launched(tmp_path_factory.mktemp("alone"), files_per_hour=1) as page:
        found = [sends(page, f"203.0.113.{n}", n=n) for n in range(MOST + 1)]
        assert found == [200] * MOST + [429]
