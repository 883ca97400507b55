"""Takes the pictures of the README from the page itself, with the built-in engine and the example recordings.

    python -m tests.readme_pictures

Needs Chromium and playwright, and some minutes for a short training. The results are kept in the repository.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

from pipelines.jobs.processes import WORKER_COMMAND
from rvc.files import ROOT
from tests.browsers import CHROMIUM
from tests.ui.launched import RECORDING, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = ROOT / "docs" / "pictures"
STEPS = "300"  # of the training: enough for some samples
QUALITY = 80
LONGEST_MS = 900_000.0


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with (
        TemporaryDirectory() as folder,
        launched(Path(folder), worker=WORKER_COMMAND) as served,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        convert(opened(browser, served.url))
        clone(opened(browser, served.url))
        phone = browser.new_page(
            viewport={"width": 390, "height": 640}, color_scheme="dark", locale="ar", device_scale_factor=2
        )
        phone.goto(served.url)
        phone.wait_for_timeout(3_000)
        save(phone, "phone")
        browser.close()


def opened(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(LONGEST_MS)
    page.goto(url)
    return page


def convert(page: Page) -> None:
    page.locator("#convert-source input[type=file]").first.set_input_files(RECORDING)
    page.locator("#convert-source").get_by_text("0:11").first.wait_for()
    page.locator("#convert").click()
    page.locator("#player [data-part=play]:not([disabled])").wait_for()
    page.locator("#pictures button").first.click()
    page.locator("#contours svg").wait_for()
    page.locator("#player").scroll_into_view_if_needed()
    page.wait_for_timeout(1_000)
    save(page, "convert")


def clone(page: Page) -> None:
    page.get_by_role("tab", name="Clone").click()
    page.locator("#clone-example").click()
    page.locator("#slice-review .tm-wave").first.wait_for()
    page.locator("#slice-review").scroll_into_view_if_needed()
    page.wait_for_timeout(1_000)
    save(page, "review")
    page.locator("#clone-to-3").click()
    page.locator("#clone-expert button, .label-wrap").last.click()
    page.locator("#clone-steps").get_by_role("textbox").fill(STEPS)
    page.locator("#clone-train").click()
    page.locator("#training-card").get_by_text("is ready").wait_for()
    page.wait_for_timeout(1_000)
    save(page, "hear")


def save(page: Page, name: str) -> None:
    path = FOLDER / f"{name}.webp"
    drawn = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    drawn.thumbnail((960, 960))
    drawn.save(path, quality=QUALITY, method=6)
    sys.stdout.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
