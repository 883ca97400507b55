"""Draws the pictures of the page (icons, the preview that other sites show) from the SVGs in assets/page.

    python -m tests.page_pictures

Needs Chromium and playwright. The results are kept in the repository.
"""

from __future__ import annotations

import io
import sys

from PIL import Image
from playwright.sync_api import sync_playwright

from rvc.files import ROOT
from tests.browsers import CHROMIUM

FOLDER = ROOT / "assets" / "page"
PICTURES = {  # name: what is drawn, width, height
    "icon-192.png": ("icon.svg", 192, 192),
    "icon-512.png": ("icon.svg", 512, 512),
    "preview.png": ("preview.svg", 1200, 630),
}
COLOURS = 64  # enough for flat drawings, and small


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, (source, width, height) in PICTURES.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            svg = (FOLDER / source).read_text(encoding="utf-8")
            page.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block }}</style>{svg}")
            drawn = Image.open(io.BytesIO(page.screenshot(omit_background=True)))
            drawn.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / name, optimize=True)
            sys.stdout.write(f"{name}: {(FOLDER / name).stat().st_size / 1000:.1f} kB\n")
        browser.close()


if __name__ == "__main__":
    main()
