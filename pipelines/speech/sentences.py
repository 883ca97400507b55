"""A text -> its sentences, each short enough to be spoken in one go.

A sentence ends at its full stop, however its script writes it, and at the end of a line, unless the next one
goes on in small letters. A dot ends none behind an abbreviation, an initial, or (in German) a day's number.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST_CHARACTERS = 300

_CLOSING = r"[\"'”’»›)\]」』】]*"
# A stop before a gap, or one of the scripts that write no gap behind it.
_END = re.compile(rf"[.!?…؟۔।॥։።]+{_CLOSING}(?=\s|$)|[。！？]+{_CLOSING}")
_LINE = re.compile(r"\s*\n\s*\n\s*|[^\S\n]*\n\s*(?![\s\W\d]*[a-zß-öø-ÿ])")
_PAUSE = re.compile(r"[,;:，、；：،؛–—]+\s*")
_LAST_WORD = re.compile(r"[\w.]+$")
_ABBREVIATIONS = {
    "de": "bzw ca dr evtl ggf hr fr nr prof s st str usw vgl z.b d.h u.a",
    "en": "approx dr e.g etc fig i.e jr mr mrs ms no prof sr st vs",
    "es": "av d dña dr dra ej etc n.º pág prof sr sra srta",
    "fr": "av cf dr etc m mgr mlle mme p.ex st ste",
    "nl": "bijv blz bv d.w.z dhr dr enz mevr mr nr o.a prof z.o.z",
    "pt": "av dr dra etc exmo prof sr sra",
}


def sentences(text: str, language: str) -> list[str]:
    """Split a text, of a language as BCP 47 writes it; what holds nothing to say is left out.

    Each has at most `LONGEST_CHARACTERS`; together they hold every word of the text, in order.
    """
    short = frozenset(_ABBREVIATIONS.get(language.lower().split("-")[0], "").split())
    ordinal = language.lower().startswith("de")
    found = [
        piece
        for line in _LINE.split(text)
        for sentence in _ended(" ".join(line.split()), short, ordinal=ordinal)
        for piece in _pieces(sentence)
    ]
    return [piece for piece in found if can_be_said(piece)]


def can_be_said(text: str) -> bool:
    """Whether a text holds a letter, a number or a sign that has a name."""
    return any(unicodedata.category(character)[0] in "LNS" for character in text)


def _ended(line: str, short: frozenset[str], *, ordinal: bool) -> list[str]:
    """Split one line behind its stops."""
    found, start = [], 0
    for end in _END.finditer(line):
        before = _LAST_WORD.search(line, start, end.start())
        word = before.group().lower() if before and end.group() == "." else ""
        initial = len(word) == 1 and word.isalpha() and word.isascii() and end.end() < len(line)
        day = ordinal and word.isdigit() and len(word) <= 2 and end.end() < len(line)
        if not (word in short or initial or day):
            found.append(line[start : end.end()].strip())
            start = end.end()
    return [*found, line[start:].strip()]


def _pieces(sentence: str) -> list[str]:
    """Cut a sentence that is too long: at its last pause, else between words, else anywhere."""
    found = []
    while len(sentence) > LONGEST_CHARACTERS:
        head = sentence[:LONGEST_CHARACTERS]
        pauses = [pause.end() for pause in _PAUSE.finditer(head)]
        cut = next((end for end in reversed(pauses) if end > LONGEST_CHARACTERS // 3), 0)
        cut = cut or head.rfind(" ") + 1 or LONGEST_CHARACTERS
        found.append(sentence[:cut].strip())
        sentence = sentence[cut:].strip()
    return [*found, sentence]
