"""The page in a browser: a person trains a voice, leaves, comes back, converts, and cleans up."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.store.records import Caller, new_job
from pipelines.voices.library import BUILTIN_VOICES
from tests.browsers import MARKS, OVERFLOW, PATIENCE_MS, chromium, context, on_all, on_others, on_two
from tests.sounds import tone, write_tracks
from tests.ui.launched import RECORDING, VOICE_FILES, Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("browser"), steps=150) as page:
        yield page


def opened(context: BrowserContext, served: Launched) -> Page:
    page = context.new_page()
    page.goto(served.url)
    page.locator("#tabs [role=tab][aria-selected=true]").first.wait_for()
    return page


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


@on_others
def test_a_person_clones_a_voice_leaves_comes_back_and_converts(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    tab(page, "Clone")
    page.locator("#clone-files input[type=file]").first.set_input_files([*VOICE_FILES[:2], Path(__file__)])
    page.locator("#clone-meter").get_by_text("enough to try it").wait_for()
    page.locator("#clone-to-2").click()
    page.locator("#clone-report .tm-report").wait_for()
    page.locator("#clone-report").get_by_text("1 file is not used:").wait_for()
    page.locator("#clone-report").get_by_text("test_browser.py is not a recording").wait_for()
    page.locator("#clone-to-3").click()
    page.locator("#clone-train").click()  # no name and no permission yet: both are marked
    page.locator("#clone-name-note").get_by_text("Give the voice a name").wait_for()
    page.locator("#clone-consent-note").get_by_text("permission").wait_for()
    page.get_by_role("button", name="Expert settings").first.click()
    assert page.locator("#clone-steps").get_by_role("textbox").input_value() == ""
    page.locator("#clone-name").get_by_role("textbox").fill("Wren")
    page.locator("#clone-consent").get_by_role("checkbox").check()
    page.locator("#clone-train").click()
    page.locator("#training-card [role=progressbar]").wait_for()
    page.close()

    page = opened(context, served)
    tab(page, "Clone")
    page.locator("#training-card").get_by_text("Wren is ready").wait_for()
    page.locator("#samples .tm-play").first.wait_for()
    page.locator("#convert-next").click()
    page.locator("#convert-source input[type=file]").first.set_input_files(RECORDING)
    page.locator("#convert-source").get_by_text("0:11").first.wait_for()
    page.locator("#convert").click()
    page.locator("#convert-status").get_by_text("in the voice Wren").wait_for()
    page.locator("#player .tm-time").get_by_text("0:10").wait_for()
    page.get_by_text("Melodies and spectrograms").click()
    page.locator("#picture img").wait_for()

    tab(page, "Jobs")
    page.locator("#jobs button").first.wait_for()
    assert page.locator("#jobs button").count() == 3
    tab(page, "Voices")
    with page.expect_download() as download:
        page.locator("#voice-export").click()
    assert download.value.suggested_filename == "Wren.zip"
    page.locator("#voice-delete").click()
    page.locator("#voice-keep").click()
    page.locator("#voice-delete").click()
    page.locator("#voice-sure").click()
    page.locator("#voices label", has_text="Wren").wait_for(state="detached")
    page.locator("#voices label", has_text="Kathleen").wait_for()


@on_two
def test_a_person_converts_many_recordings_and_downloads_a_zip(
    context: BrowserContext, served: Launched, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as album:
        album.write(VOICE_FILES[0], "song.ogg")
        album.writestr("cover.jpg", b"no sound")
    page = opened(context, served)
    tab(page, "Convert")
    page.locator("#convert-kind").get_by_text("Many").click()
    page.get_by_role("button", name="Convert all").click()
    page.get_by_text("Add recordings to convert").first.wait_for()
    page.locator("#convert-files input[type=file]").first.set_input_files([tmp_path / "album.zip", RECORDING])
    page.locator("#convert-files").get_by_text("visitor").first.wait_for()
    page.get_by_role("button", name="Convert all").click()
    page.locator(".tm-table").get_by_text("cover.jpg is not a recording").wait_for()
    page.get_by_text("2 of 3 done, 1 failed").wait_for()
    with page.expect_download() as download:
        page.locator("#convert-zip").click()
    with zipfile.ZipFile(download.value.path()) as results:
        assert {"song.wav", "visitor.wav"} < set(results.namelist())
    tab(page, "Jobs")
    page.locator("#job-details").get_by_text("2 of 3 done, 1 failed").wait_for()
    assert page.evaluate(OVERFLOW) <= 0


DROP = """(box, [name, type, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, {type}));
    box.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer}));
}"""


@pytest.mark.parametrize("dropped", [False, True])
def test_any_file_may_be_chosen_for_one_conversion_and_its_content_decides(
    context: BrowserContext, served: Launched, tmp_path: Path, dropped: bool
) -> None:
    film = write_tracks(tmp_path / "clip.mov", "mov", [("aac", tone(3, 16_000))], 16_000, film="mpeg4")
    unnamed = tmp_path / "without an ending"
    unnamed.write_bytes(RECORDING.read_bytes())
    words = tmp_path / "words.txt"
    words.write_text("no sound at all")
    for path, type, length, said in (
        (film, "video/quicktime", "0:03", "Here is your recording"),
        (unnamed, "", "0:11", "Here is your recording"),
        (words, "text/plain", "", "is not a recording"),
    ):
        page = opened(context, served)
        tab(page, "Convert")
        chosen = page.locator("#convert-source")
        if dropped:
            content = base64.b64encode(path.read_bytes()).decode()
            chosen.locator("button", has=page.locator("input[type=file]")).evaluate(
                DROP, [path.name, type, content]
            )
        else:
            chosen.locator("input[type=file]").first.set_input_files(path)
        chosen.locator("input[type=file]").wait_for(state="detached")
        chosen.get_by_role("button", name="Clear").wait_for()
        if length:
            chosen.get_by_text(length).first.wait_for()
        page.locator("#convert").click()
        page.locator("#convert-status").get_by_text(said).wait_for()
        page.close()


def record(page: Page, element: str) -> None:
    """Record two seconds with the microphone."""
    chosen = page.locator(element)
    chosen.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(2_000)
    chosen.get_by_role("button", name="Stop").first.click()


def test_a_person_may_record_a_voice(context: BrowserContext, served: Launched) -> None:
    context.grant_permissions(["microphone"], origin=served.url.rstrip("/"))
    page = opened(context, served)
    tab(page, "Clone")
    page.get_by_text("Record with the microphone").click()
    record(page, "#clone-microphone")
    page.locator("#clone-files").get_by_text("Sentence 01").first.wait_for()
    page.get_by_role("tab", name="2. Review").click()
    # Two seconds are too few, and that is known because the recording could be read.
    page.locator("#clone-report").get_by_text("a voice needs at least 10 seconds").wait_for()


def test_a_person_may_record_what_is_converted(context: BrowserContext, served: Launched) -> None:
    context.grant_permissions(["microphone"], origin=served.url.rstrip("/"))
    page = opened(context, served)
    tab(page, "Convert")
    page.locator("#convert-source").get_by_role("button", name="Record audio").click()
    record(page, "#convert-source")
    page.locator("#convert-source").get_by_role("button", name="Clear").wait_for()
    page.locator("#convert").click()
    page.locator("#convert-status").get_by_text("Here is your recording").wait_for()


def test_a_person_is_told_what_is_missing_and_why_a_file_is_refused(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    tab(page, "Clone")
    page.get_by_role("tab", name="3. Name").click()
    page.locator("#clone-train").click()
    page.get_by_text("Add recordings of the voice first").wait_for()
    page.get_by_role("tab", name="1. Recordings").click()
    page.locator("#clone-files input[type=file]").first.set_input_files(__file__)
    page.locator("#clone-to-2").click()
    page.locator("#clone-report").get_by_text("test_browser.py is not a recording").wait_for()
    tab(page, "Convert")
    page.locator("#convert").click()
    page.get_by_text("Add a recording to convert").first.wait_for()


@on_all
def test_the_page_asks_nobody_else_for_anything_and_fits_every_screen(
    context: BrowserContext, served: Launched
) -> None:
    asked: list[str] = []
    faults: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page = opened(context, served)
    for name in ("Convert", "Clone", "Voices", "Jobs"):
        tab(page, name)
        page.wait_for_timeout(300)
        assert page.evaluate(OVERFLOW) <= 0, f"{name} is wider than the screen"
    assert page.locator("h1").count() == 1
    outside = [url for url in asked if not url.startswith((served.url, "data:", "blob:"))]
    assert outside == []
    assert faults == []


def test_a_browser_sees_nothing_of_another_one(browser: Browser, served: Launched) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = opened(context, served)
    tab(page, "Jobs")
    page.locator("#job-details").get_by_text("Nothing here yet").wait_for()
    tab(page, "Voices")
    page.locator("#voices label", has_text="Kathleen").wait_for()
    assert page.locator("#voices label").count() == len(list(BUILTIN_VOICES.iterdir()))
    (cookie,) = [one for one in context.cookies() if one["name"].startswith("timbre_")]
    assert cookie["httpOnly"]
    context.close()


def test_who_runs_the_server_looks_after_everybody_s_jobs(context: BrowserContext, served: Launched) -> None:
    upload = served.jobs.upload(Caller("anna"), [(RECORDING, "visitor.flac")], "target")
    job = new_job("anna", "preprocessing", status="failed", seq=served.jobs.next_seq(), dead_letter=True)
    job |= {"upload_id": upload["id"], "input_job_id": upload["id"], "error_message": "It failed 3 times."}
    served.jobs.registry.insert("jobs", job)
    (served.data_dir / "jobs" / job["id"]).mkdir()
    page = opened(context, served)
    page.locator("#admin-link a").click()
    page.locator("#admin-health").get_by_text("Works").wait_for()
    page.locator("#admin-filter").get_by_label("Given up").check()
    page.locator("#admin-details").get_by_text("It failed 3 times.").wait_for()
    page.locator("#admin-retry").click()
    page.locator("#admin-jobs").get_by_text("Nothing was given up").wait_for()
    page.locator("#admin-look").click()
    page.locator("#admin-found").get_by_text("nothing to clean up").wait_for()


def test_the_admin_page_is_not_there_for_who_comes_through_a_proxy(
    browser: Browser, served: Launched
) -> None:
    context = browser.new_context(extra_http_headers={"x-forwarded-for": "10.0.0.9"})
    context.set_default_timeout(PATIENCE_MS)
    page = opened(context, served)
    tab(page, "Clone")
    page.locator("#clone-files").wait_for()
    page.wait_for_timeout(3000)
    assert page.locator("#admin-link a").count() == 0
    page.goto(f"{served.url}admin")
    page.locator("#admin-refused").get_by_text("This is for who runs the server").wait_for()
    assert page.locator("#admin-jobs").count() == 0
    context.close()
