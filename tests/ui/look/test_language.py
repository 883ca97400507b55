"""Languages: no sentence is missing and none loses a name; a page is spoken in one language throughout."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from gettext import c2py  # what GNUTranslations counts by
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from pipelines.job_spec import check_settings
from pipelines.recordings.pieces import checked_ids
from pipelines.store.records import checked_count, checked_name
from pipelines.users.limits import require_room
from rvc.audio.reader import probe
from rvc.errors import RvcError
from tests.texts import texts
from ui.look import language
from ui.look.language import (
    LANGUAGE,
    chosen_language,
    direction,
    languages,
    retold,
    tr,
    tr_n,
    translated_html,
)
from ui.server.services import validate_id


def _probed(content: bytes) -> Callable[[Path], object]:
    def refused(path: Path) -> object:
        path.write_bytes(content)
        return probe(path)

    return refused


# Calls that refuse, with a path that may be written to.
REFUSALS: list[Callable[[Path], object]] = [
    lambda _: check_settings("training", {"total_steps": "many"}),
    lambda _: check_settings("training", {"engine": "lite", "seed": -1}),
    lambda _: checked_name("", "preset"),
    lambda _: checked_count(-1, "offset"),
    lambda _: validate_id("../x", "training"),
    lambda _: checked_ids([3], []),
    lambda path: require_room(path.parent, 1 << 60, "these recordings"),
    _probed(b"%PDF-1.4 and so on"),
    _probed(b"MAC and so on"),
    _probed(b"words and no sound"),
]
OTHERS = [tag for tag in languages() if tag != "en"]
COUNTS = (0, 1, 2, 3, 11, 100, 1_000_000)


def catalogue(tag: str) -> Catalog:
    with (language.FOLDER / f"{tag}.po").open("rb") as file:
        return read_po(file)


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.fixture(autouse=True)
def spoken() -> Iterator[None]:
    token = LANGUAGE.set("en")
    yield
    LANGUAGE.reset(token)


@pytest.fixture(scope="module")
def english() -> list[str | tuple[str, str]]:
    return texts()


def test_eight_languages_are_there_by_their_own_names() -> None:
    assert set(languages()) >= {"en", "de", "nl", "fr", "es", "pt-BR", "zh-Hans", "ar"}
    assert languages()["de"] == "Deutsch"
    assert [direction(tag) for tag in ("de", "ar")] == ["ltr", "rtl"]


@pytest.mark.parametrize("tag", OTHERS)
def test_no_sentence_is_missing_and_none_is_left_over(tag: str, english: list[str | tuple[str, str]]) -> None:
    entries = {entry.id: entry.string for entry in catalogue(tag) if entry.id}
    assert set(entries) == set(english), "bring the catalogues up to date: python -m tests.texts"
    missing = [text for text, told in entries.items() if not (all(told) if isinstance(told, tuple) else told)]
    assert not missing


@pytest.mark.parametrize("tag", OTHERS)
def test_no_translation_loses_a_name_or_makes_one_up(tag: str) -> None:
    for entry in catalogue(tag):
        if isinstance(entry.id, str):
            assert names(str(entry.string)) == names(entry.id), entry.id
        else:
            forms = [names(form) for form in entry.string or ()]
            assert all(form <= names(entry.id[1]) for form in forms), entry.id
            assert forms[-1] == names(entry.id[1]), entry.id


@pytest.mark.parametrize("tag", OTHERS)
def test_whatever_is_counted_is_counted_as_the_language_does(tag: str) -> None:
    found = catalogue(tag)
    plural = c2py(found.plural_expr)
    assert max(plural(count) for count in range(200)) < found.num_plurals
    LANGUAGE.set(tag)
    said = tr_n("{count} job ahead of it", "{count} jobs ahead of it", 7)
    assert "7" in said
    assert "jobs ahead" not in said


def test_a_name_keeps_its_direction_in_a_sentence_that_is_written_from_the_right() -> None:
    english = "take (1).wav holds no sound; record or export it again."
    for tag, shown in (("ar", "\u2068take (1).wav\u2069"), ("de", "take (1).wav")):
        LANGUAGE.set(tag)
        for told in (retold(english), tr("Play {name}", name="take (1).wav")):
            assert shown in told
            assert ("\u2068" in told) == (tag == "ar")


@pytest.mark.parametrize("tag", OTHERS)
def test_how_far_a_training_is_stays_no_english(tag: str) -> None:
    LANGUAGE.set(tag)
    assert " of " not in retold("Step 8 of 10.")


def test_a_language_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eo.po").write_text(
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
        'msgid "Convert"\nmsgstr "Konverti"\n\nmsgid "The voice {name} was deleted; choose another."\n'
        'msgstr "{name} estas for."\n\nmsgid "Work & more"\nmsgstr "<Laboro>"\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    language._tags.cache_clear()
    try:
        assert languages() == {"en": "English", "eo": "Esperanto"}
        assert chosen_language(None, "eo-XX, en;q=.1") == "eo"
        LANGUAGE.set("eo")
        assert tr("Convert") == "Konverti"
        assert retold("The voice A {b} was deleted; choose another.") == "A {b} estas for."
        assert retold("Convert. The voice B was deleted; choose another.") == "Convert. B estas for."
        page = '<p title="Convert">\n  Work &amp; more </p><style>a > b { color: red }</style>'
        assert translated_html(page) == page.replace("Work &amp; more", "&lt;Laboro&gt;")
    finally:
        language._tags.cache_clear()


@pytest.fixture
def shouted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, english: list[str | tuple[str, str]]
) -> Iterator[None]:
    """A language that is English in capitals, so that what nobody has translated stands out."""
    made = Catalog(locale="eo", fuzzy=False)
    for text in english:
        one = text if isinstance(text, str) else text[1]
        made.add(one, string=re.sub(r"(\{\w*\})|([^{}]+)", lambda found: found[1] or found[2].upper(), one))
    with (tmp_path / "eo.po").open("wb") as file:
        write_po(file, made)
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    for kept in (language._tags, language._catalogue, language._retold):
        kept.cache_clear()
    LANGUAGE.set("eo")
    yield
    language._tags.cache_clear()


@pytest.mark.usefixtures("shouted")
@pytest.mark.parametrize("refused", REFUSALS)
def test_no_part_of_a_refusal_stays_english(refused: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(RvcError) as caught:
        refused(tmp_path / "my own 9.wav")
    told = retold(str(caught.value))
    of_ours = re.sub(r"'[^']*'|my own 9\.wav", "", told)  # what was sent is not told otherwise
    assert of_ours.upper() == of_ours, told


@pytest.mark.parametrize(
    ("chosen", "accepted", "expected"),
    [
        (None, None, "en"),
        (None, "", "en"),
        (None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        (None, "pt-PT,pt;q=0.9", "pt-BR"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        (None, "ja,ar;q=0.5,en;q=0.7", "en"),
        (None, "xx, *;q=0.5, q, ;q=, de;q=much", "en"),
        ("ar", "de", "ar"),
        ("tlh", "nl", "nl"),
        ("../../etc", "../passwd", "en"),
    ],
)
def test_the_choice_by_hand_comes_first_and_then_what_the_browser_says(
    chosen: str | None, accepted: str | None, expected: str
) -> None:
    assert chosen_language(chosen, accepted) == expected


def test_what_nobody_knows_stays_as_it_is() -> None:
    LANGUAGE.set("de")
    assert retold("xyzzy") == "xyzzy"
    assert retold("x" * 100_000) == "x" * 100_000


@pytest.mark.parametrize(
    "text", [": " * 490, "a: " * 300, " is needed" * 99, "'" * 999, "x (" * 333, ". " * 499]
)
def test_what_a_stranger_sends_is_looked_up_in_no_time(text: str) -> None:
    LANGUAGE.set("de")
    began_s = time.thread_time()
    assert retold(f"Unknown engine {text!r}. Choose one of: lite, rvc.") != ""
    assert retold(text) != ""
    assert time.thread_time() - began_s < 0.5


def test_every_text_is_shown_with_what_it_holds(english: list[str | tuple[str, str]]) -> None:
    """A name in braces is a plain one: what looks into its value could be used to look elsewhere."""
    for text in english:
        for one in (text,) if isinstance(text, str) else text:
            assert all(re.fullmatch(r"\w*", name) for name in names(one)), one
