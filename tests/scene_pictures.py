"""Takes a picture of every state of the page, in languages, themes and widths, to look at them.

    python -m tests.scene_pictures FOLDER [LANGUAGE ...]

Needs Chromium and playwright; the work is the toy's. FOLDER then holds, by language, one picture a state: on
a desk and on a phone, light and dark, side by side.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browsers import CHROMIUM, OTHER_SCREENS, SCREENS, TWO_SCREENS
from tests.cheap_accounts import accounts_of
from tests.scenes import JOURNEYS, login, shown_on
from tests.ui.launched import launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LANGUAGES = ("en", "de", "ar")
LONGEST_MS = 90_000.0
SHARE = 0.6  # of its size that a picture is kept in
LOWEST = 1_900  # rows of the page that are shown; the end of a longer one is left out


def main() -> None:
    folder, languages = Path(sys.argv[1]), sys.argv[2:] or LANGUAGES
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for language in languages:
            take_all(browser, language, folder / language)
        browser.close()


def take_all(browser: Browser, language: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(locale=language)
    page.set_default_timeout(LONGEST_MS)
    with TemporaryDirectory() as data, launched(Path(data)) as served:
        for journey in JOURNEYS:
            for scene in journey(page, served):
                take(page, folder / f"{scene}.webp")
    with (
        TemporaryDirectory() as data,
        launched(Path(data), auth_file=accounts_of(Path(data), "ada").path) as served,
    ):
        for scene in login(page, served):
            take(page, folder / f"{scene}.webp")
    page.close()


def take(page: Page, path: Path) -> None:
    pictures = []
    for name in (*TWO_SCREENS, *OTHER_SCREENS):
        shown_on(page, SCREENS[name])
        whole = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        part = whole.crop((0, 0, whole.width, min(whole.height, LOWEST)))
        pictures.append(part.resize((round(SHARE * part.width), round(SHARE * part.height))))
    sheet = Image.new(
        "RGB", (sum(one.width for one in pictures), max(one.height for one in pictures)), "white"
    )
    at = 0
    for picture in pictures:
        sheet.paste(picture, (at, 0))
        at += picture.width
    sheet.save(path, quality=80)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
