"""Pieces of HTML: what a person typed never becomes markup, and every state says what comes next."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.store.records import ENDED, RUNNING, new_job, public_row
from ui.look.html import bar, job_card, voice_card
from ui.tabs.jobs import details_of, line_of

NASTY = '<img src=x onerror="alert(1)">&'


def row(status: str, **fields: object) -> dict[str, Any]:
    return public_row(new_job("me", "training", status=status, seq=1, **fields), position=3)


def test_names_and_messages_are_text_and_never_markup() -> None:
    files = [{"name": NASTY, "seconds": 3.0, "original": "x", "audio": "y"}]
    job = row("failed", model_name=NASTY, error_message=NASTY, files=files)
    running = row("training", message=NASTY)
    job["refused"] = [{"name": "b.wav", "reason": f"b.wav is {NASTY}."}]
    voice = {"model_name": NASTY, "engine": NASTY, "consent": {"statement": NASTY}, "f0": {}}
    for html in (job_card(job, title=NASTY), job_card(running), details_of(job), voice_card(voice)):
        assert "<img" not in html
    assert "&lt;img" in job_card(job)
    assert "b.wav is &lt;img" in details_of(job)


@pytest.mark.parametrize("status", sorted(ENDED | RUNNING | {"pending", "uploaded"}))
def test_every_state_has_a_word(status: str) -> None:
    html = job_card(row(status))
    assert 'class="tm-chip' in html
    assert status not in line_of(row(status)) or status == "training"


def test_a_waiting_job_says_how_many_are_before_it() -> None:
    assert "2 jobs ahead" in job_card(row("pending"))


def test_a_stopped_training_says_that_nothing_is_lost() -> None:
    assert "Resume" in job_card(row("cancelled"))
    assert "Resume" in job_card(row("interrupted"))


def test_a_failure_shows_its_reason() -> None:
    assert "too quiet" in job_card(row("failed", error_message="The recording is too quiet."))


def test_a_batch_of_which_some_failed_is_not_simply_done() -> None:
    files = [{"name": "a.wav", "status": "completed"}, {"name": "b.wav", "status": "failed"}]
    said = job_card(row("completed", files=files) | {"type": "batch"})
    assert "Done, 1 failed" in said
    assert "tm-warn" in said
    assert "tm-good" not in said


@pytest.mark.parametrize(("fraction", "shown"), [(-1.0, 0), (0.424, 42), (7.0, 100)])
def test_a_bar_can_be_read_aloud(fraction: float, shown: int) -> None:
    html = bar(fraction, "Training")
    assert 'role="progressbar"' in html
    assert f'aria-valuenow="{shown}"' in html


def test_an_imported_voice_says_what_it_knows() -> None:
    voice: dict[str, Any] = {"model_name": "Anna", "origin": "imported", "created_at": "2024-05-06T00:00:00Z"}
    voice |= {"imported_at": "2025-06-07T12:00:00+00:00", "told": {"epoch": 200, "author": NASTY}}
    html = voice_card(voice)
    assert "2024, imported" in html
    assert "Its file says nothing about it" in html
    assert "epoch: 200, author: &lt;img" in html
    stated = {"statement": "Mine", "given_at": "2024-05-06T12:00:00+00:00"}
    assert "Mine (stated May 6, 2024)" in voice_card(voice | {"consent": stated})


def test_a_voice_says_whose_permission_it_has_and_where_it_comes_from() -> None:
    voice = {"model_name": "Anna", "builtin": True, "consent": {"statement": "This is my voice"}, "uses": 2}
    html = voice_card(voice | {"seconds_converted": 70.0, "last_used_at": None})
    assert "This is my voice" in html
    assert "comes with Timbre" in html
    assert "2 times" in html


def test_the_list_tells_what_is_tried_again_and_what_was_given_up() -> None:
    again = row("pending") | {"attempts": 1, "dead_letter": False}
    assert "Tried 1 time, waiting to try again" in line_of(again)
    assert "Waiting" in line_of(again | {"attempts": 0})
    given_up = row("failed") | {"attempts": 3, "dead_letter": True}
    assert "Given up after 3 tries" in line_of(given_up)
    assert "Given up" not in line_of(given_up | {"dead_letter": False})


def test_who_waits_is_told_for_how_long_and_what_has_stopped_leads_to_the_jobs() -> None:
    waiting = job_card(row("pending") | {"eta_s": 240.0})
    assert "about 4 min left" in waiting
    assert "data-tab" not in waiting
    for status in ("interrupted", "cancelled", "failed"):
        assert 'data-tab="jobs"' in job_card(row(status))
        assert "data-tab" not in job_card(row(status), linked=False)
