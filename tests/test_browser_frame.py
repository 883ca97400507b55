"""The frame of the page in a browser: what runs, account, admin, a reload, a lost server, no jumps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pipelines.store.records import new_job
from rvc.files import ROOT
from tests.browsers import MARKS, OVERFLOW, chromium, context, on_others, on_two
from tests.ui.launched import RECORDING, Launched, free_port, launched, wait_for
from tests.ui.raw_http import ask

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS
# Sums up how far parts of the page moved by themselves.
SHIFTS = """window.moved = 0; new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.moved += entry.value;
}).observe({type: "layout-shift", buffered: true});"""
# Choices in another order, as a later version may have them.
REVERSED = """new MutationObserver(() => {
    const labels = document.querySelectorAll("#convert-kind label:not([data-moved])");
    labels.forEach((label) => { label.dataset.moved = ""; label.parentElement.prepend(label); });
}).observe(document, {childList: true, subtree: true});"""
# Words of a table that stand on more than one line.
BROKEN = r"""(table) => {
    const broken = [], range = document.createRange();
    const walker = document.createTreeWalker(document.querySelector(table), NodeFilter.SHOW_TEXT);
    while (walker.nextNode())
        for (const word of walker.currentNode.data.matchAll(/[\p{L}\d]+/gu)) {
            range.setStart(walker.currentNode, word.index);
            range.setEnd(walker.currentNode, word.index + word[0].length);
            const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
            if (lines.size > 1) broken.push(word[0]);
        }
    return broken; }"""
SEEN_S = 15  # within which a lost server is noticed, on a busy machine


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("frame"), steps=300) as page:
        yield page


def opened(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.goto(url)
    page.locator("#tabs button[role=tab]").first.wait_for()
    return page


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


@on_two
def test_what_runs_is_seen_from_every_tab_and_stopped_there(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served.url)
    toggle = page.locator("#running .toggle-button")
    assert toggle.get_attribute("data-count") is None
    tab(page, "Convert")
    page.locator("#convert-source input[type=file]").first.set_input_files(RECORDING)
    page.locator("#convert-source").get_by_text("0:11").first.wait_for()
    page.locator("#convert").click()
    tab(page, "Voices")
    page.locator("#running .toggle-button[data-count='1']").wait_for()
    assert toggle.get_attribute("aria-label") == "What runs: 1"
    assert page.locator("#running-jobs button").count() == 1
    assert not page.locator("#running-jobs button").is_visible()
    box = page.locator("#running .toggle-button").bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 44
    toggle.focus()
    page.keyboard.press("Enter")
    running = page.locator("#running-jobs")
    running.get_by_text("Convert visitor.flac into").wait_for()
    running.get_by_text(" left").wait_for()
    running.get_by_role("button", name="Stop: Convert visitor.flac").click()
    running.get_by_text("Nothing runs").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate(OVERFLOW) <= 0


@on_others
def test_nothing_moves_while_the_page_comes(context: BrowserContext, served: Launched) -> None:
    context.add_init_script(SHIFTS)
    page = opened(context, served.url)
    page.wait_for_timeout(4_000)
    assert page.evaluate("window.moved") < 0.02


def test_a_reload_returns_to_the_last_tab_and_the_last_voice(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served.url)
    tab(page, "Convert")
    chosen = page.locator("#convert-voice input:checked")
    chosen.wait_for()
    page.locator("#convert-voice input:not(:checked)").first.check()
    other = chosen.input_value()
    page.locator("#convert-preset").get_by_label("Octave up").check()
    tab(page, "Jobs")
    page.locator("#job-details").wait_for()
    page.reload()
    page.locator("#job-details").wait_for()
    assert page.get_by_role("tab", name="Jobs").get_attribute("aria-selected") == "true"
    tab(page, "Convert")
    wait_for(lambda: chosen.input_value() == other, "the voice")
    wait_for(page.locator("#convert-preset").get_by_label("Octave up").is_checked, "the preset")
    page.locator("#convert-pitch-said").get_by_text("One octave higher").wait_for()
    page.evaluate("localStorage.setItem('timbre.tab', '\"admin\"')")
    page.reload()
    page.locator("#tabs [role=tab][aria-selected=true]").first.wait_for()


def test_the_account_is_opened_and_closed_by_keys_alone(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served.url)
    page.locator("#account-open").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_text("belongs to this browser").wait_for()
    wait_for(lambda: page.evaluate("document.activeElement.id") == "account-close", "the focus in it")
    page.locator("#account-used").get_by_text("You use").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    wait_for(lambda: page.evaluate("document.activeElement.id") == "account-open", "the focus back")
    assert page.locator("#voices #account").count() == 0


@on_two
def test_the_admin_page_is_searched_by_typing(context: BrowserContext, served: Launched) -> None:
    for number in range(4):
        made = new_job(
            f"visitor-{number:032x}", "training", status="failed", seq=0, model_name=f"Choir {number}"
        )
        made |= {"dead_letter": True, "attempts": 3}
        if served.jobs.registry.get("jobs", f"choir-{number}") is None:
            served.jobs.registry.insert("jobs", made | {"id": f"choir-{number}"})
    page = opened(context, served.url)
    page.locator("#admin-link a").click()
    page.locator("#admin-health").get_by_text("Works").wait_for()
    rows = page.locator("#admin-jobs tbody tr:visible")
    page.locator("#admin-jobs input").fill("choir 2")
    wait_for(lambda: rows.count() == 1, "the one that was looked for")
    page.locator("#admin-jobs").get_by_text("1 found").wait_for()
    assert page.evaluate(BROKEN, "#admin-jobs") == []
    rows.first.get_by_role("button").click()
    page.locator("#admin-details").get_by_text("Train Choir 2").first.wait_for()
    assert rows.count() == 1, "the search stays when a row is chosen"
    page.locator("#admin-shares input").fill("nobody")
    wait_for(lambda: page.locator("#admin-shares tbody tr:visible").count() == 0, "no such user")
    assert page.evaluate(OVERFLOW) <= 0
    page.get_by_role("link", name="Back to clone and convert").click()
    page.locator("#tabs").wait_for()


def test_the_page_has_a_name_an_icon_and_a_preview_of_its_own(served: Launched) -> None:
    for path in ("/", "/admin"):
        html = ask(served.url, path).text
        head = " ".join(re.findall(r"<(?:meta|link)[^>]*>", html))
        assert '<meta property="og:title" content="Timbre" />' in head
        assert f'content="{served.url.rstrip("/")}/preview.png"' in head
        assert "Gradio" not in head
        assert "gradio" not in head.replace("gradio_api", "")
    manifest = ask(served.url, "/manifest.json").text
    assert '"Timbre"' in manifest
    assert "logo" not in manifest
    for name in ("icon.svg", "icon-192.png", "icon-512.png", "preview.png", "favicon.ico"):
        answer = ask(served.url, f"/{name}")
        assert answer.status == 200
        assert answer.header("content-type") in ("image/svg+xml", "image/png")
    preview = ROOT / "assets" / "page" / "preview.png"
    assert preview.stat().st_size <= 60_000
    assert Image.open(preview).size == (1200, 630)


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """A server in a process of its own, killed at the end."""
    command = [sys.executable, "app.py", "--port", str(port), "--data-dir", str(folder / "data")]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "cache"), "NO_PROXY": "127.0.0.1"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(port), "the server")
        yield
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return ask(f"http://127.0.0.1:{port}", "/health").status == 200
    except OSError:
        return False


def test_a_server_that_is_gone_is_noticed_and_the_page_heals_with_what_was_typed(
    context: BrowserContext, tmp_path: Path
) -> None:
    port = free_port()
    with server(tmp_path, port):
        page = opened(context, f"http://127.0.0.1:{port}/")
        page.locator("#convert-voice input:checked").wait_for()
        page.get_by_role("radio", name="Many").check()
        tab(page, "Clone")
        tab(page, "3. Name")
        page.locator("#clone-name").get_by_role("textbox").fill("Wren of the wood")
        page.locator("#clone-consent").get_by_role("checkbox").check()
        page.wait_for_timeout(2_000)
    # Nobody has clicked anything.
    page.get_by_role("alert").get_by_text("The server does not answer").wait_for(timeout=SEEN_S * 1_000)
    page.add_init_script(REVERSED)
    with server(tmp_path, port):
        page.locator("#tm-lost").wait_for(state="hidden")
        tab(page, "3. Name")
        name = page.locator("#clone-name").get_by_role("textbox")
        wait_for(lambda: name.is_visible() and name.input_value() == "Wren of the wood", "what was typed")
        consent = page.locator("#clone-consent").get_by_role("checkbox")
        wait_for(consent.is_checked, "what was ticked")
        tab(page, "Convert")
        many = page.locator("#convert-kind input[value^=Many]")
        wait_for(many.is_checked, "what was chosen")
        page.locator("#account-open").click()
        page.locator("#account-used").get_by_text("You use").wait_for()
