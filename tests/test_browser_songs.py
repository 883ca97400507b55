"""A song in a browser: two files are sent in, the mix is heard beside them, the parts are downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile as sf

from tests.browsers import MARKS, OVERFLOW, PATIENCE_MS, chromium, context
from tests.tiny_separator import RATE, band, vocals
from tests.ui.launched import Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("browser"), steps=3) as page:
        yield page


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    for name, sound in {"Song vocals": vocals(2.0), "Song backing": band(2.0)}.items():
        sf.write(tmp_path / f"{name}.wav", sound, RATE)
    return sorted(tmp_path.glob("Song *.wav"))


def song_page(context: BrowserContext, served: Launched) -> Page:
    """The page with "A song" chosen."""
    page = context.new_page()
    page.goto(served.url)
    page.locator("#convert-voice input:checked").wait_for()
    page.get_by_role("radio", name="A song").check()
    page.locator("#convert-song input[type=file]").wait_for(state="attached")
    return page


def test_a_song_in_two_files_is_mixed_heard_and_taken_apart(
    context: BrowserContext, served: Launched, pair: list[Path]
) -> None:
    page = song_page(context, served)
    assert not page.get_by_text("What do you convert?").is_visible(), "it has been said"
    page.locator("#convert").click()
    page.locator("#convert-song-note").get_by_text("Add a song, or its vocals and its backing").wait_for()
    page.locator("#convert-song input[type=file]").set_input_files(pair)
    page.locator("#convert-song").get_by_text("backing").first.wait_for()
    page.locator("#convert-mix button").first.click()
    page.locator("#convert-reverb input[type=number]").fill("0.5")
    page.locator("#convert").click()
    page.locator("#convert-status").get_by_text("Here is your song in the voice").wait_for()
    page.locator("#player").get_by_text("Song vocals").first.wait_for()
    for stem, ending in {"vocals": "wav", "backing": "wav", "voice": "flac"}.items():
        with page.expect_download() as download:
            page.locator(f"#stem-{stem}").click()
        assert download.value.suggested_filename == f"Song vocals {stem}.{ending}"
    page.locator("#takes").get_by_text("reverb 0.5").wait_for()
    page.locator("#takes").get_by_role("button", name="Again as Song vocals").click()
    page.locator("#convert-song").get_by_text("vocals").first.wait_for()
    page.get_by_role("radio", name="One recording").check()
    page.get_by_text("What do you convert?").wait_for()


def test_a_song_in_one_file_that_cannot_be_separated_here_is_told_how_else(
    context: BrowserContext, served: Launched, pair: list[Path]
) -> None:
    """The tests' server downloads nothing."""
    page = song_page(context, served)
    page.locator("#convert-song input[type=file]").set_input_files(pair[0])
    page.locator("#convert-song").get_by_text("backing").first.wait_for()
    page.locator("#convert").click()
    page.locator("#convert-status").get_by_text("This song was not converted").wait_for()
    page.locator("#convert-status").get_by_text("vocals and its backing as two files").wait_for()


def test_it_fits_a_phone(browser: Browser, served: Launched, pair: list[Path]) -> None:
    phone = browser.new_context(viewport={"width": 390, "height": 844})
    phone.set_default_timeout(PATIENCE_MS)
    page = song_page(phone, served)
    page.locator("#convert-song input[type=file]").set_input_files(pair)
    page.locator("#convert-song").get_by_text("vocals").first.wait_for()
    page.locator("#convert").click()
    page.locator("#stem-voice").wait_for()
    assert page.evaluate(OVERFLOW) <= 0
    for stem in ("vocals", "backing", "voice"):
        box = page.locator(f"#stem-{stem}").bounding_box()
        assert box is not None
        assert box["height"] >= 44
    phone.close()
