"""Sentences to read aloud when a voice is recorded: of each language twenty that hold its sounds.

They stand in assets/reading/<language>.txt, one a line, and were written for this project.
"""

from __future__ import annotations

from functools import cache

from rvc.errors import UnknownNameError
from rvc.files import ROOT
from ui.look.language import LANGUAGE, SOURCE, languages

FOLDER = ROOT / "assets" / "reading"


@cache
def read_languages() -> dict[str, str]:
    """Return the languages of the page in which there are sentences: by tag what each calls itself."""
    return {tag: name for tag, name in languages().items() if (FOLDER / f"{tag}.txt").is_file()}


@cache
def _lines(language: str) -> tuple[str, ...]:
    return tuple((FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines())


def sentences(language: object) -> list[str]:
    """Return the sentences of a language; UnknownNameError if there are none in it."""
    if not isinstance(language, str) or language not in read_languages():
        raise UnknownNameError.among("language", str(language)[:40], read_languages())
    return list(_lines(language))


def language_to_read() -> str:
    """Return the language of the page, if there are sentences in it; else English."""
    return spoken if (spoken := LANGUAGE.get()) in read_languages() else SOURCE
