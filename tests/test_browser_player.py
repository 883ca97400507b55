"""The result in a browser: two tracks on one clock, by mouse, by keys, and on a phone; and the takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browsers import MARKS, OVERFLOW, chromium, context, on_others, on_two
from tests.ui.launched import RECORDING, VOICE_FILES, Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS
HEARD_TOGETHER_S = 0.05
TRACKS = "(root) => [...root.querySelectorAll('[data-track]')].map((one) => one.getAttribute('aria-pressed'))"
SEEN = """(one) => { const box = one.getBoundingClientRect();
    return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight; }"""
FOCUSED = "() => document.activeElement.dataset.part"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("player"), steps=5) as page:
        yield page


def opened(context: BrowserContext, served: Launched) -> Page:
    page = context.new_page()
    page.goto(served.url)
    page.locator("#convert-voice input:checked").wait_for()
    return page


def converted(page: Page, recording: Path = RECORDING, *, settings_open: bool = False) -> Locator:
    """Convert a recording; return the player when it has its sound."""
    if settings_open:
        page.locator("#convert-expert button").first.click()
    clear = page.locator("#convert-source").get_by_role("button", name="Clear")
    if clear.count():
        clear.click()
    page.locator("#convert-source input[type=file]").first.set_input_files(recording)
    clear.wait_for()
    page.locator("#convert-source").locator("time, .timestamps").get_by_text("0:").last.wait_for()
    page.locator("#convert").click()
    return ready(page)


def ready(page: Page) -> Locator:
    page.locator("#player [data-part=play]:not([disabled])").wait_for()
    return page.locator("#player .tm-player")


def times(player: Locator) -> list[float]:
    found: list[float] = player.evaluate("(root) => root.times()")
    return found


def until(page: Page, condition: str) -> None:
    page.wait_for_function(f"(root) => {condition}", arg=page.locator("#player .tm-player").element_handle())


def test_both_tracks_play_on_one_clock_and_keys_switch(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served)
    player = converted(page)
    assert player.get_attribute("data-deck") == "buffers"
    assert player.evaluate(TRACKS) == ["false", "true"]
    until(page, "root.times()[0] > 0.3")  # it begins by itself
    page.keyboard.press("a")
    assert player.evaluate(TRACKS) == ["true", "false"]
    first, second = times(player)
    assert abs(first - second) < HEARD_TOGETHER_S
    assert first >= 0.3, "it goes on where it was"
    assert page.get_by_role("button", name="Pause").count() == 1
    page.keyboard.press("B")
    assert player.evaluate(TRACKS) == ["false", "true"]
    page.keyboard.press("Space")
    paused = times(player)
    page.wait_for_timeout(300)
    assert times(player) == paused, "it stands still"
    seek = page.get_by_role("slider", name="Position")
    seek.focus()
    page.keyboard.press("End")
    assert times(player)[0] == pytest.approx(10.8, abs=0.5)
    page.keyboard.press("Space")
    until(page, "root.classList.contains('tm-playing') && root.times()[0] < 5")
    button = page.locator("#player [data-track='0']")
    button.click()
    page.keyboard.press("Space")
    assert not player.evaluate("(root) => root.classList.contains('tm-playing')"), (
        "a chosen track has no other use"
    )


def test_long_recordings_play_from_their_files_in_step(
    context: BrowserContext, served: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.look.player.MOST_BUFFERED_S", 1.0)
    page = opened(context, served)
    player = converted(page)
    assert player.get_attribute("data-deck") == "files"
    until(page, "root.querySelector('[data-part=time]').textContent.endsWith('0:10')")
    until(page, "root.times()[0] > 0.5 && root.times()[1] > 0.5")
    page.keyboard.press("a")
    until(page, f"Math.abs(root.times()[0] - root.times()[1]) < {HEARD_TOGETHER_S}")
    assert player.evaluate(TRACKS) == ["true", "false"]


@on_two
def test_the_result_is_in_view_and_has_the_focus_when_it_is_done(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    player = converted(page, settings_open=True)
    page.wait_for_function("() => document.activeElement.dataset.part === 'play'")
    page.wait_for_timeout(700)  # it scrolls
    assert player.evaluate(SEEN)
    assert page.evaluate(OVERFLOW) <= 0
    page.locator("#takes li").first.wait_for()
    page.reload()
    page.locator("#takes li").first.wait_for()
    assert page.evaluate(FOCUSED) is None, "who comes back is left where he is"


def test_who_writes_meanwhile_is_left_alone(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served)
    page.locator("#convert-source input[type=file]").first.set_input_files(RECORDING)
    page.locator("#convert-source").get_by_text("0:1").first.wait_for()
    page.locator("#convert").click()
    page.evaluate(
        """() => { const field = document.createElement("input"); field.type = "text";
        document.body.append(field); field.focus(); }"""
    )
    ready(page)
    page.wait_for_timeout(300)
    assert page.evaluate("() => document.activeElement.type") == "text"
    assert not page.locator("#player .tm-playing").count()


LOUDER = """async (root) => {
    const level = root.querySelector("[data-part=level]"), matched = root.gains();
    level.click();
    return [matched, root.gains()];
}"""


@on_two
def test_the_louder_track_is_turned_down_unless_that_is_switched_off(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    # The toy gives a recording back as it was; comparing two recordings, one is the louder.
    converted(page)
    converted(page, VOICE_FILES[0])
    page.locator("#takes button[data-event=compare]").last.click()
    page.locator("#player [data-track='0']").get_by_text("Kathleen").or_(
        page.locator("#player [data-track='0']").get_by_text("Flemish guy")
    ).wait_for()
    player = ready(page)
    matched, plain = player.evaluate(LOUDER)
    assert sorted(matched)[1] == 1
    assert 0.05 < sorted(matched)[0] < 0.99
    assert plain == [1, 1]


@on_others
def test_takes_survive_a_reload_and_are_heard_again_downloaded_removed_and_brought_back(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    converted(page)
    page.locator("#takes li").first.wait_for()
    page.reload()
    page.get_by_role("button", name="Play visitor in").focus()
    page.keyboard.press("Enter")
    ready(page)
    until(page, "root.classList.contains('tm-playing')")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download visitor in").click()
    assert download.value.suggested_filename.startswith("visitor as ")
    page.get_by_role("button", name="Again as visitor in").click()
    page.locator("#convert-source").get_by_text("0:1").first.wait_for()
    page.get_by_role("button", name="Remove visitor in").focus()
    page.keyboard.press("Enter")
    page.get_by_text("was removed.").wait_for()
    page.wait_for_function("() => document.activeElement.dataset.event === 'undo'")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Play visitor in").wait_for()


def test_two_settings_of_a_voice_are_compared_by_what_differs(
    context: BrowserContext, served: Launched
) -> None:
    page = opened(context, served)
    converted(page)
    page.locator("#convert-preset").get_by_label("Octave up").check()
    converted(page)
    page.locator("#takes button[data-event=compare]").last.click()
    page.locator("#player [data-track='1']").get_by_text("one octave up").wait_for()
    assert "octave" not in page.locator("#player [data-track='0']").inner_text()


def test_the_melodies_come_first_in_the_pictures(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served)
    converted(page)
    assert page.locator("#contours svg").count() == 0, "nothing is drawn before"
    page.get_by_text("Melodies and spectrograms").click()
    page.locator("#contours svg path.tm-of-result").wait_for()
    picture = page.get_by_role("img", name="Spectrograms of visitor and")
    picture.wait_for()
    assert picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 1200
    buttons = page.locator("#pictures button")
    assert all(name.strip() for name in buttons.all_inner_texts()), "each button has a name"


@on_two
def test_a_recording_of_a_batch_plays(context: BrowserContext, served: Launched) -> None:
    page = opened(context, served)
    page.locator("#convert-kind").get_by_text("Many, or a .zip").click()
    page.locator("#convert-files input[type=file]").first.set_input_files([RECORDING, VOICE_FILES[0]])
    page.locator("#convert-files").get_by_text("wren-1").first.wait_for()
    page.get_by_role("button", name="Convert all").click()
    page.get_by_role("button", name="Play wren-1.ogg").click()
    player = ready(page)
    assert player.get_attribute("aria-label") is not None
    until(page, "root.classList.contains('tm-playing')")
    assert page.locator("#player [data-track='0']").inner_text().split()[-1] == "wren-1"
