"""A Chromium to drive the page with; the tests that do are skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 60_000.0
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass(frozen=True, kw_only=True)
class Screen:
    """What somebody looks at the page with."""

    width: int
    theme: Literal["light", "dark"]
    height: int = 844


SCREENS = {
    "desk, light": Screen(width=1280, theme="light"),
    "desk, dark": Screen(width=1280, theme="dark"),
    "tablet, light": Screen(width=768, theme="light"),
    "tablet, dark": Screen(width=768, theme="dark"),
    "phone, light": Screen(width=390, theme="light"),
    "phone, dark": Screen(width=390, theme="dark"),
}
# Both widths and both themes, in two of the four ways.
TWO_SCREENS = ("desk, light", "phone, dark")
OTHER_SCREENS = ("desk, dark", "phone, light")
on_two = pytest.mark.parametrize("context", TWO_SCREENS, indirect=True)
on_others = pytest.mark.parametrize("context", OTHER_SCREENS, indirect=True)
on_all = pytest.mark.parametrize("context", TWO_SCREENS + OTHER_SCREENS, indirect=True)
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt install chromium)"),
]


@pytest.fixture(scope="module", name="browser")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a file."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A visitor, at a desk in the light unless the test asks for another screen."""
    context = on_screen(browser, getattr(request, "param", "desk, light"))
    yield context
    context.close()


def on_screen(browser: Browser, name: str, locale: str = "en-US") -> BrowserContext:
    """Open a visitor's browser, in the language that it asks for."""
    screen = SCREENS[name]
    context = browser.new_context(
        viewport={"width": screen.width, "height": screen.height}, color_scheme=screen.theme, locale=locale
    )
    context.set_default_timeout(PATIENCE_MS)
    return context
