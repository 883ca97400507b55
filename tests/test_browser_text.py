"""A text in a browser: typed, said, heard beside how it was read aloud, and made again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browsers import MARKS, OVERFLOW, chromium, context
from tests.ui.launched import Launched, launched

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("browser"), steps=3) as page:
        yield page


def opened(context: BrowserContext, served: Launched) -> Page:
    page = context.new_page()
    page.goto(served.url)
    page.locator("#convert-voice input:checked").wait_for()
    page.get_by_label("A text", exact=True).check()
    page.locator("#convert-text textarea").wait_for()
    return page


def test_a_text_is_said_and_made_again(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served)
    language = page.locator("#convert-language input")
    page.wait_for_function("() => document.querySelector('#convert-language input').value")
    assert language.input_value() == "English (United States)"
    page.locator("#convert").click()
    page.get_by_text("Type what shall be said, or add a text file.").wait_for()
    page.locator("#convert-text textarea").fill("Hello there. It is me.")
    language.fill("Dutch")
    page.get_by_role("option", name="Dutch", exact=True).click()
    page.get_by_role("button", name="Say it").click()
    page.get_by_text("Here is your text in the voice").wait_for()
    tracks = page.locator("#player [data-track]")
    assert tracks.first.inner_text().endswith("Hello there. It is me")
    page.locator("#convert-text textarea").fill("Something else.")
    page.get_by_label("One recording").check()
    page.locator("#convert-source").wait_for()
    page.get_by_role("button", name="Again as Hello there. It is me").click()
    page.wait_for_function(
        "() => document.querySelector('#convert-text textarea')?.value === 'Hello there. It is me.'"
    )
    page.wait_for_function("() => document.querySelector('#convert-language input')?.value === 'Dutch'")
    assert page.get_by_label("A text", exact=True).is_checked()


def test_a_file_of_lines_becomes_a_zip(context: BrowserContext, served: Launched, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("Open the gate!\nWho goes there?\n")
    page = opened(context, served)
    page.get_by_role("button", name="A text file, one sound file for each line").click()
    page.locator("#convert-lines input[type=file]").set_input_files(tmp_path / "lines.txt")
    page.locator("#convert-lines").get_by_text("lines").first.wait_for()
    page.get_by_role("button", name="Say it").click()
    page.get_by_text("2 of 2 done").wait_for()
    with page.expect_download() as download:
        page.locator("#convert-zip").click()
    assert download.value.suggested_filename.endswith(".zip")


def test_it_fits_a_phone(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(OVERFLOW) <= 0
