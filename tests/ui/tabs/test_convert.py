"""The Convert tab's listeners: what a person sees from the choice of a voice to the picture of the result."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from rvc.audio.reader import AudioInfo, probe
from tests.pipelines.jobs.toy_jobs import add_voice
from tests.ui.launched import RECORDING, VOICE_FILES
from tests.ui.visitor import SOMEBODY_ELSE, drawn, request, sent
from ui.page import build_page
from ui.server.services import Services
from ui.tabs.convert import (
    MANY,
    ONE,
    SHOWN_FILES,
    ConvertState,
    ConvertTab,
    files_table,
    voice_name,
    what_was_done,
)

BUILT_IN = "builtin-kathleen"


@pytest.fixture
def tab(services: Services) -> ConvertTab:
    with gr.Blocks():
        return ConvertTab(services)


def convert(tab: ConvertTab, state: ConvertState, voice: str | None, number: str, *wanted: str) -> list[Any]:
    """Press the button with the expert settings as they stand."""
    values = {part: part.value for part in tab.expert.inputs}
    values |= {tab.state: state, tab.voice: voice, tab.number: number}
    values |= {tab.source: next(iter(wanted), None), tab.files: list(wanted)}
    return list(tab.convert(values, request()))


def test_a_recording_is_converted_heard_and_seen(tab: ConvertTab) -> None:
    state = ConvertState()
    assert tab.picture(state, request()) == {tab.image: None}
    steps = convert(tab, state, BUILT_IN, ONE, sent(RECORDING))
    assert all(set(step) <= set(tab.drawn) for step in steps)
    assert "Converting into Kathleen" in steps[0][tab.status]
    assert "in the voice Kathleen, 3.2 semitones up" in steps[-1][tab.status]
    before = steps[-1][tab.before]
    assert before.endswith(".flac")
    assert Path(before).read_bytes() == RECORDING.read_bytes()
    assert tab.picture(state, request())[tab.image] is not None


def test_what_was_noted_of_a_recording_is_shown_with_its_conversion(
    tab: ConvertTab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(path: Path, *, name: str | None = None) -> AudioInfo:
        return replace(probe(path, name=name), note="Its header was wrong.")

    monkeypatch.setattr("pipelines.recordings.uploads.probe", noted)
    for number in (ONE, MANY):
        steps = convert(tab, ConvertState(), BUILT_IN, number, sent(RECORDING))
        assert all("Its header was wrong." in step[tab.status] for step in steps)


def test_many_recordings_are_converted_into_one_zip(tab: ConvertTab) -> None:
    state = ConvertState()
    steps = convert(tab, state, BUILT_IN, MANY, sent(RECORDING), sent(VOICE_FILES[0]))
    assert "Convert 2 recordings into Kathleen" in steps[0][tab.status]
    steps = list(tab.rest(state, request()))
    assert "2 of 2 done" in steps[-1][tab.status]
    assert "2 recordings as Kathleen.zip" in drawn(steps[-1][tab.download])


@pytest.mark.parametrize(
    ("voice", "number", "missing"),
    [(None, ONE, "Choose a voice"), (BUILT_IN, ONE, "the example"), (BUILT_IN, MANY, "a .zip")],
)
def test_what_is_missing_is_said(
    tab: ConvertTab, services: Services, voice: str | None, number: str, missing: str
) -> None:
    with pytest.warns(UserWarning, match=missing):
        assert convert(tab, ConvertState(), voice, number) == [gr.skip()]
    assert services.jobs.list(services.caller(request())) == []


def test_a_refusal_and_a_full_disk_are_said_and_nothing_is_kept(
    tab: ConvertTab, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (step,) = convert(tab, ConvertState(), "0" * 32, ONE, sent(RECORDING))
    assert "This recording was not converted" in step[tab.status]
    assert "no voice" in step[tab.status]
    (step,) = convert(tab, ConvertState(), "0" * 32, MANY, sent(RECORDING))
    assert "These recordings were not converted" in step[tab.status]
    assert list((services.settings.data_dir / "jobs").iterdir()) == []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(services.jobs, "upload", full)
    (step,) = convert(tab, ConvertState(), BUILT_IN, ONE, sent(RECORDING))
    assert "disk is full" in step[tab.status]


def test_a_conversion_is_found_again_and_stopped_by_its_owner(
    tab: ConvertTab, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "3000")
    caller = services.caller(request())
    upload = services.jobs.upload(caller, [(RECORDING, "visitor.flac")], "target")["id"]
    job = services.submit(caller, "conversion", upload, {}, model_id=BUILT_IN)["id"]
    assert list(tab.reattach(ConvertState(), request(SOMEBODY_ELSE))) == [gr.skip()]
    assert list(tab.reattach(ConvertState(), request("short"))) == [gr.skip()]
    state = ConvertState()
    steps = tab.reattach(state, request())
    next(steps)
    assert "Converting into Kathleen" in next(steps)[tab.status]
    assert state.job_id == job
    assert not tab.cancel(state, request())[tab.cancel_button].visible
    assert "Stopped" in list(steps)[-1][tab.status]


def test_the_choice_of_a_voice_stays_while_it_can(tab: ConvertTab) -> None:
    def offered(chosen: str | None) -> gr.Dropdown:
        return tab.voices(chosen, request())[tab.voice]

    first, *_ = offered(None).choices
    assert offered(None).value == first[1]
    assert offered(BUILT_IN).value == BUILT_IN
    gone = offered("0" * 32)
    assert gone.value is None, "nobody converts into a voice that nobody chose"
    assert "is gone; choose another" in gone.info
    assert tab.suit(None, "lite", request()) == gr.skip()
    assert tab.suit(BUILT_IN, "lite", request())[tab.engine] == "lite"


def test_voices_of_one_name_can_be_told_apart(tab: ConvertTab, services: Services) -> None:
    caller = services.caller(request())
    add_voice(services.jobs, services.settings.data_dir)
    services.jobs.registry.update("models", "voice", user_id=caller.user_id, model_name="Kathleen")
    labels = [label for label, _ in tab.voices(None, request())[tab.voice].choices]
    assert "Kathleen (voice)" in labels
    assert "Kathleen (builti)" in labels
    assert voice_name(services, caller, None) == "a voice that is gone"


@pytest.mark.parametrize(
    ("moved", "told"), [(None, "Listen to both"), (0.0, "its own pitch"), (-2.5, "2.5 semitones down")]
)
def test_what_was_done_to_the_pitch_is_said(moved: float | None, told: str) -> None:
    assert told in what_was_done({"result": {"transpose_semitones": moved}}, "Wren")


def test_one_or_many_is_asked_for_by_the_parts_that_are_shown(tab: ConvertTab) -> None:
    for how, many in ((ONE, False), (MANY, True)):
        shown = tab.suited_to_number(how)
        assert [shown[part].visible for part in (tab.source, tab.example)] == [not many, not many]
        assert shown[tab.files].visible == many
        assert shown[tab.convert_button].value == ("Convert all" if many else "Convert")


def test_a_long_batch_is_cut_on_the_page_and_says_so() -> None:
    files = [{"name": f"<{n}>", "status": "completed", "seconds": 1.0} for n in range(SHOWN_FILES + 7)]
    files[0] |= {"status": "failed", "reason": "It is <silent>.", "seconds": None}
    html = files_table(files)
    assert f"{SHOWN_FILES + 6} of {SHOWN_FILES + 7} done, 1 failed" in html
    assert "And 7 more" in html
    assert "&lt;silent&gt;" in html
    assert "<0>" not in html


def test_no_listener_and_no_endpoint_has_room_for_one_caller_alone(services: Services) -> None:
    events = build_page(services).fns.values()
    assert len(events) > 50
    assert not [event.api_name for event in events if event.concurrency_limit == 1]
