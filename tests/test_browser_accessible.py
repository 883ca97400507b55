"""Whether everybody can use the page, in each of its states: axe-core in both themes and on three widths.

In every state too: headings in order, people's words, nothing wider than the screen, on a phone nothing
smaller than a finger, nothing that the console complains of. What is Gradio's own and cannot be mended from
outside is named here, each with why.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

from tests.browsers import MARKS, OVERFLOW, PATIENCE_MS, SCREENS, Screen, chromium
from tests.scenes import JOURNEYS, Journey, shown_on
from tests.ui.launched import Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

__all__ = ["chromium"]  # a fixture, found by its name
pytestmark = MARKS
GRAVE = ("serious", "critical")
# Rule of axe-core -> parts of a page that are Gradio's own and in which it may be broken.
OF_GRADIO: dict[str, tuple[str, ...]] = {
    # The buttons that add a file and that dismiss a message hold another thing that takes the focus.
    "nested-interactive": ('aria-label="common.upload"', 'class="toast-'),
    # Code: its colours, and a box that no key scrolls.
    "color-contrast": ('class="ͼ',),
    "scrollable-region-focusable": ('class="cm-scroller"',),
}
SCREENS_OF_A_SCENE = (
    ("desk, light", "tablet, dark", "phone, light"),
    ("desk, dark", "tablet, light", "phone, dark"),
)
SAID_BY_GRADIO = (
    "Method not implemented.",  # whenever a file is sent
    "Waveform load error",  # its player of what is no recording, before that is said
    # when a page is left, here by a reload, while it waits for an answer
    "AbortError: signal is aborted without reason",
    "Unexpected error Connection errored out.",
    "https://svelte.dev/e/derived_inert",  # of what Gradio has just taken off the page
    "WARN The input spec uses Vega-Lite",  # Gradio writes its charts for another version than it ships
)
HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4")]
  .filter((one) => one.checkVisibility()).map((one) => [Number(one.tagName[1]), one.textContent.trim()])"""
# What is pressed, but for words within a text.
SMALL = """() => [...document.querySelectorAll("button, a, select, summary, input, [role=tab]")]
  .filter((one) => one.checkVisibility({visibilityProperty: true, opacityProperty: true}))
  .filter((one) => one.getBoundingClientRect().width > 2 && !one.closest("p, footer"))
  .map((one) => (one.type === "radio" || one.type === "checkbox" ? one.closest("label") || one : one))
  .filter((one) => one.getBoundingClientRect().height < 43.5)
  .map((one) => `${one.outerHTML.slice(0, 120)} ${one.getBoundingClientRect().height}`)"""
# Ids, and what programmers call things; but for the Admin page.
IN_NO_PERSONS_WORDS = re.compile(r"\b[0-9a-f]{32}\b|\b(praat|rmvpe)\b|\b[Ss]lice \d+ of \d")
CHARTS = re.compile(r"/assets/embed-")  # Vega, 1 MB


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("accessible")) as page:
        yield page


def grave_faults(page: Page) -> list[str]:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:160]}"
        for fault in found
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
        if not any(part in node["html"] for part in OF_GRADIO.get(fault["id"], ()))
    ]


def faults_of(page: Page, screen: Screen) -> list[str]:
    """Return what keeps somebody from using an open page on a screen."""
    shown_on(page, screen)
    faults = grave_faults(page)
    if page.evaluate(OVERFLOW) > 0:
        faults.append("is wider than the screen")
    if screen.width < 640:
        faults += [f"small: {part}" for part in page.evaluate(SMALL)]
    if not page.url.endswith("admin"):
        words = IN_NO_PERSONS_WORDS.finditer(page.evaluate("document.body.innerText"))
        faults += [f"no person says {word[0]}" for word in words]
    levels = page.evaluate(HEADINGS)
    steps = itertools.pairwise([(0, ""), *levels])
    return faults + [f"heading: {after[1]}" for before, after in steps if after[0] > before[0] + 1]


@pytest.mark.timeout(900)  # on a busy machine
@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.__name__)
def test_nothing_keeps_anybody_out(browser: Browser, served: Launched, journey: Journey) -> None:
    """Every state on every width and in both themes; every other one light where the others are dark."""
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    faults, asked = dict[str, None](), list[str]()
    context.on("weberror", lambda fault: faults.setdefault(f"page error: {fault.error}"))
    context.on("console", lambda line: faults.setdefault(complaint(line)))
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    for scene, screens in zip(journey(page, served), itertools.cycle(SCREENS_OF_A_SCENE)):
        for name in screens:
            faults |= dict.fromkeys(f"{scene} ({name}): {fault}" for fault in faults_of(page, SCREENS[name]))
        if scene == "Clone 4, curves":
            assert [url for url in asked if CHARTS.search(url)]
        else:
            assert not [url for url in asked if CHARTS.search(url)], "what draws charts comes with the first"
    context.close()
    faults.pop("", None)
    assert not list(faults)


def complaint(line: ConsoleMessage) -> str:
    """Return what the console complains of; "" where it does not, and of what Gradio says."""
    if line.type not in ("error", "warning") or line.text.startswith(SAID_BY_GRADIO):
        return ""
    return f"console: {line.text[:300]}"
