"""What a voice's card says besides what an engine needs, fit to be kept and shown.

A stranger may have written it, so whatever is not of the kind that it should be is left out: a row of the
library never holds what a page could trip over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Facts = dict[str, Any]

LONGEST_TEXT = 500
MAX_FACTS = 12
GIVEN = "Given by the person who made it"

_LONGEST_SECONDS = 1e8


def created_at(card: Mapping[str, Any]) -> str | None:
    """Return when the voice was made, ISO 8601; None if it does not say so."""
    return _moment(card.get("created_at"))


def seconds_of_audio(card: Mapping[str, Any]) -> float | None:
    """Return how much speech it was trained on; None if it does not say so."""
    seconds = card.get("training", {}).get("seconds_of_audio")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return float(seconds) if 0 <= seconds < _LONGEST_SECONDS else None


def consent(card: Mapping[str, Any]) -> Facts | None:
    """Return what was stated about the right to use the voice: statement, and given_at if it is known."""
    said = card.get("consent")
    statement = said.get("statement") if isinstance(said, dict) else said
    if statement is True:
        statement = GIVEN
    if not isinstance(statement, str) or not statement.strip():
        return None
    given_at = _moment(said.get("given_at")) if isinstance(said, dict) else None
    told: Facts = {"statement": _text(statement)}
    return told | ({"given_at": given_at} if given_at else {})


def told(card: Mapping[str, Any]) -> Facts:
    """Return what else its maker wrote by name: licence, info, and facts such as epochs and author."""
    named = card.get("facts")
    found: Facts = {name: card.get(name) for name in ("licence", "info", "vocoder")}
    found |= {str(name): value for name, value in named.items()} if isinstance(named, dict) else {}
    plain = {
        _text(name): _text(value) if isinstance(value, str) else value
        for name, value in found.items()
        if (isinstance(value, str) and value.strip()) or _is_number(value)
    }
    return dict(list(plain.items())[:MAX_FACTS])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(text: str) -> str:
    """Bound a text and make one printable line of it."""
    shown = "".join(character if character.isprintable() else " " for character in text[:LONGEST_TEXT])
    return " ".join(shown.split())


def _moment(stamp: object) -> str | None:
    """Return a time of day as rows hold it; None for what is none."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None
