"""The language in which a visitor reads the page, and texts in it.

English is what stands in the code, and how a text is looked up: `languages/<tag>.po` holds what it is in
another language, in the form that all translators' tools read. A file that is added there is a language more.

Texts that are made for one visitor (in a listener, in HTML) go through `tr`. Labels that are the same for
everybody are written in English and translated when the page is sent (`translated_page`), and what a job or
an error says is English where it is made and kept, and translated where it is shown (`retold`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from html import escape, unescape
from io import BytesIO
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

FOLDER = Path(__file__).parent / "languages"
SOURCE = "en"
LANGUAGE: ContextVar[str] = ContextVar("language", default=SOURCE)  # of who is answered now, a BCP 47 tag
# What a component shows of itself, by the names of its properties.
SHOWN = ("label", "info", "placeholder", "title", "x_title", "y_title", "upload_prompt")
TEXT_VALUES = ("button", "downloadbutton", "markdown", "uploadbutton")  # kinds whose value is a text of ours
LONGEST, LEAST_LETTERS = 1_000, 4  # of a text that is looked for by its template, of a template
_ISOLATE, _END = "\u2068", "\u2069"  # Unicode's FIRST STRONG ISOLATE, POP DIRECTIONAL ISOLATE
_NAMES = re.compile(r"\{(\w+)\}")
_TEXT = re.compile(r"(?<=>)[^<>]*[^<>\s][^<>]*(?=<)|(?<= aria-label=\")[^\"]+(?=\")")
_SENTENCES = re.compile(r"(?<=[.!?…]) ")


def tr(text: str, /, **values: object) -> str:
    """Return a text in the visitor's language, its {names} filled in."""
    found = _catalogue(LANGUAGE.get()).words.gettext(text)
    return _filled(LANGUAGE.get(), found, values) if values else found


def tr_n(one: str, many: str, /, count: int, **values: object) -> str:
    """Return a text about a number of things, as the visitor's language counts them; {count} is that."""
    found = _catalogue(LANGUAGE.get()).words.ngettext(one, many, count)
    return _filled(LANGUAGE.get(), found, {"count": f"{count:,}", **values})


def tr_later(text: str, /) -> str:
    """Mark a text that `retold` translates where it is shown; gettext's noop."""
    return text


def retold(text: str) -> str:
    """Return in the visitor's language what was made in English elsewhere; as it is if nobody knows it."""
    return _retold(LANGUAGE.get(), text)


def languages() -> dict[str, str]:
    """Return every language that there is: its tag, and what it calls itself."""
    return {tag: _called(tag) for tag in _tags()}


def language_menu() -> str:
    """Return the HTML of a menu of all languages; the page's script shows and sets the one that is spoken."""
    options = "".join(
        f'<option value="{tag}" lang="{tag}">{escape(name)}</option>' for tag, name in languages().items()
    )
    return f'<select class="tm-language" aria-label="Language">{options}</select>'


def language_name(tag: str | None) -> str:
    """Return what the visitor calls a language of a tag (BCP 47); the tag if unknown, "" for none."""
    try:
        return str(Locale.parse(tag or "", sep="-").get_display_name(locale()))
    except (ValueError, UnknownLocaleError):
        return tag or ""


def direction(tag: str) -> str:
    """Return which way a language is written: "ltr" or "rtl"."""
    return str(_locale(tag).text_direction)


def locale() -> Locale:
    """Return how numbers and dates are written for the visitor."""
    return _locale(LANGUAGE.get())


def chosen_language(chosen: str | None, accepted: str | None) -> str:
    """Return which language to speak: the one that was chosen by hand, else the first of Accept-Language."""
    ranges = [one.split(";q=") for one in (accepted or "").replace(" ", "").split(",")[:20]]
    ranges.sort(key=lambda one: -_quality(one[1:]))
    for wanted in [chosen or "", *(one[0] for one in ranges if _quality(one[1:]) > 0)]:
        for tried in (wanted.lower(), wanted.lower().split("-")[0]):
            for tag in _tags():
                if tried and tried in (tag.lower(), tag.lower().split("-")[0]):
                    return tag
    return SOURCE


def translated_page(config: Mapping[str, Any]) -> None:
    """Translate what a page's configuration shows, in its place."""
    if LANGUAGE.get() == SOURCE:
        return
    for component in config["components"]:
        props, kind = component["props"], component["type"]
        for name in SHOWN:
            if isinstance(props.get(name), str):
                props[name] = retold(props[name])
        if isinstance(props.get("choices"), list):
            props["choices"] = [_choice(one) for one in props["choices"]]
        if isinstance(props.get("value"), str) and kind in TEXT_VALUES:
            props["value"] = retold(props["value"])
        if isinstance(props.get("value"), str) and kind == "html":
            props["value"] = translated_html(props["value"])


def translated_html(page: str) -> str:
    """Translate the texts between the tags of a piece of HTML."""
    return _TEXT.sub(_translated_text, page)


def _translated_text(match: re.Match[str]) -> str:
    english = " ".join(unescape(match[0]).split())
    told = retold(english)
    if told == english:  # it may be what looks like a text, as a style sheet does
        return match[0]
    before, after = match[0].partition(match[0].strip())[::2]
    return f"{before}{escape(told)}{after}"


def _choice(choice: Any) -> Any:  # noqa: ANN401  # as Gradio writes it
    if isinstance(choice, list | tuple) and len(choice) == 2 and isinstance(choice[0], str):
        return [retold(choice[0]), choice[1]]
    return choice


def _quality(given: Sequence[str]) -> float:
    try:
        return float(given[0]) if given else 1.0
    except ValueError:
        return 0.0


@cache
def _tags() -> tuple[str, ...]:
    return (SOURCE, *sorted(path.stem for path in FOLDER.glob("*.po")))


@cache
def _locale(tag: str) -> Locale:
    return Locale.parse(tag, sep="-")


def _called(tag: str) -> str:
    name = _locale(tag).get_display_name() or tag
    return name[:1].upper() + name[1:]


@dataclass(frozen=True)
class _Template:
    """A text with {names}, and what it is in another language."""

    parts: tuple[str, ...]  # what stands between the names; before the first and after the last it may be ""
    names: tuple[str, ...]
    told: str

    @classmethod
    def of(cls, english: str, told: str) -> _Template | None:
        """Read a text; None for one that matches too much, or nothing that can be told apart."""
        split = _NAMES.split(english)
        parts, names = tuple(split[::2]), tuple(split[1::2])
        too_little = sum(letter.isalpha() for part in parts for letter in part) < LEAST_LETTERS
        return None if not names or too_little or not all(parts[1:-1]) else cls(parts, names, told)

    def values_in(self, text: str) -> dict[str, str] | None:
        """Return what the names are filled in with in a text; None if it is another one.

        In one pass without going back, as what a stranger sends comes here too: each name ends where the next
        part is found first.
        """
        first, *inner, last = self.parts
        if not text.startswith(first) or not text.endswith(last):
            return None
        at, end, found = len(first), len(text) - len(last), dict[str, str]()
        for name, part in zip(self.names, [*inner, ""], strict=True):
            until = text.find(part, at + 1, end) if part else end
            value = text[at:until]
            if until <= at or found.setdefault(name, value) != value:
                return None
            at = until + len(part)
        return found


@dataclass(frozen=True)
class _Catalogue:
    words: NullTranslations
    templates: Sequence[_Template]


@cache
def _catalogue(tag: str) -> _Catalogue:
    if tag == SOURCE:
        return _Catalogue(NullTranslations(), ())
    with (FOLDER / f"{tag}.po").open("rb") as file:
        entries = read_po(file, locale=tag.replace("-", "_"))
    compiled = BytesIO()
    write_mo(compiled, entries)
    compiled.seek(0)
    read = [_Template.of(_last(entry.id), _last(entry.string)) for entry in entries if not entry.fuzzy]
    templates = [template for template in read if template and template.told]
    templates.sort(key=lambda template: -sum(map(len, template.parts)))  # the one that says most is the one
    return _Catalogue(GNUTranslations(compiled), templates)


def _filled(tag: str, told: str, values: Mapping[str, object]) -> str:
    """Fill in names. Where it is written from the right, a text keeps its own direction in its sentence."""
    if direction(tag) == "rtl":
        values = {
            name: f"{_ISOLATE}{value}{_END}" if isinstance(value, str) else value
            for name, value in values.items()
        }
    return told.format(**values)


def _last(text: object) -> str:
    """Return an entry's text, of several forms the one for many."""
    return str(text[-1] if isinstance(text, list | tuple) else text or "")


@lru_cache(4_096)
def _retold(tag: str, text: str, depth: int = 2) -> str:
    """Tell a text, and what it is filled in with: `depth` levels of that."""
    catalogue = _catalogue(tag)
    if tag == SOURCE or not text or len(text) > LONGEST:
        return text
    found = catalogue.words.gettext(text)
    if found != text or not depth:
        return found
    for template in catalogue.templates:
        values = template.values_in(text)
        if values is not None:
            told = {name: _retold(tag, value, depth - 1) for name, value in values.items()}
            return _filled(tag, template.told, told)
    sentences = _SENTENCES.split(text)
    if len(sentences) > 1:
        return " ".join(_retold(tag, sentence, depth) for sentence in sentences)
    return text
