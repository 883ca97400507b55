"""Who is answered in which language, from outside."""

from __future__ import annotations

import httpx
import pytest
from gradio_client import Client  # type: ignore[import-untyped]

from tests.ui.launched import Launched, client_to
from tests.ui.strangers import refusal
from ui.look.language import LANGUAGE, retold
from ui.server.languages import COOKIE

NO_JOB = "There is no job 'x'; list your jobs to see their ids."


def in_german(text: str) -> str:
    token = LANGUAGE.set("de")
    try:
        told = retold(text)
    finally:
        LANGUAGE.reset(token)
    assert told != text
    return told


@pytest.mark.parametrize(
    ("headers", "root"),
    [
        ({}, 'lang="en"\n\tdir="ltr"'),
        ({"accept-language": "ar-EG,ar;q=0.9"}, 'lang="ar"\n\tdir="rtl"'),
        ({"accept-language": "ar", "cookie": f"{COOKIE}=de"}, 'lang="de"\n\tdir="ltr"'),
        ({"accept-language": "ar", "cookie": f'{COOKIE}="><script>'}, 'lang="ar"\n\tdir="rtl"'),
    ],
)
def test_a_page_says_which_language_it_is_in(page: Launched, headers: dict[str, str], root: str) -> None:
    answer = httpx.get(page.url, headers=headers)
    assert answer.text[:200].count(root) == 1
    assert {"Accept-Language", "Cookie"} <= set(answer.headers["vary"].split(", "))


def test_a_page_is_sent_in_one_language_and_the_next_in_another(page: Launched) -> None:
    label = "This is my voice, or I have permission to use it"
    for tag, expected in (("de", in_german(label)), ("en", label), ("de", in_german(label))):
        assert expected in httpx.get(page.url, headers={"accept-language": tag}).text


def test_a_program_is_told_in_english_unless_it_asks(page: Launched) -> None:
    asks = Client(page.url, verbose=False, headers={"accept-language": "de", "x-timbre-token": "a" * 20})
    assert refusal(client_to(page), "x", api_name="/job_status") == NO_JOB
    assert refusal(asks, "x", api_name="/job_status") == in_german(NO_JOB)


def test_what_is_refused_before_a_call_is_told_in_the_language_too(page: Launched) -> None:
    nothing = "There is nothing at this address."
    for headers, said in (({}, nothing), ({"accept-language": "de"}, in_german(nothing))):
        assert said in httpx.get(f"{page.url}/none", headers=headers).text
