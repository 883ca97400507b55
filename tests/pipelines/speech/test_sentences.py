"""A text in sentences: nothing is lost, nothing is too long, and each language has its own stops."""

from __future__ import annotations

import pytest

from pipelines.speech.sentences import LONGEST_CHARACTERS, can_be_said, sentences
from ui.server.reading import sentences as reading

TEXTS = [
    ("en", 'Dr. Smith paid 3.50 dollars! Really? "Yes," said J. R. Tolkien. It\'s so.'),
    ("de", "Am 3. Oktober kam z.B. Hr. Meier mit 2,5 kg. Gut."),
    ("fr", "Bonjour M. Dupont. L'été est là !\nVoilà"),
    ("zh", "你好。世界！“好吗？”是的。" * 40),
    ("ar", "مرحبا بالعالم. كيف حالك؟ أنا بخير!"),
    ("hi", "नमस्ते। आप कैसे हैं?"),
    ("en", "word " * 400),
    ("en", "a" * 1_000),
    ("en", "😀 hello... — what, 42%"),
]


@pytest.mark.parametrize(("language", "text"), TEXTS)
def test_no_word_is_lost_and_no_sentence_is_too_long(language: str, text: str) -> None:
    found = sentences(text, language)
    assert all(0 < len(one) <= LONGEST_CHARACTERS for one in found)
    assert all(can_be_said(one) for one in found)

    def letters(of: str) -> str:
        return "".join(one for one in of if one.isalnum())

    assert letters("".join(found)) == letters(text)


def test_the_stops_of_other_scripts_end_a_sentence() -> None:
    assert sentences("你好。世界！是吗？", "zh") == ["你好。", "世界！", "是吗？"]
    assert sentences("كيف حالك؟ أنا بخير.", "ar") == ["كيف حالك؟", "أنا بخير."]
    assert sentences("नमस्ते। धन्यवाद।", "hi") == ["नमस्ते।", "धन्यवाद।"]


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "Dr. Smith and Mrs. Jones, e.g. of St. Louis, met J. R. Tolkien."),
        ("de", "Am 3. Oktober kam z.B. Hr. Meier."),
        ("nl", "Dhr. Jansen en mevr. De Vries, o.a. uit Gent."),
        ("es", "El Sr. Pérez vive aquí."),
        ("fr", "Voici M. Dupont."),
        ("pt-BR", "O Sr. Silva chegou."),
        ("en", "It costs 3.50 at www.example.org today."),
    ],
)
def test_a_dot_inside_a_sentence_does_not_end_it(language: str, sentence: str) -> None:
    assert sentences(sentence, language) == [sentence]
    assert sentences(f"{sentence} {sentence}", language) == [sentence, sentence]


def test_a_line_that_goes_on_in_small_letters_is_one_with_the_line_before() -> None:
    assert sentences("It is\nwrapped here.\nA new one\n\nand another", "en") == [
        "It is wrapped here.", "A new one", "and another",
    ]  # fmt: skip


def test_what_nobody_can_say_is_left_out() -> None:
    assert sentences("... Hello! --- *** ?!", "en") == ["Hello!"]
    assert sentences(" \n\n… —", "en") == []


@pytest.mark.parametrize("language", ["ar", "de", "en", "es", "fr", "nl", "pt-BR", "zh-Hans"])
def test_real_sentences_stay_whole(language: str) -> None:
    of_page = reading(language)
    assert sentences("\n".join(of_page), language) == [
        part for one in of_page for part in sentences(one, language)
    ]
