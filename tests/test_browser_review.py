"""Slice review in a real browser: heard one by one, rejected and taken back, by mouse, keys and finger."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browsers import MARKS, OVERFLOW, chromium, context, on_two
from tests.ui.launched import VOICE_FILES, Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = [*MARKS, on_two]
SHARE = "parseFloat(document.querySelector('li[data-playing] rect').style.width) > 0"


@pytest.fixture(scope="module")
def review_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("review"), steps=1) as page:
        yield page


@pytest.fixture
def tab(review_page: Launched, context: BrowserContext, faults: list[str]) -> Page:
    """The Clone tab after a check of recordings."""
    tab = context.new_page()
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(review_page.url)
    tab.wait_for_load_state("load")
    tab.get_by_role("tab", name="Clone").click()
    tab.locator("#clone-files input[type=file]").set_input_files([str(path) for path in VOICE_FILES])
    tab.locator("#clone-to-2").click()
    rows(tab).first.wait_for()
    return tab


@pytest.fixture
def faults() -> list[str]:
    return []


def rows(tab: Page) -> Locator:
    return tab.locator(".tm-slices > li")


def counted(tab: Page, words: str) -> None:
    tab.locator(".tm-review-head", has_text=re.compile(words)).wait_for()


def announced(tab: Page, words: str) -> None:
    tab.locator(".tm-said[aria-live=polite]", has_text=words).wait_for()


def test_a_slice_is_heard_when_it_is_pressed_and_only_one_at_a_time(tab: Page, faults: list[str]) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if "slice.flac" in request.url else None)
    assert not asked
    rows(tab).nth(1).locator(".tm-hear").click()
    tab.wait_for_function(SHARE)
    rows(tab).nth(2).locator(".tm-hear").click()
    tab.locator("li[data-playing]").nth(0).wait_for()
    tab.wait_for_function(SHARE)
    assert tab.locator("li[data-playing]").count() == 1
    assert rows(tab).nth(2).get_attribute("data-playing") == ""
    pressed = rows(tab).nth(2).locator(".tm-hear")
    assert str(pressed.get_attribute("aria-label")).startswith("Stop wren-")
    pressed.click()
    assert tab.locator("li[data-playing]").count() == 0, "the same button stops it at once"
    heard = len(set(asked))
    pressed.click()
    tab.wait_for_function(SHARE)
    assert len(set(asked)) == heard == 2, "what was heard is not fetched again"
    assert faults == []


def test_rejected_by_mouse_and_taken_back_by_undo_it_is_said_and_the_focus_stays(tab: Page) -> None:
    counted(tab, r"^The slices\s*28 slices, 1 min 52 s$")
    rows(tab).first.locator(".tm-turn").click()
    announced(tab, "1 slice is rejected.")
    counted(tab, "1 rejected, 1 min 48 s left")
    assert rows(tab).first.locator(".tm-turn").inner_text() == "Take back"
    assert tab.evaluate("document.activeElement.matches('.tm-turn')")
    rows(tab).first.get_by_text("Reject this whole file").click()
    announced(tab, "slices are rejected.")
    tab.get_by_role("button", name="Rejected (", exact=False).click()
    tab.wait_for_function("document.querySelectorAll('.tm-slices > li:not(.tm-out)').length === 0")
    tab.get_by_role("button", name="Undo", exact=True).click()
    announced(tab, "Undone.")
    counted(tab, "; 1 rejected")
    rows(tab).first.locator(".tm-turn").click()
    tab.get_by_text("Nothing is rejected.").wait_for()


def test_everything_on_a_row_works_by_keys(tab: Page) -> None:
    rows(tab).nth(0).focus()
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement === document.querySelectorAll('.tm-slices > li')[1]")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.evaluate(outline) == "solid"
    tab.keyboard.press("Space")
    tab.wait_for_function(SHARE)
    tab.keyboard.press("r")
    counted(tab, "1 rejected")
    assert tab.evaluate("document.activeElement.matches('li.tm-out')"), "the row keeps the focus"
    tab.keyboard.press("r")
    announced(tab, "1 slice is back.")
    tab.keyboard.press("Space")
    tab.wait_for_function("!document.querySelector('li[data-playing]')")


def test_filters_orders_and_pages_lead_to_every_slice(tab: Page) -> None:
    tab.get_by_role("button", name="More", exact=True).click()
    tab.get_by_text("26 to 28 of 28").wait_for()
    assert rows(tab).count() == 3
    assert tab.evaluate("document.activeElement === document.querySelector('.tm-slices > li')")
    tab.get_by_role("button", name="As recorded").click()
    tab.wait_for_function(
        "document.querySelector('.tm-slices > li').innerText.includes('wren-1.ogg, at 0:00')"
    )
    tab.get_by_role("button", name=re.compile(r"Doubtful \(8\)")).click()
    tab.wait_for_function("document.querySelectorAll('.tm-slices > li').length === 8")
    assert tab.locator(".tm-review [aria-pressed=true]").all_inner_texts() == ["Doubtful (8)", "As recorded"]


def test_it_fits_a_phone_and_can_be_hit_with_a_finger(tab: Page) -> None:
    assert tab.evaluate(OVERFLOW) <= 0
    if tab.viewport_size and tab.viewport_size["width"] < 640:
        small = """[...document.querySelectorAll('.tm-review button')].map(b => b.getBoundingClientRect())
                   .filter(box => box.width < 44 || box.height < 44).length"""
        assert tab.evaluate(small) == 0
