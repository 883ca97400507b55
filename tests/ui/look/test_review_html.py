"""The list of slices: in words that a person reads, as text, and for keys and screen readers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pipelines.recordings.doubts import REASONS
from ui.look.review_html import counts, reason_in_words, review_list, waveform


def page(*rows: dict[str, Any], **facts: object) -> dict[str, Any]:
    figures = {
        "slices": 212,
        "seconds": 564.0,
        "rejected": 0,
        "left_s": 564.0,
        "doubtful": 3,
    }
    return figures | {"matching": len(rows), "offset": 0, "rows": list(rows)} | facts


def row(**facts: object) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": "0123456789abcdef-0", "file": "a.wav", "file_id": "0123456789abcdef", "start_s": 65.0,
        "end_s": 69.0, "seconds": 4.0, "level_db": -21.4, "reasons": ["noisy"], "rejected": False,
        "file_rejected": False, "peaks": [0, 255, 128],
    }  # fmt: skip
    return found | facts


def html(
    *rows: dict[str, Any], only: str = "all", said: str = "", undoable: bool = False, **facts: object
) -> str:
    return review_list(page(*rows, **facts), only=only, sort="doubt", said=said, undoable=undoable)


def test_how_many_there_are_and_what_is_left_is_counted() -> None:
    assert counts(page()) == "212 slices, 9 min 24 s"
    assert counts(page(rejected=5, left_s=540.0)) == "212 slices, 9 min 24 s; 5 rejected, 9 min left"
    assert counts(page(slices=1, seconds=4.0)) == "1 slice, 4.0 s"


def test_a_slice_tells_where_it_is_from_how_long_how_loud_and_why_it_is_doubtful() -> None:
    shown = html(row())
    for words in ("a.wav, at 1:05", "4.0 s", "-21 dB", "noisy", "Reject this whole file"):
        assert words in shown
    assert 'aria-label="a.wav, at 1:05, 4.0 s, noisy"' in shown
    assert 'aria-label="Play a.wav, at 1:05"' in shown
    assert 'data-act="reject"' in shown


def test_a_rejected_slice_says_so_and_offers_the_way_back() -> None:
    shown = html(row(rejected=True, file_rejected=True))
    assert 'aria-label="a.wav, at 1:05, 4.0 s, rejected"' in shown
    assert 'data-act="restore"' in shown
    assert 'data-act="restore_file"' in shown
    assert "Take this whole file back" in shown


def test_names_of_files_are_text() -> None:
    shown = html(row(file='<img src=x onerror="a">'))
    assert "<img" not in shown
    assert 'onerror="a"' not in shown


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_words(reason: str) -> None:
    assert reason_in_words(reason) != reason or reason in ("noisy",)


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("rejected", "Nothing is rejected."),
        ("doubtful", "Nothing looks doubtful."),
        ("all", "There are no slices."),
    ],
)
def test_an_empty_list_says_why(only: str, said: str) -> None:
    assert said in html(only=only)


def test_pages_are_offered_where_there_are_more() -> None:
    assert "tm-review-pages" not in html(row())
    first = html(row(), matching=3)
    assert "1 to 1 of 3" in first
    assert re.search(r'data-id="-1" disabled>Earlier', first)
    last = html(row(), matching=3, offset=2)
    assert re.search(r'data-id="1" disabled>More', last)


def test_what_was_done_is_announced_and_undone_by_a_button() -> None:
    assert '<span class="tm-said" role="status" aria-live="polite">1 &lt; 2</span>' in html(said="1 < 2")
    assert re.search(r'data-act="undo"[^>]* disabled', html())
    assert not re.search(r'data-act="undo"[^>]* disabled', html(undoable=True))


def test_a_waveform_is_as_high_as_its_loudest_moment() -> None:
    assert "v38" in waveform([1, 2, 90])
    assert "v38" not in waveform([0, 1, 2]), "silence is flat"
