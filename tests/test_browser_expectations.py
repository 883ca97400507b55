"""What somebody expects who meets the page for the first time.

Where each expectation is held, the worst to miss first. Files are tests/test_browser_NAME.py, or given by
their path.

 1  A deleted voice is offered nowhere, and what had chosen it says so.
    voices: what_one_tab_deletes...; ui/tabs/test_clone_hearing.py: a_voice_that_was_deleted_is_not_offered
 2  Who deletes a voice in use is told, and can take it back.
    ui/tabs/test_voices.py: who_deletes_a_voice_that_jobs_use...; voices: a_deletion_is_undone...
 3  A result comes into view and takes the focus.
    player: the_result_is_in_view...
 4  A voice is heard before it is used.
    here: a_voice_is_heard...; inputs: an_example_is_heard...
 5  The page begins with something to hear, and cloning with an example.
    here: a_first_visit_begins...; clone: the_example_trains_in_four_clicks...
 6  A conversion hides no other one; a reload loses neither takes nor place; settings can be compared.
    player: takes_survive_a_reload..., two_settings_of_a_voice...; frame: a_reload_returns...
 7  Before and after are compared on one clock.
    player: both_tracks_play_on_one_clock...
 8  The page is wholly in one language.
    languages: all of it
 9  A report stands with its recordings, also after coming back.
    ui/tabs/test_clone.py: the_report_is_there_again...; clone: a_person_jumps_to_any_step...
10  A wait has a length before it begins, and from its first second.
    here: a_training_says_how_long...; pipelines/jobs/test_estimates.py: every_row_tells_the_time_left...
11  Slices are heard and judged; what holds for many files is said once.
    review: all of it; ui/look/test_report.py: what_holds_for_several_files...
12  All that is missing is marked at its field, until it is there.
    here: what_is_missing_for_a_training...; inputs: what_is_missing_is_marked...
13  A training is followed by ear, and any of its states can be kept.
    clone: the_example_trains_in_four_clicks...
14  A field that may stay empty is empty.
    tests/test_browser.py: a_person_clones_a_voice...
15  What was stopped is resumed where one is; a lost server is noticed.
    ui/tabs/test_clone.py: a_training_is_watched_stopped_resumed...; frame: a_server_that_is_gone...
16  A file is judged when it is added, by what is in it.
    inputs: a_file_that_is_no_recording...; tests/test_browser.py: any_file_may_be_chosen...
17  A second training waits its turn.
    clone: ...a_second_voice_waits_its_turn
18  People's words; the pitch in view.
    here: the_pitch_is_in_view...; accessible: IN_NO_PERSONS_WORDS
19  Voices of one name are told apart.
    ui/look/test_wording.py: voices_of_one_name...
20  A batch is heard file by file, and says what failed.
    player: a_recording_of_a_batch_plays; ui/look/test_html.py: a_batch_of_which_some_failed...

The question before deleting is in view (voices: the_question...). The Admin page breaks no words; the page
has a name and a preview of its own (frame). No way is offered that is not there (here: the_list_of_calls...).
The console is silent (accessible). For everybody: accessible; here: it_is_always_seen...; what is said aloud:
clone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browsers import MARKS, chromium, context, on_all, on_two
from tests.scenes import open_tab, send
from tests.ui.launched import VOICE_FILES, Launched

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS
HEARD = "() => window.tmSound?.played.length > 0"
RING = "() => getComputedStyle(document.activeElement).outlineStyle"


@pytest.fixture
def visit(context: BrowserContext, page: Launched) -> Page:
    """A first visit."""
    visit = context.new_page()
    visit.goto(page.url)
    visit.locator("#convert-voice input:checked").wait_for()
    return visit


def in_view(page: Page, part: Locator) -> bool:
    box, size = part.bounding_box(), page.viewport_size
    return bool(box and size and box["y"] >= 0 and box["y"] + box["height"] <= size["height"])


@on_all
def test_a_first_visit_begins_with_something_to_hear_and_cloning_with_an_example(visit: Page) -> None:
    heard = visit.locator("#hear-now button[data-sound]").first
    heard.wait_for()
    assert in_view(visit, heard)
    heard.click()
    visit.wait_for_function(HEARD)
    open_tab(visit, "clone")
    visit.locator("#clone-example:enabled").wait_for()


@on_two
def test_a_voice_is_heard_in_the_list_of_voices(visit: Page) -> None:
    open_tab(visit, "voices")
    visit.locator("#voices").get_by_role("button", name="Hear Kathleen", exact=True).click()
    visit.wait_for_function(HEARD)


@on_two
def test_the_pitch_is_in_view_without_opening_anything(visit: Page) -> None:
    assert visit.locator("#convert-semitones input[type=range]").is_visible()
    assert visit.locator("#convert-preset").get_by_label("Octave up").is_visible()


@on_two
def test_what_is_missing_for_a_training_is_marked_at_its_field_until_it_is_there(visit: Page) -> None:
    open_tab(visit, "clone")
    visit.get_by_role("tab", name="3. Name").click()
    visit.locator("#clone-train").click()
    name, consent = visit.locator("#clone-name textarea, #clone-name input"), visit.get_by_label("my voice")
    visit.locator("#clone-name.tm-field-missing").wait_for()
    assert name.get_attribute("aria-invalid") == "true"
    assert (
        visit.locator(f"#{name.get_attribute('aria-describedby')}").inner_text() == "Give the voice a name."
    )
    visit.wait_for_function("document.querySelector('#clone-name').contains(document.activeElement)")
    visit.keyboard.type("Wren")
    consent.check()
    for field in ("name", "consent"):
        visit.locator(f"#clone-{field}.tm-field-missing").wait_for(state="detached")
    assert name.get_attribute("aria-invalid") is None
    visit.get_by_text("Add recordings of the voice first").wait_for()


def test_a_training_says_how_long_it_will_take_before_it_begins(visit: Page) -> None:
    open_tab(visit, "clone")
    send(visit, "#clone-files", *VOICE_FILES[:2])
    visit.locator("#clone-to-2").click()
    visit.locator("#clone-report .tm-report").wait_for()
    visit.locator("#clone-to-3").click()
    visit.locator("#clone-train").get_by_text(re.compile(r"about \d+ (s|min)")).wait_for()


def test_it_is_always_seen_where_the_keyboard_is(visit: Page) -> None:
    open_tab(visit, "clone")
    visit.locator("#clone-tabs button.label-wrap").first.click()
    visit.locator("#reading-language input").focus()
    visit.keyboard.press("Shift+Tab")
    visit.keyboard.press("Tab")
    assert visit.evaluate("document.activeElement.closest('#reading-language') !== null")
    assert visit.evaluate(RING) == "solid"
    visit.get_by_role("tab", name="3. Name").click()
    visit.locator("#clone-name").get_by_role("textbox").focus()
    assert visit.evaluate(RING) == "solid"
    for field in ("#clone-language", "#clone-consent"):
        visit.keyboard.press("Tab")
        assert visit.evaluate("field => document.activeElement.closest(field) !== null", field)
        assert visit.evaluate(RING) == "solid"


def test_the_list_of_calls_names_no_way_that_is_not_there(visit: Page) -> None:
    visit.get_by_role("button", name="Use via API").click()
    visit.locator(".api-docs").get_by_text("convert_voice").first.wait_for()
    assert visit.locator(".api-docs").get_by_text("Python", exact=True).first.is_visible()
    assert visit.locator(".api-docs").get_by_text("MCP", exact=True).locator("visible=true").count() == 0
