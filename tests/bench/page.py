"""How many clicks and seconds it takes on the page: run by hand, on a machine that does nothing else.

    python -m tests.bench.page

With the built-in engine and the shipped voices. A click is a press of the mouse or the choice of a file.
Printed are, at 1280 and at 390 px: from opening the page to the first sound of an example, of a converted
recording of one's own (the first conversion of the server, and the second), and to a training that runs; and
the page's weight, paints and layout shift.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from pipelines.jobs.processes import WORKER_COMMAND
from tests.browsers import CHROMIUM, PATIENCE_MS
from tests.ui.launched import RECORDING, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

MEASURES = """() => new Promise((done) => {
    let shift = 0, painted = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((one) => {
        if (!one.hadRecentInput) shift += one.value;
    })).observe({type: "layout-shift", buffered: true});
    new PerformanceObserver((list) => list.getEntries().forEach((one) => { painted = one.startTime; }))
        .observe({type: "largest-contentful-paint", buffered: true});
    setTimeout(() => done({
        shift, largest_ms: painted,
        first_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
        bytes: performance.getEntriesByType("resource").reduce((sum, one) => sum + one.transferSize, 0),
    }), 4000);
})"""
SOUNDS = "() => document.querySelector('#player .tm-playing') !== null"
EXAMPLE_SOUNDS = "() => document.querySelector('#hear-now [aria-pressed=true]') !== null"


class Visit:
    """Counts what a visitor presses, from opening the page on."""

    def __init__(self, browser: Browser, url: str, width: int) -> None:
        self.page: Page = browser.new_context(viewport={"width": width, "height": 844}).new_page()
        self.page.set_default_timeout(10 * PATIENCE_MS)
        self.clicks, self._begun_s = 0, time.monotonic()
        self.page.goto(url)

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def choose(self, path: Path) -> None:
        self.page.locator("#convert-source input[type=file]").first.set_input_files(path)
        self.clicks += 1
        self.page.locator("#convert-source").get_by_text("0:1").first.wait_for()

    def tell(self, what: str) -> None:
        sys.stdout.write(f"{what}: {self.clicks} clicks, {time.monotonic() - self._begun_s:.1f} s\n")
        self.page.context.close()


def example(visit: Visit) -> None:
    visit.click(visit.page.locator("#hear-now button").nth(1))
    visit.page.wait_for_function(EXAMPLE_SOUNDS)


def own_recording(visit: Visit) -> None:
    visit.choose(RECORDING)
    visit.click(visit.page.locator("#convert"))
    visit.page.wait_for_function(SOUNDS)


def training(visit: Visit) -> None:
    visit.click(visit.page.get_by_role("tab", name="Clone"))
    for button in ("#clone-example", "#clone-to-3", "#clone-train"):
        visit.click(visit.page.locator(button))
    visit.page.locator("#training-card [role=progressbar]").wait_for()


JOURNEYS: tuple[tuple[str, Callable[[Visit], None]], ...] = (
    ("an example is heard", example),
    ("a recording of one's own is heard, cold", own_recording),
    ("a recording of one's own is heard, warm", own_recording),
    ("a training is started", training),
)


def main() -> None:
    for width in (1280, 390):
        with (
            TemporaryDirectory() as folder,
            launched(Path(folder), worker=WORKER_COMMAND) as served,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": width, "height": 844})
            page.goto(served.url)
            found = page.evaluate(MEASURES)
            sys.stdout.write(
                f"{width} px: first paint {found['first_ms'] / 1e3:.2f} s, largest "
                f"{found['largest_ms'] / 1e3:.2f} s, {found['bytes'] / 1e6:.2f} MB, layout shift "
                f"{found['shift']:.4f}\n"
            )
            for name, journey in JOURNEYS:
                visit = Visit(browser, served.url, width)
                journey(visit)
                visit.tell(f"{width} px: {name}")
            browser.close()


if __name__ == "__main__":
    main()
