"""The sentences to read aloud: enough of them, all different, and with the sounds of their language."""

from __future__ import annotations

import unicodedata
from itertools import combinations

import pytest

from rvc.errors import UnknownNameError
from ui.look.language import LANGUAGE, languages
from ui.server.reading import FOLDER, language_to_read, read_languages, sentences

LATIN = "abcdefghijklmnopqrstuvwxyz"
# Letters, and pairs that stand for a sound of their own.
SOUNDS = {
    "en": [*LATIN, "th", "sh", "ch", "ng", "wh", "ph", "qu", "ee", "oo", "ea", "ai", "oy", "ou", "aw", "ear"],
    "de": [*LATIN, *"äöüß", "sch", "ch", "ei", "ie", "eu", "äu", "au", "ng", "pf", "sp", "st", "qu", "ck"],
    "nl": [*LATIN, "ij", "ei", "ui", "oe", "eu", "ie", "aa", "ee", "oo", "uu", "ch", "sch", "ng", "ou", "au"],
    "fr": [*LATIN, *"àâçéèêëîïœùûô", "ch", "gn", "ou", "oi", "an", "on", "in", "eu", "au", "ill", "qu", "un"],
    "es": [*LATIN, *"áéíóúüñ", "ll", "rr", "ch", "qu", "gu", "ie", "ue", "ai", "ei"],
    "pt-BR": [
        *"abcdefghijlmnopqrstuvxz",
        *"áâãçéêíóôõú",
        "lh",
        "nh",
        "ch",
        "rr",
        "ss",
        "ão",
        "õe",
        "ei",
        "qu",
    ],
    "zh-Hans": [],
    "ar": [chr(code) for code in [*range(0x0627, 0x063B), *range(0x0641, 0x064B)] if code != 0x0640],
}


@pytest.mark.parametrize("language", read_languages())
def test_each_language_has_twenty_sentences_no_two_alike_with_all_of_its_sounds(language: str) -> None:
    lines = sentences(language)
    assert len(lines) == 20
    assert all(line == line.strip() and 8 <= len(line) <= 90 for line in lines)
    for one, other in combinations([set(line.lower().split()) for line in lines], 2):
        assert len(one & other) < 0.6 * min(len(one), len(other)) or language == "zh-Hans"
    assert len(set(lines)) == 20
    text = unicodedata.normalize("NFC", " ".join(lines).lower())
    assert [sound for sound in SOUNDS[language] if sound not in text] == []


def test_the_chinese_sentences_have_many_different_syllables() -> None:
    text = "".join(sentences("zh-Hans"))
    characters = {character for character in text if "一" <= character <= "鿿"}
    assert len(characters) > 200


def test_every_file_is_of_a_language_that_is_offered_and_another_language_is_refused() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(read_languages()) == set(languages())
    for wrong in ("tlh", "../en", None, 3):
        with pytest.raises(UnknownNameError, match="Unknown language"):
            sentences(wrong)


@pytest.mark.parametrize(("spoken", "read"), [("de", "de"), ("pt-BR", "pt-BR"), ("tlh", "en")])
def test_what_is_read_is_in_the_language_of_the_page(spoken: str, read: str) -> None:
    token = LANGUAGE.set(spoken)
    try:
        assert language_to_read() == read
    finally:
        LANGUAGE.reset(token)
