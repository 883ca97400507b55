"""The Clone tab in a browser: four clicks to a training, steps to jump between, and what one hears."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browsers import MARKS, OVERFLOW, chromium, context, on_two
from tests.ui.launched import Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = [*MARKS, on_two]
STEPS = ("1. Recordings", "2. Review", "3. Name", "4. Hear")
# Else a sound of a second may have ended before a test looks.
ENDLESS = """const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () { this.loop = true; return play.call(this); };"""
PLAYING = "#samples .tm-play[aria-pressed=true]"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("clone"), steps=40) as page:
        yield page


def opened(context: BrowserContext, served: Launched) -> Page:
    page = context.new_page()
    page.add_init_script(ENDLESS)
    page.goto(served.url)
    page.get_by_role("tab", name="Clone").click()
    return page


def train_the_example(page: Page) -> None:
    """The three clicks that follow that on the tab."""
    page.locator("#clone-example").click()
    page.locator("#clone-to-3").click()
    page.locator("#clone-train").click()


def step(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_the_example_trains_in_four_clicks_and_its_states_are_heard_and_kept(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    train_the_example(page)
    page.locator("#training-card [role=progressbar]").wait_for()
    page.locator("#training-card").get_by_text("Wren is ready").wait_for()
    page.locator("#tm-told[role=status]").get_by_text(
        "Wren is ready"
    ).wait_for()  # who cannot see it hears it
    play, keep = page.locator("#samples .tm-play"), page.locator("#samples .tm-keep")
    assert play.count() == keep.count() + 1 == 6
    play.first.focus()
    page.keyboard.press("Enter")
    page.locator(PLAYING).wait_for()
    assert play.first.get_attribute("aria-label") == "Pause: The real recording"
    play.nth(2).press("Enter")
    page.locator("#samples li:nth-child(3) .tm-play[aria-pressed=true]").wait_for()
    assert page.locator(PLAYING).count() == 1
    keep.nth(2).press("Enter")
    page.locator("#training-card").get_by_text("as it was at step 23").wait_for()
    assert keep.nth(2).is_disabled()
    assert page.locator("#scores canvas, #scores svg").count() == 0
    page.locator("#curves").get_by_role("button").first.click()
    page.locator("#scores canvas, #scores svg").first.wait_for()
    page.locator("#training-on").click()
    page.locator("#training-cancel").wait_for()
    page.locator("#training-cancel").click()
    # What goes on from a voice and is stopped leaves it as it was.
    page.locator("#training-card").get_by_text("Wren is ready").wait_for()
    assert page.evaluate(OVERFLOW) <= 0
    assert faults == []


def test_the_example_is_heard_now_and_the_same_voice_is_trained_while_it_can_be_used(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    page.locator("#clone-example").click()
    page.locator("#clone-to-3").click()
    page.locator("#clone-hear-now").click()
    card = page.locator("#training-card")
    card.get_by_text("Wren speaks already").wait_for()
    heard = card.get_by_role("button", name="Hear Wren")
    heard.press("Enter")
    page.locator("#training-card .tm-play[aria-pressed=true]").wait_for()
    assert heard.get_attribute("aria-pressed") == "true"
    assert page.locator("#training-on").inner_text() == "Train this voice"
    page.locator("#training-more-steps input, #training-more-steps textarea").fill("40")
    page.locator("#training-on").click()
    card.get_by_text("Wren can be used meanwhile").wait_for()
    page.locator("#convert-next").wait_for()
    card.get_by_text("Wren is ready").wait_for()
    assert page.locator("#samples .tm-play").count() > 1
    assert page.evaluate(OVERFLOW) <= 0


def test_one_thing_sounds_at_a_time_on_the_whole_page_and_what_cannot_is_said(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    train_the_example(page)
    page.locator("#training-card").get_by_text("Wren is ready").wait_for()
    sample = page.locator("#samples .tm-play").first
    sample.click()
    page.locator(PLAYING).wait_for()
    step(page, "2. Review")
    page.locator(".tm-slices .tm-hear").first.click()
    page.locator(".tm-slices li[data-playing]").wait_for()
    page.wait_for_function(f"!document.querySelector('{PLAYING}')")
    page.get_by_role("tab", name="Convert").click()
    voice = page.get_by_role("button", name="Hear it as Kathleen: Speech")
    voice.click()
    page.wait_for_function("!document.querySelector('.tm-slices li[data-playing]')")
    assert voice.get_attribute("aria-pressed") == "true"
    page.get_by_role("tab", name="Clone").click()
    step(page, "4. Hear")
    sample.click()
    page.locator(PLAYING).wait_for()
    page.wait_for_function("!document.querySelector('#hear-now [aria-pressed=true]')")
    page.evaluate("() => new Audio(tmSound.src).play()")  # as Gradio's own, it is in no document
    page.wait_for_function(f"!document.querySelector('{PLAYING}')")
    page.route("**/step*.wav", lambda route: route.fulfill(status=404))
    other = page.locator("#samples .tm-play").nth(2)
    other.click()
    page.locator("#samples .tm-play[data-said]").wait_for()
    assert other.get_attribute("data-said") == "It cannot be played; reload the page."
    page.unroute("**/step*.wav")
    other.click()
    page.locator(PLAYING).wait_for()
    assert page.locator("[data-said]").count() == 0


def test_a_person_jumps_to_any_step_and_a_second_voice_waits_its_turn(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    train_the_example(page)
    page.locator("#training-cancel").wait_for()
    for name in STEPS:
        head = page.get_by_role("tab", name=name)
        assert head.is_visible(), "no step hides in a menu"
        assert page.viewport_size is not None
        if page.viewport_size["width"] < 640:
            box = head.bounding_box()
            assert box is not None
            assert box["height"] >= 44
    step(page, "3. Name")
    page.locator("#clone-name").get_by_role("textbox").fill("Jenny")
    page.locator("#clone-train").click()
    page.locator("#training-card").get_by_text("Training Jenny").wait_for()
    page.locator("#training-choice input").click()
    page.get_by_role("option", name="Wren").click()
    page.locator("#training-card").get_by_text("Wren").wait_for()
    step(page, "2. Review")
    page.locator("#clone-report .tm-report").wait_for()
    assert page.locator("#training-card").is_hidden()
    page.close()

    page = opened(context, served)  # comes back: what trains is shown first, the report is still there
    page.locator("#training-card").get_by_text("Jenny").wait_for()
    step(page, "2. Review")
    page.locator("#clone-report .tm-report").wait_for()
    step(page, "1. Recordings")
    page.get_by_text("Your recordings of before are still here").wait_for()
    assert page.evaluate(OVERFLOW) <= 0


def test_sentences_are_read_one_by_one_and_each_take_is_judged(
    context: BrowserContext, served: Launched
) -> None:
    context.grant_permissions(["microphone"], origin=served.url.rstrip("/"))
    page = opened(context, served)
    page.get_by_text("Record with the microphone").click()
    sentence = page.locator("#reading-sentence .tm-read")
    first = sentence.inner_text()
    page.locator("#reading-next").click()
    page.get_by_text("Sentence 2 of 20").wait_for()
    assert sentence.inner_text() != first
    page.locator("#reading-previous").click()
    page.get_by_text("Sentence 1 of 20").wait_for()
    microphone = page.locator("#clone-microphone")
    microphone.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(2_000)
    microphone.get_by_role("button", name="Stop").first.click()
    # What a Chromium of a test hears is a loud beep.
    page.locator("#reading-verdict").get_by_text("Sentence 01: Too loud").wait_for()
    page.locator("#clone-files").get_by_text("Sentence 01").first.wait_for()
    page.locator("#clone-meter").get_by_text("two minutes are enough").wait_for()
    page.locator("#clone-example:disabled").wait_for()  # it would take the place of what was read
    microphone.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(2_000)
    microphone.get_by_role("button", name="Stop").first.click()
    page.locator("#reading-verdict").get_by_text("was there before stays").wait_for()
    assert page.locator("#clone-files").get_by_text("Sentence 01 en").count() == 1
