"""Voices as cards to choose from: a picture, the name, some seconds to hear, language and range of pitch.

The picture is drawn from what the voice's card says: its outline is the spectrum of its recordings
(`tone_db`), its colour the height of its pitch, from blue for a bass to orange for a soprano.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, TypeGuard

import gradio as gr

from ui.look.html import of_now
from ui.look.language import language_name, tr
from ui.look.pitch_words import pitch_range
from ui.look.wording import Row, voice_labels

_JS = (Path(__file__).parent / "voice_cards.js").read_text(encoding="utf-8")
# For every play button of the page; run once, when it is opened.
PLAYING = (Path(__file__).parent / "playing.js").read_text(encoding="utf-8")
FILTER_FROM = 9  # from so many voices on there is a field to search them
_POINTS = 20
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 400.0  # the ends of the colours
_VoiceHTML = of_now(gr.HTML)


def voice_picker(elem_id: str) -> gr.HTML:
    """Return an empty list of cards; its value is the id of the chosen voice, "" for none."""
    return _VoiceHTML(
        "",
        html_template="${cards}",
        js_on_load=_JS,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["tm-voices"],
        cards="",
    )


def voice_cards(
    rows: Sequence[Row], sounds: Mapping[str, str], *, title: str, group: str, note: str = ""
) -> str:
    """Return the cards of voices; `sounds`: by id, where a sample is served; `note`: what is said below."""
    cards = "".join(
        _card(row, label, sounds.get(str(row["id"])), group)
        for row, label in zip(rows, voice_labels(rows), strict=True)
    )
    search = ""
    if len(rows) >= FILTER_FROM:
        told = escape(tr("Search {count} voices", count=len(rows)))
        search = f'<input type="search" class="tm-voice-search" placeholder="{told}" aria-label="{told}">'
    said = f'<p class="tm-quiet tm-voice-note">{escape(note)}</p>' if note else ""
    heading = f'<h2 id="{group}-heading">{escape(title)}</h2>'
    listed = f'<div role="radiogroup" class="tm-voice-list" aria-labelledby="{group}-heading">{cards}</div>'
    return heading + search + (listed if rows else "") + said


def _card(row: Row, label: str, sound: str | None, group: str) -> str:
    facts = [language_name(row.get("language")), pitch_range(row)]
    told = " · ".join(fact for fact in facts if fact)
    hear = f'<span class="tm-quiet tm-no-sample">{escape(tr("no sample"))}</span>'
    if sound:
        hear = play_button(sound, tr("Hear {name}", name=label))
    return (
        f'<div class="tm-voice"><label><input type="radio" name="{group}" value="{escape(str(row["id"]))}">'
        f"{picture(row)}<span><strong>{escape(label)}</strong>"
        f'<span class="tm-quiet">{escape(told)}</span></span></label>{hear}</div>'
    )


def play_button(sound: str, name: str, *, text: str = "") -> str:
    """Return a button that plays a file the server offers, and stops it; `name` says what is heard."""
    failed = escape(tr("It cannot be played; reload the page."))
    return (
        f'<button type="button" class="tm-play" data-sound="{escape(sound)}" data-failed="{failed}" '
        f'aria-pressed="false" aria-label="{escape(name)}">{escape(text)}</button>'
    )


def picture(row: Row) -> str:
    """Return a voice's picture as SVG; the same voice always has the same."""
    levels = _outline(row)
    radii = [14.0 + 15.0 * level for level in (*levels, *reversed(levels))]
    step = 2 * math.pi / len(radii)
    points = " ".join(
        f"{radius * math.sin(number * step):.1f},{-radius * math.cos(number * step):.1f}"
        for number, radius in enumerate(radii)
    )
    hue = _hue(row)
    return (
        '<svg class="tm-voice-picture" viewBox="-32 -32 64 64" width="48" height="48" aria-hidden="true">'
        f'<circle r="31" fill="hsl({hue} 45% 88%)"/>'
        f'<polygon points="{points}" fill="hsl({hue} 50% 42%)" stroke="hsl({hue} 50% 42%)" '
        'stroke-width="4" stroke-linejoin="round"/><circle r="6" fill="white" fill-opacity=".85"/></svg>'
    )


def _outline(row: Row) -> list[float]:
    """Return twenty numbers of 0..1: the voice's spectrum, else what its id makes up."""
    tone = row.get("tone_db")
    if isinstance(tone, list) and len(tone) == _POINTS and all(_is_number(level) for level in tone):
        low, high = min(tone), max(tone)
        return [(level - low) / max(high - low, 1e-6) for level in tone]
    made_up = hashlib.sha256(str(row["id"]).encode()).digest()
    return [byte / 255 for byte in made_up[:_POINTS]]


def _hue(row: Row) -> int:
    median_hz = (row.get("f0") or {}).get("median_hz")
    if not _is_number(median_hz) or median_hz <= 0:
        return 0
    height = math.log2(median_hz / _LOWEST_HZ) / math.log2(_HIGHEST_HZ / _LOWEST_HZ)
    return round(250 - 225 * min(1.0, max(0.0, height)))


def _is_number(value: Any) -> TypeGuard[float]:  # noqa: ANN401 -- what a stranger's card says
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
