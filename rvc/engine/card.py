"""card.json: what a voice model says of itself, and the only thing that chooses its engine.

Required: format_version (1), engine, name, sample_rate_hz, content_encoder, content_dim.
Optional: f0 {median_hz, low_hz, high_hz} of the voice, for the automatic transposition; tone_db, the spectrum
          of its recordings; and whatever else its maker wrote, which is kept as it stands in `document`.
Strict:   a stranger may have written it, so every field that is used is checked for type and range.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rvc.errors import CheckpointError
from rvc.pitch.f0 import F0Statistics

CARD_FILE = "card.json"
FORMAT_VERSION = 1
MAX_CARD_BYTES = 1_000_000
MAX_PARTS = (
    10_000  # values in it, and a card has some hundreds: the server reads cards, and each takes memory
)
TONE_BANDS = 20  # numbers in `VoiceCard.tone_db`: each a twentieth of 40..7,600 Hz in mel
_WAY_OUT = "export the voice again"


@dataclass(frozen=True, kw_only=True)
class VoiceCard:
    """A card that has been checked; None is what its maker did not say."""

    engine: str
    name: str
    sample_rate_hz: int
    content_encoder: str
    content_dim: int  # numbers per content vector
    f0: F0Statistics | None = None
    tone_db: tuple[float, ...] | None = None  # of each band, relative to their mean
    document: Mapping[str, Any] = field(default_factory=dict, hash=False)  # the whole of card.json


def read_card(folder: Path) -> VoiceCard:
    """Read and check the card.json of a folder; CheckpointError if it is missing or anything in it wrong."""
    path = folder / CARD_FILE
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise CheckpointError(f"The voice's card.json is too large to be one; {_WAY_OUT}.")
        written = path.read_bytes()
        if sum(map(written.count, (b",", b"[", b"{"))) > MAX_PARTS:
            raise CheckpointError(f"The voice's card.json holds more than one does; {_WAY_OUT}.")
        document = json.loads(written.decode())
    except OSError as error:
        raise CheckpointError(f"The voice has no readable card.json; {_WAY_OUT}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The voice's card.json is not readable JSON; {_WAY_OUT}.") from error
    return parse_card(document)


def parse_card(document: object) -> VoiceCard:
    """Check what card.json holds, as `read_card` does."""
    if not isinstance(document, dict):
        raise CheckpointError(f"The voice's card.json is not a JSON object; {_WAY_OUT}.")
    version = document.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise CheckpointError(
            f"The voice has format version {version!r} and this program reads up to {FORMAT_VERSION}; "
            "update the program."
        )
    f0, tone_db = document.get("f0"), document.get("tone_db")
    return VoiceCard(
        engine=_text(document, "engine"),
        name=_text(document, "name"),
        sample_rate_hz=_number(document.get("sample_rate_hz"), "sample_rate_hz", 8_000, 192_000, int),
        content_encoder=_text(document, "content_encoder"),
        content_dim=_number(document.get("content_dim"), "content_dim", 1, 4_096, int),
        f0=_voice_f0(f0) if f0 else None,
        tone_db=_tone(tone_db) if tone_db else None,
        document=document,
    )


def _voice_f0(f0: object) -> F0Statistics:
    if not isinstance(f0, dict):
        raise _wrong("f0")
    names = ("median_hz", "low_hz", "high_hz")
    median_hz, low_hz, high_hz = (float(_number(f0.get(name), f"f0.{name}", 20, 4_000)) for name in names)
    if not low_hz <= median_hz <= high_hz:
        raise _wrong("f0")
    return F0Statistics(median_hz=median_hz, low_hz=low_hz, high_hz=high_hz)


def _tone(levels: object) -> tuple[float, ...]:
    if not isinstance(levels, list) or len(levels) != TONE_BANDS:
        raise _wrong("tone_db")
    return tuple(float(_number(level, "tone_db", -200, 200)) for level in levels)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name)
    return value


def _number(value: Any, name: str, low: int, high: int, kind: Any = int | float) -> Any:  # noqa: ANN401
    # bool is an int in Python; the comparison also refuses NaN, which Python's JSON reads.
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        raise _wrong(name)
    return value


def _wrong(name: str) -> CheckpointError:
    return CheckpointError(f"The voice's card.json has a missing or wrong {name!r}; {_WAY_OUT}.")
