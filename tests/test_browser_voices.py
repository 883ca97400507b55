"""Voices in a browser: two tabs of one visitor, a stranger beside them, lists that heal, Undo, the pitch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from rvc.files import ROOT
from tests.browsers import MARKS, OVERFLOW, PATIENCE_MS, chromium, context, on_others, on_two
from tests.hostile.bad_files import zipped
from tests.toy_worker import write_voice
from tests.ui.launched import RECORDING, Launched, launched

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS
IN_VIEW = """(selector) => { const box = document.querySelector(selector).getBoundingClientRect();
    return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight; }"""
MARKED = ROOT / "assets" / "examples" / "heard" / "speech-kathleen.mp3"
NOTE = "Automatic pitch does nothing for this voice until its pitch is set on the Voices tab."


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("browser"), steps=3) as page:
        yield page


def opened(context: BrowserContext, served: Launched, tab: str) -> Page:
    page = context.new_page()
    page.goto(served.url)
    page.get_by_role("tab", name=tab).click()
    return page


def import_voice(page: Page, folder: Path, name: str) -> None:
    """Import a voice that does not know its pitch, on the Voices tab."""
    made = write_voice(folder / name, name, f0={})
    archive = folder / f"{name}.zip"
    archive.write_bytes(zipped({path.name: path.read_bytes() for path in made.iterdir()}))
    if not page.get_by_role("button", name="Import", exact=True).is_visible():
        page.get_by_role("button", name="Import a voice").click()
    page.locator("#voice-import input[type=file]").first.set_input_files(archive)
    page.locator("#voice-import .file-preview").get_by_text(archive.stem, exact=True).wait_for()
    page.get_by_role("button", name="Import", exact=True).click()
    page.locator("#voice-details h3", has_text=name).wait_for()


def delete(page: Page, name: str) -> None:
    page.locator("#voices label", has_text=name).click()
    page.locator("#voice-details h3", has_text=name).wait_for()
    page.locator("#voice-delete").click()
    page.locator("#voice-sure").click()
    page.locator("#voices label", has_text=name).wait_for(state="detached")


def use(page: Page, name: str) -> None:
    """Go to the Convert tab with the voice that the Voices tab shows."""
    page.locator("#voice-use").click()
    page.locator("#convert-voice .tm-voice", has_text=name).locator("input:checked").wait_for()


def convert_with(page: Page) -> None:
    page.locator("#convert-source input[type=file]").first.set_input_files(RECORDING)
    page.locator("#convert-source").get_by_text("0:11").first.wait_for()
    page.locator("#convert").click()


def no_words_of_gradio(page: Page) -> None:
    assert page.get_by_text("not in the list of choices").count() == 0


@on_two
def test_what_one_tab_deletes_and_imports_the_other_one_knows(
    context: BrowserContext, served: Launched, tmp_path: Path
) -> None:
    one = opened(context, served, "Voices")
    import_voice(one, tmp_path, "Wren")
    other = opened(context, served, "Convert")
    other.locator("#convert-voice label", has_text="Wren").click()
    other.locator("#convert-voice").get_by_text(NOTE).wait_for()

    delete(one, "Wren")
    convert_with(other)
    other.locator("#convert-status").get_by_text("The voice Wren was deleted; choose another.").wait_for()
    other.locator("#convert-voice-note").get_by_text("is gone; choose another").wait_for()
    no_words_of_gradio(other)

    import_voice(one, tmp_path, "Owl")
    other.locator("#convert-voice label").first.hover()
    other.locator("#convert-voice label", has_text="Owl").click()
    other.locator("#convert-voice .tm-voice", has_text="Owl").locator("input:checked").wait_for()
    other.locator("#convert").click()
    other.locator("#convert-status").get_by_text("in the voice Owl").wait_for()

    other.get_by_role("tab", name="Voices").click()
    other.locator("#voices label", has_text="Owl").click()
    other.locator("#voice-details h3", has_text="Owl").wait_for()
    delete(one, "Owl")
    other.locator("#voice-name input, #voice-name textarea").first.fill("Robin")
    other.locator("#voice-rename").click()
    other.get_by_text("The voice Owl was deleted; choose another.").first.wait_for()
    other.locator("#voices label", has_text="Owl").wait_for(state="detached")
    no_words_of_gradio(other)


@on_others
def test_a_deletion_is_undone_and_a_stranger_sees_nothing_of_it(
    context: BrowserContext, browser: Browser, served: Launched, tmp_path: Path
) -> None:
    page = opened(context, served, "Voices")
    import_voice(page, tmp_path, "Robin")
    delete(page, "Robin")
    page.locator("#deleted-voices label", has_text="Robin").wait_for()
    page.get_by_text("h left").first.wait_for()
    strange = browser.new_context()
    strange.set_default_timeout(PATIENCE_MS)
    stranger = opened(strange, served, "Voices")
    stranger.locator("#voices label", has_text="Kathleen").wait_for()
    assert not stranger.locator("#voice-trash").is_visible()
    strange.close()
    page.locator("#deleted-voices label", has_text="Robin").click()
    page.locator("#voice-undo").click()
    page.locator("#voice-details h3", has_text="Robin").wait_for()
    delete(page, "Robin")
    page.locator("#deleted-voices label", has_text="Robin").click()
    page.locator("#voice-purge").click()
    page.locator("#deleted-voices label", has_text="Robin").wait_for(state="detached")
    assert page.evaluate(OVERFLOW) <= 0


@on_two
def test_the_question_before_deleting_is_in_view_and_has_the_focus(
    context: BrowserContext, served: Launched, tmp_path: Path
) -> None:
    page = opened(context, served, "Voices")
    import_voice(page, tmp_path, "Wagtail")
    page.locator("#voice-delete").evaluate(
        "(button) => scrollBy(0, button.getBoundingClientRect().bottom - innerHeight)"
    )
    page.locator("#voice-delete").click()
    page.wait_for_function("document.activeElement.id === 'voice-keep'")
    page.wait_for_function(IN_VIEW, arg="#voice-question")
    page.keyboard.press("Enter")
    page.locator("#voice-question").wait_for(state="hidden")


def test_the_pitch_of_a_voice_is_set_on_its_page(
    context: BrowserContext, served: Launched, tmp_path: Path
) -> None:
    page = opened(context, served, "Voices")
    import_voice(page, tmp_path, "Finch")
    page.locator("#voice-details").get_by_text(NOTE).wait_for()
    page.get_by_text("Pitch of this voice").click()
    page.locator("#voice-pitch-set").click()
    page.get_by_text("Say where the voice lies").first.wait_for()
    page.locator("#voice-pitch-how").get_by_text("By a recording of it").click()
    page.locator("#voice-pitch-recording input[type=file]").first.set_input_files(RECORDING)
    page.locator("#voice-pitch-recording").get_by_text("0:11").first.wait_for()
    page.locator("#voice-pitch-set").click()
    page.locator("#voice-details").get_by_text("101 Hz in the middle").wait_for()
    use(page, "Finch")
    assert page.locator("#convert-voice").get_by_text(NOTE).count() == 0
    assert page.evaluate(OVERFLOW) <= 0


def test_two_voices_are_blended_by_a_slider(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served, "Voices")
    page.locator("#voices label", has_text="Kathleen").click()
    page.locator("#voice-details h3", has_text="Kathleen").wait_for()
    page.get_by_text("Blend with other voices").click()
    page.locator("#voice-blend-make").click()
    page.get_by_text("Choose another voice to blend this one with.").first.wait_for()
    page.locator("#voice-blend-other-1 input").click()
    page.get_by_role("listbox").get_by_role("option", name="Flemish guy").click()
    page.locator("#voice-blend-said").get_by_text("Kathleen 50 %, Flemish guy 50 %").wait_for()
    share = page.locator("#voice-blend-share-1 input[type=number]")
    share.fill("30")
    share.press("Tab")
    page.locator("#voice-blend-said").get_by_text("Kathleen 70 %, Flemish guy 30 %").wait_for()
    page.locator("#voice-blend-name input, #voice-blend-name textarea").first.fill("Both")
    page.locator("#voice-blend-make").click()
    page.locator("#voice-details h3", has_text="Both").wait_for()
    page.locator("#voice-details").get_by_text("Kathleen 70 %, Flemish guy 30 %").wait_for()
    page.locator("#voice-details").get_by_text("Flemish guy: Recordings published under CC0").wait_for()
    no_words_of_gradio(page)
    assert page.evaluate(OVERFLOW) <= 0
    use(page, "Both")


@on_two
def test_a_consent_is_read_aloud_and_a_voice_is_locked(
    context: BrowserContext, served: Launched, tmp_path: Path
) -> None:
    page = opened(context, served, "Voices")
    import_voice(page, tmp_path, "Dunnock")
    page.locator("#voice-permission button").first.click()
    page.locator("#voice-speaker").get_by_role("textbox").fill("Ada Lovelace")
    page.locator("#voice-consent-sentence .tm-read", has_text="Ada Lovelace").wait_for()
    page.locator("#voice-locked").get_by_role("checkbox").check()
    page.locator("#voice-export").wait_for(state="hidden")
    page.locator("#voice-revoke").click()
    page.wait_for_function("document.activeElement.id === 'revoke-leave'")
    page.locator("#revoke-sure").click()
    page.locator("#voices label", has_text="Dunnock").wait_for(state="detached")
    assert page.evaluate(OVERFLOW) <= 0


@on_others
def test_marks_are_looked_for_in_a_recording(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served, "Voices")
    page.locator("#marks button").first.click()
    for path, said in ((MARKED, "It is marked as synthetic."), (RECORDING, "No mark was found.")):
        page.locator("#marks-file input[type=file]").set_input_files(path)
        page.locator("#marks-file .file-preview").get_by_text(path.stem, exact=True).wait_for()
        page.locator("#marks-look").click()
        page.locator("#marks-found").get_by_text(said).wait_for()
        page.locator("#marks-file").get_by_role("button", name="Clear").click()
        page.locator("#marks-found .tm-mark").first.wait_for(state="detached")
    assert page.evaluate(OVERFLOW) <= 0
