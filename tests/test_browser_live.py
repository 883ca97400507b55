"""Live in a browser: a fake microphone speaks, the voice is heard, and a take is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile as sf

from pipelines.store.records import new_job
from rvc.audio.resampling import resample
from tests.browsers import CHROMIUM, MARKS, OVERFLOW, PATIENCE_MS
from tests.tiny import song, toy_bundle
from tests.ui.launched import Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = MARKS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("live-page")) as page:
        yield page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose microphone hears a song, again and again."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    sung = tmp_path_factory.mktemp("microphone") / "song.wav"
    sf.write(sung, resample(song(6.0), 16_000, 48_000), 48_000, subtype="PCM_16")
    arguments = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"]
    arguments += ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={sung}"]
    arguments += ["--autoplay-policy=no-user-gesture-required"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, served: Launched) -> Iterator[Page]:
    context = visitor(browser)
    page = context.new_page()
    page.goto(served.url)
    page.get_by_role("tab", name="Live").click()
    page.locator("#live-voice input:checked").wait_for(state="attached")
    yield page
    context.close()


def visitor(browser: Browser, width: int = 1280) -> BrowserContext:
    context = browser.new_context(viewport={"width": width, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    return context


def add_hum(page: Page, served: Launched, folder: Path) -> None:
    """Give this visitor a voice that is loaded in no time, and choose it."""
    (cookie,) = [one for one in page.context.cookies() if str(one.get("name")).startswith("timbre_")]
    owner = "visitor-" + str(cookie.get("value")).partition(".")[0]
    job = new_job(owner, "training", status="completed", seq=0, model_name="Hum", upload_id="u")
    served.jobs.library.adopt(job, toy_bundle(folder))
    page.reload()
    page.get_by_role("tab", name="Live").click()
    page.locator("#live-voice .tm-voice", has_text="Hum").locator("label").click()
    page.locator("#live-voice .tm-voice:has(input:checked)", has_text="Hum").wait_for()


def test_a_person_speaks_is_heard_and_finds_the_take(page: Page, served: Launched, tmp_path: Path) -> None:
    add_hum(page, served, tmp_path / "hum")
    live = page.locator(".tm-live")
    live.get_by_role("button", name="Speak live").click()
    live.get_by_role("status").get_by_text("You speak in the voice").wait_for()
    heard = "document.querySelector('[data-live-part=voice]').value > 0.01"
    page.wait_for_function(heard)
    assert " ms" in live.locator("[data-live-part=delay]").inner_text()
    live.get_by_label("Bypass").check()
    live.get_by_label("Pitch in semitones").fill("3")
    live.get_by_label("Push to talk").check()
    page.wait_for_function("document.querySelector('[data-live-part=voice]').value < 0.001")
    box = live.get_by_role("button", name="Hold to talk").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.wait_for_function(heard)
    page.mouse.up()
    live.get_by_role("button", name="Stop speaking").click()
    live.get_by_role("status").get_by_text("It is kept as a take").wait_for()
    page.get_by_role("tab", name="Convert").click()
    page.locator("#takes").get_by_text("Live").first.wait_for()
    page.locator("#takes").get_by_role("button", name="Play").first.click()
    page.locator("#player .tm-time").get_by_text("0:0").first.wait_for()


def test_a_missing_or_forbidden_microphone_is_told_with_the_way_out(page: Page) -> None:
    live = page.locator(".tm-live")
    for error, said in (
        ("NotAllowedError", "The microphone is not allowed"),
        ("NotFoundError", "There is no microphone"),
        ("NotReadableError", "cannot be used"),
    ):
        page.evaluate(
            "name => { navigator.mediaDevices.getUserMedia = "
            "() => Promise.reject(Object.assign(new Error(), {name})); }",
            error,
        )
        live.get_by_role("button", name="Speak live").click()
        live.get_by_role("alert").get_by_text(said).wait_for()
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    live.get_by_role("button", name="Speak live").click()
    live.get_by_role("alert").get_by_text("without HTTPS").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_panel_fits_every_screen(
    browser: Browser, served: Launched, width: int, scheme: str, tmp_path: Path
) -> None:
    context = visitor(browser, width)
    page = context.new_page()
    page.goto(f"{served.url}?__theme={scheme}")
    page.get_by_role("tab", name="Live").click()
    page.locator("#live-voice input:checked").wait_for(state="attached")
    page.locator(".tm-live").get_by_role("status").get_by_text("Choose a voice and press").wait_for()
    assert page.evaluate(OVERFLOW) <= 0
    page.screenshot(path=str(tmp_path / "live.png"), full_page=True)
    context.close()
