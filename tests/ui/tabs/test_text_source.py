"""A text as the source of a conversion on the page: typed, in a language, again; or a file of lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.ui.launched import wait_for
from tests.ui.tabs.test_convert import BUILT_IN
from tests.ui.tabs.test_takes import names, press
from tests.ui.visitor import drawn, request, sent
from ui.look.language import LANGUAGE
from ui.server.services import Services
from ui.tabs.convert import ConvertState, ConvertTab
from ui.tabs.sources import TextSource


@pytest.fixture
def tab(services: Services) -> ConvertTab:
    with gr.Blocks():
        return ConvertTab(services)


def source_of(tab: ConvertTab) -> TextSource:
    source = tab.sources[TextSource.label]
    assert isinstance(source, TextSource)
    return source


def say(tab: ConvertTab, state: ConvertState, text: str, **given: Any) -> list[dict[Any, Any]]:  # noqa: ANN401
    source = source_of(tab)
    values = {part: getattr(part, "value", None) for part in tab.expert.inputs}
    values |= {tab.state: state, tab.voice: BUILT_IN, tab.sources.kind: TextSource.label}
    values |= {source.field: text, source.language: given.get("language"), source.lines: given.get("lines")}
    values |= {source.speed: given.get("speed", 1.0)}
    return list(tab.convert(values, request()))


def test_a_text_is_heard_as_it_was_read_aloud_and_in_the_voice(tab: ConvertTab) -> None:
    steps = say(tab, ConvertState(), "Hello there.", language="en-gb")
    assert "Here is your text in the voice Kathleen" in steps[-1][tab.view.status]
    assert names(steps[-1], tab) == ["Hello there", "Kathleen"]
    tracks = steps[-1][tab.view.player]["tracks"]
    assert [Path(track["file"]["path"]).suffix for track in tracks] == [".flac", ".wav"]
    assert tracks[0]["seconds"] == tracks[1]["seconds"] > 0


def test_its_take_tells_how_it_was_read_and_sets_everything_again(
    tab: ConvertTab, services: Services
) -> None:
    state = ConvertState()
    say(tab, state, "Guten Tag.", language="de", speed=1.5)
    html = tab.takes.show(state, request())[tab.takes.list]
    assert "Guten Tag in Kathleen" in html
    assert "at speed 1.5" in html
    assert "German" in html
    source = source_of(tab)
    answer = tab.again(press(job=str(state.job_id)), request())
    assert answer[tab.sources.kind] == TextSource.label
    assert (answer[source.field], answer[source.language], answer[source.speed]) == ("Guten Tag.", "de", 1.5)
    assert services.jobs.use_of(BUILT_IN) == ""


def test_a_text_that_a_program_sent_is_made_again_as_well(tab: ConvertTab, services: Services) -> None:
    job = services.say(services.caller(request()), "Hello", {"language": "EN", "speed": "1.25"}, BUILT_IN)
    wait_for(lambda: services.jobs.get(services.caller(request()), job["id"])["status"] == "completed", "it")
    answer = tab.again(press(job=job["id"]), request())
    source = source_of(tab)
    assert (answer[source.language], answer[source.speed]) == ("en-us", 1.25)


def test_a_file_becomes_one_sound_file_for_each_line(tab: ConvertTab, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("First.\n\nSecond.\n")
    state = ConvertState()
    say(tab, state, "", language="en-us", lines=sent(tmp_path / "lines.txt"))
    steps = list(tab.rest(state, request()))
    assert "2 of 3 done, 1 failed" in steps[-1][tab.view.status]
    assert "Line 2 is empty" in steps[-1][tab.view.status]
    assert "as Kathleen.zip" in drawn(steps[-1][tab.view.download])
    heard = tab.hear_file(state, press(number="3"), request())
    assert names(heard, tab) == ["3 Second", "Kathleen"]


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        ("...", {}, "no word that could be spoken"),
        ("x" * 30_000, {}, "send at most 20,000"),
        ("Hi", {"language": "tlh"}, "speak no language"),
        ("Hi", {"speed": 7}, "number from 0.5 to 2"),
    ],
)
def test_what_is_refused_is_said_and_nothing_is_kept(
    tab: ConvertTab, services: Services, text: str, given: dict[str, Any], said: str
) -> None:
    (step,) = say(tab, ConvertState(), text, **given)
    assert "This text was not said" in step[tab.view.status]
    assert said in step[tab.view.status]
    assert list((services.settings.data_dir / "jobs").iterdir()) == []


def test_nothing_and_both_at_once_are_said(tab: ConvertTab, tmp_path: Path) -> None:
    (step,) = say(tab, ConvertState(), "  ")
    assert "Type what shall be said" in step[source_of(tab).note]
    (tmp_path / "lines.txt").write_text("First.")
    (step,) = say(tab, ConvertState(), "Hi", lines=sent(tmp_path / "lines.txt"))
    assert "remove one of them" in step[tab.view.status]


@pytest.mark.parametrize(
    ("visitor", "tag", "called"),
    [
        ("en", "en-us", "German"),
        ("de", "de", "Deutsch"),
        ("ar", "ar", "الألمانية"),
        ("zh-Hans", "zh", "德语"),
    ],
)
def test_languages_are_called_as_the_visitor_calls_them_and_theirs_is_chosen_first(
    tab: ConvertTab, visitor: str, tag: str, called: str
) -> None:
    source, token = source_of(tab), LANGUAGE.set(visitor)
    try:
        offered = source.offer(None, request())[source.language]
        assert offered.value == tag
        assert {value: name for name, value in offered.choices}["de"] == called
        assert source.offer("nl", request())[source.language].value == "nl"
    finally:
        LANGUAGE.reset(token)


def test_a_text_that_still_runs_is_found_again(
    tab: ConvertTab, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "100000")
    caller = services.caller(request())
    job = services.say(caller, "Hello", {}, BUILT_IN)
    wait_for(lambda: services.jobs.get(caller, job["id"])["status"] == "converting", "the job")
    state = ConvertState()
    followed = tab.reattach(state, request())
    next(followed)
    next(followed)
    assert state.job_id == job["id"]
    tab.cancel(state, request())
    list(followed)
