"""Whether everybody can use the page: axe-core on every tab, in both themes, on three widths.

What is Gradio's own and cannot be mended from outside is named in `OF_GRADIO`, each with why.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

from tests.browsers import MARKS, PATIENCE_MS, chromium
from tests.ui.launched import Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["chromium"]  # a fixture, found by its name
pytestmark = MARKS
GRAVE = ("serious", "critical")
# Rule of axe-core -> parts of a page that are Gradio's own and in which it may be broken.
OF_GRADIO: dict[str, tuple[str, ...]] = {}
HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4")]
  .filter((one) => one.checkVisibility()).map((one) => [Number(one.tagName[1]), one.textContent.trim()])"""
SMALL = """() => [...document.querySelectorAll("[class*=tm-] :is(button, a, select, summary, input)")]
  .filter((one) => one.checkVisibility() && !one.closest("p, li, td"))
  .map((one) => (one.type === "radio" || one.type === "checkbox" ? one.closest("label") || one : one))
  .filter((one) => one.getBoundingClientRect().height < 43.5)
  .map((one) => `${one.outerHTML.slice(0, 120)} ${one.getBoundingClientRect().height}`)"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("accessible"), steps=3) as page:
        yield page


def tabs_of(page: Page) -> Iterator[str]:
    """Open every tab, and every step of one, and give its name."""
    for tab in page.locator("[role=tab]").all():
        if tab.is_visible():
            tab.click()
            page.wait_for_timeout(1_000)
            yield tab.inner_text()


def opened(browser: Browser, url: str, *, theme: Any, width: int) -> Page:  # noqa: ANN401 -- playwright's literal
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(url)
    page.locator("h1").first.wait_for()
    page.wait_for_timeout(1_000)
    return page


def grave_faults(page: Page) -> list[str]:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:160]}"
        for fault in found
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
        if not any(part in node["html"] for part in OF_GRADIO.get(fault["id"], ()))
    ]


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_anybody_out(browser: Browser, served: Launched, theme: str, width: int) -> None:
    page = opened(browser, served.url, theme=theme, width=width)
    faults = {f"{name}: {fault}" for name in tabs_of(page) for fault in grave_faults(page)}
    page.context.close()
    admin = opened(browser, f"{served.url}admin", theme=theme, width=width)
    faults |= {f"Admin: {fault}" for fault in grave_faults(admin)}
    admin.context.close()
    assert not faults


def test_headings_are_in_order(browser: Browser, served: Launched) -> None:
    page = opened(browser, served.url, theme="light", width=1280)
    for name in tabs_of(page):
        levels = page.evaluate(HEADINGS)
        assert levels[0][0] == 1
        steps = itertools.pairwise(levels)
        assert not [f"{name}: {after[1]}" for before, after in steps if after[0] > before[0] + 1]
    page.context.close()


def test_what_is_pressed_on_a_phone_is_as_large_as_a_finger(browser: Browser, served: Launched) -> None:
    """Of what we draw ourselves."""
    page = opened(browser, served.url, theme="light", width=390)
    assert not [f"{name}: {small}" for name in tabs_of(page) for small in page.evaluate(SMALL)]
    page.context.close()
