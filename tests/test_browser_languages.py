"""The page in other languages, in a browser: nothing of it stays English, and it is written the right way."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from tests.browsers import MARKS, OVERFLOW, SCREENS, chromium, on_screen
from tests.texts import texts
from tests.ui.launched import Launched, launched
from ui.look import language

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["chromium"]  # a fixture, found by its name
pytestmark = MARKS
# What is called the same in all languages; and words of Gradio's own, which it has in many others.
SAME = re.compile(
    r"Timbre|Kathleen|Flemish guy|RVC|Python|rmvpe|praat|wav|flac|mp3|ogg|visitor.*|[a-z]+\.(flac|ogg|wav)"
    r"|[^A-Za-z]*|[A-Z_]{4,}|[A-G]#?\d.*|.*\d (kHz|Hz|dB|MB|s|min)|licence: .*|angla.*|nederlanda.*"
)
OF_GRADIO = re.compile(
    r"Drop .* Here|Click to upload|- or -|Click to Upload|Use via API|Built with Gradio|Record|Stop"
)
VISIBLE = """() => {
  const found = [], seen = {visibilityProperty: true, opacityProperty: true};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!/^(SCRIPT|STYLE|OPTION|PRE|CODE)$/.test(parent.tagName) && parent.checkVisibility(seen))
      found.push(walker.currentNode.data.trim());
  }
  for (const name of ["aria-label", "placeholder", "title", "alt"])
    for (const one of document.querySelectorAll(`[class*=tm-][${name}], [class*=tm-] [${name}]`))
      if (one.checkVisibility(seen)) found.push(one.getAttribute(name).trim());
  return found;
}"""
DIRECTIONS = (
    "[...document.querySelectorAll('.tm-card, .tm-head')].map((one) => getComputedStyle(one).direction)"
)


def test_nothing_of_the_page_stays_english(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a language that puts every sentence in brackets, what has none was never looked up."""
    marked = Catalog(locale="eo")
    for text in texts():
        forms = (text,) if isinstance(text, str) else text
        told = [f"[{form}]" for form in forms]
        marked.add(text, string=told[0] if isinstance(text, str) else tuple(told))
    with (tmp_path / "eo.po").open("wb") as file:
        write_po(file, marked)
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    language._tags.cache_clear()
    language._catalogue.cache_clear()
    try:
        with launched(tmp_path / "server", steps=3) as served:
            page = opened(browser, served, "eo")
            left = set[str]()
            for tab in page.get_by_role("tab").all():
                if tab.is_visible():
                    tab.click()
                    page.wait_for_timeout(1_500)
                    left |= english_of(page)
            assert not left
    finally:
        language._tags.cache_clear()
        language._catalogue.cache_clear()


def english_of(page: Page) -> set[str]:
    return {
        text
        for text in page.evaluate(VISIBLE)
        if "[" not in text and not SAME.fullmatch(text) and not OF_GRADIO.search(text)
    }


def opened(browser: Browser, served: Launched, spoken: str, screen: str = "desk, light") -> Page:
    context = on_screen(browser, screen, spoken)
    page = context.new_page()
    page.goto(served.url)
    page.get_by_role("tab").first.wait_for()
    return page


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("languages"), steps=3) as page:
        yield page


@pytest.mark.parametrize(
    ("tag", "screen"),
    list(zip((tag for tag in language.languages() if tag != "en"), itertools.cycle(SCREENS))),
)
def test_a_page_is_wholly_in_the_language_that_the_browser_asks_for(
    tag: str, screen: str, browser: Browser, served: Launched
) -> None:
    page = opened(browser, served, tag, screen)
    root = page.locator("html")
    lang = str(root.get_attribute("lang"))  # Gradio calls Chinese by the country
    assert (lang.split("-")[0], root.get_attribute("dir")) == (tag.split("-")[0], language.direction(tag))
    token = language.LANGUAGE.set(tag)
    try:
        name = language.tr("Voices")
    finally:
        language.LANGUAGE.reset(token)
    page.get_by_role("tab", name=name, exact=True).wait_for()
    assert page.locator("select.tm-language").first.input_value() == tag
    page.context.close()


def test_arabic_is_written_from_the_right_and_fits_a_phone(browser: Browser, served: Launched) -> None:
    page = opened(browser, served, "ar", "phone, dark")
    for tab in page.get_by_role("tab").all():
        if tab.is_visible():
            tab.click()
            page.wait_for_timeout(500)
            assert page.evaluate(OVERFLOW) <= 0
    directions = (
        "[...document.querySelectorAll('.tm-card, .tm-head')].map((one) => getComputedStyle(one).direction)"
    )
    assert set(page.evaluate(directions)) == {"rtl"}
    page.context.close()


def test_a_language_that_was_chosen_by_hand_stays(browser: Browser, served: Launched) -> None:
    page = opened(browser, served, "de")
    page.locator("select.tm-language").first.select_option("nl")
    page.locator("html[lang=nl]").wait_for()
    page.reload()
    page.locator("html[lang=nl]").wait_for()
    other = page.context.new_page()
    other.goto(served.url)
    other.locator("html[lang=nl]").wait_for()
    page.context.close()
