"""The Convert tab in a browser: examples heard at once, voices as cards, presets, and marks at the fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.store.records import new_id, now
from tests.browsers import MARKS, OVERFLOW, chromium, context, on_others, on_two
from tests.toy_worker import write_voice
from tests.ui.launched import RECORDING, Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS
PLAYED = "(name) => decodeURI(window.tmSound?.currentSrc ?? '').includes(name) && tmSound.played.length > 0"
PRESS = "(button) => { button.click(); return button.ariaPressed; }"
MANY_VOICES = 50


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("browser"), steps=3) as page:
        yield page


def opened(context: BrowserContext, served: Launched) -> Page:
    page = context.new_page()
    page.goto(served.url)
    page.locator("#convert-voice input:checked").wait_for()
    return page


def chosen(page: Page) -> str:
    return page.locator(".tm-voice:has(input:checked) strong").inner_text()


@on_two
def test_an_example_is_heard_by_one_click_and_one_sound_at_a_time(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    page.get_by_role("button", name="Hear it as Kathleen: A sung line").click()
    page.wait_for_function(PLAYED, arg="song-kathleen")
    example = page.get_by_role("button", name="Hear it as Kathleen: Speech")
    sample = page.get_by_role("button", name="Hear Flemish guy", exact=True)
    assert example.evaluate(PRESS) == "true"
    assert sample.evaluate(PRESS) == "true"
    assert example.get_attribute("aria-pressed") == "false", "one sound at a time"
    page.wait_for_function(PLAYED, arg="Flemish")
    heard = page.locator("#hear-now button[data-sound]")
    assert heard.count() == 9
    for number in range(9):
        heard.nth(number).click()
        page.wait_for_function(PLAYED, arg=str(heard.nth(number).get_attribute("data-sound")).split("/")[-1])
    assert page.locator("[data-said]").count() == 0
    assert served.jobs.registry.list("jobs") == []


def test_a_sound_is_stopped_by_its_own_button(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served)
    sample = page.get_by_role("button", name="Hear Kathleen", exact=True)
    pressed = sample.evaluate(f"(button) => [({PRESS})(button), ({PRESS})(button), tmSound.paused]")
    assert pressed == ["true", "false", True]


@on_others
def test_voices_are_chosen_by_keys_and_the_first_conversion_takes_two_clicks(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    first = chosen(page)
    page.get_by_role("radio", name=first).focus()
    page.keyboard.press("ArrowDown")
    page.locator(".tm-voice:has(input:checked)", has_text="Kathleen").wait_for()
    assert chosen(page) != first
    page.get_by_role("button", name="Take an example recording").click()
    page.locator("#convert-source").get_by_text("0:11").first.wait_for()
    page.locator("#convert").click()
    page.locator("#convert-status").get_by_text("in the voice Kathleen").wait_for()


@on_two
def test_what_is_missing_is_marked_at_its_field_until_it_is_there(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    page.locator("#convert").click()
    page.locator("#convert-source-note").get_by_text("Add a recording to convert").wait_for()
    page.locator("#convert-source.tm-field-missing").wait_for()
    page.wait_for_function("document.querySelector('#convert-source').contains(document.activeElement)")
    assert page.locator(".toast-body").count() == 0
    page.locator("#convert-source input[type=file]").first.set_input_files(RECORDING)
    page.locator("#convert-source-note").get_by_text("Add a recording").wait_for(state="hidden")
    page.locator("#convert-source.tm-field-missing").wait_for(state="detached")


def test_a_file_that_is_no_recording_is_told_so_when_it_is_added(
    context: BrowserContext, served: Launched, tmp_path: Path
) -> None:
    words = tmp_path / "words.mp3"
    words.write_text("no sound at all")
    page = opened(context, served)
    page.locator("#convert-source input[type=file]").first.set_input_files(words)
    page.locator("#convert-source-note").get_by_text("words.mp3 is not a recording").wait_for()
    page.locator("#convert-source").get_by_role("button", name="Clear").click()
    page.locator("#convert-source-note").get_by_text("words.mp3").wait_for(state="hidden")
    page.locator("#convert-kind").get_by_text("Many").click()
    page.locator("#convert-files input[type=file]").first.set_input_files([words, RECORDING])
    page.locator("#convert-files-note").get_by_text("words.mp3 is not a recording").wait_for()


def test_presets_set_the_pitch_and_own_ones_are_kept(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served)
    presets, said = page.locator("#convert-preset"), page.locator("#convert-pitch-said")
    semitones = page.locator("#convert-semitones input[type=number]")
    said.get_by_text("Automatic: speech is moved").wait_for()
    presets.get_by_label("Octave down").check()
    said.get_by_text("One octave lower").wait_for()
    assert semitones.input_value() == "-12"
    presets.get_by_label("Song in its own key").check()
    said.get_by_text("a song its key").wait_for()
    semitones.fill("7")
    semitones.press("Enter")
    said.get_by_text("A fifth higher").wait_for()
    assert presets.locator("input:checked").count() == 0
    page.get_by_role("button", name="Save as preset").click()
    page.locator("#preset-name").get_by_role("textbox").fill("A <b>fifth</b>")
    page.locator("#preset-save").click()
    page.locator("#convert-preset label:has(input:checked)", has_text="A <b>fifth</b>").wait_for()
    presets.get_by_label("Speech").check()
    said.get_by_text("Automatic: speech is moved").wait_for()

    page.reload()
    page.locator("#convert-preset").get_by_label("A <b>fifth</b>").check()
    page.locator("#convert-pitch-said").get_by_text("A fifth higher").wait_for()
    page.get_by_role("button", name="Save as preset").click()
    page.locator("#preset-delete").click()
    page.locator("#convert-preset").get_by_label("A <b>fifth</b>").wait_for(state="detached")


def with_many_voices(served: Launched, user_id: str, folder: Path) -> None:
    for number in range(MANY_VOICES):
        voice_id = new_id()
        made = write_voice(served.data_dir / "models" / voice_id, f"Singer {number}")
        assert made.is_dir()
        row = {"id": voice_id, "user_id": user_id, "model_name": f"Singer {number}", "builtin": False}
        row |= {"training_job_id": None, "engine": "toy", "created_at": now(), "f0": {}}
        served.jobs.registry.insert("models", row)


@on_others
def test_many_voices_scroll_inside_and_are_found_by_typing(
    context: BrowserContext, served: Launched, tmp_path: Path
) -> None:
    page = opened(context, served)
    page.get_by_role("button", name="Take an example recording").click()
    page.locator("#convert-source").get_by_text("0:11").first.wait_for()
    page.locator("#convert").click()
    page.locator("#convert-status").get_by_text("Here is your recording").wait_for()
    with_many_voices(served, served.jobs.registry.list("jobs")[-1]["user_id"], tmp_path)
    page.reload()
    page.locator("#convert-voice label").nth(MANY_VOICES).wait_for(state="attached")
    listed = page.locator(".tm-voice-list").bounding_box()
    assert listed is not None
    assert listed["height"] < 400
    assert page.evaluate(OVERFLOW) <= 0
    page.get_by_role("searchbox").fill("singer 17")
    assert page.locator(".tm-voice:visible").count() == 1
    page.locator(".tm-voice:visible label").click()
    page.locator(".tm-voice:has(input:checked)", has_text="Singer 17").wait_for()
    assert page.get_by_role("searchbox").input_value() == "singer 17"
