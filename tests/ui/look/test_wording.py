"""Numbers as people say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ui.look.wording import ago, duration, moment, position, size, time_left, voice_labels


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (3.21, "3.2 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (1_200, "20 min"),
        (7_260, "2 h 1 min"),
    ],
)
def test_lengths_are_said_as_people_say_them(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_an_estimate_claims_no_precision_that_it_has_not() -> None:
    assert time_left(None) == ""
    assert time_left(3) == "a few seconds left"
    assert time_left(43) == "about 45 s left"
    assert time_left(171) == "about 3 min left"
    assert time_left(5_400) == "about 1.5 h left"


def test_a_place_in_the_queue_counts_those_before() -> None:
    assert position(1) == "next in line"
    assert position(2) == "1 job ahead of it"
    assert position(5) == "4 jobs ahead of it"


def test_moments_are_read_from_the_registry_s_text() -> None:
    now = datetime.now(UTC)
    assert ago((now - timedelta(seconds=3)).isoformat()) == "just now"
    assert ago((now - timedelta(minutes=5)).isoformat()) == "5 min ago"
    assert ago((now - timedelta(hours=3)).isoformat()) == "3 h ago"
    assert ago((now - timedelta(days=3)).isoformat()) == moment((now - timedelta(days=3)).isoformat())
    assert "2001" in moment("2001-02-03T04:05:06.000+00:00")
    assert moment(None) == ago(None) == "-"


def test_sizes_have_a_unit() -> None:
    assert size(12_300) == "12 kB"
    assert size(3_460_000) == "3.5 MB"


def test_voices_of_one_name_are_told_apart_by_where_they_come_from() -> None:
    """An id, or a piece of one, tells nobody anything."""
    made = "2024-05-06T07:08:00+00:00"
    rows: list[dict[str, object]] = [
        {"model_name": "Kathleen", "builtin": True},
        {"model_name": "Kathleen", "created_at": made},
        {"model_name": "Anna", "created_at": made},
        {"model_name": "Kathleen", "created_at": made},
    ]
    day = moment(made)
    assert voice_labels(rows) == [
        "Kathleen (comes with Timbre)", f"Kathleen ({day})", "Anna", f"Kathleen ({day}), 2",
    ]  # fmt: skip
