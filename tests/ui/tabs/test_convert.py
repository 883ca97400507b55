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
from ui.look.wording import moment
from ui.page import build_page
from ui.server.services import Services
from ui.tabs.conversion_view import (
    SHOWN_FILES,
    cleaning_offered,
    files_table,
    marked_before,
    voice_name,
    what_was_done,
)
from ui.tabs.convert import (
    ConvertState,
    ConvertTab,
)
from ui.tabs.sources import ManyRecordings, OneRecording

ONE, MANY = OneRecording.label, ManyRecordings.label

BUILT_IN = "builtin-kathleen"


@pytest.fixture
def tab(services: Services) -> ConvertTab:
    with gr.Blocks():
        return ConvertTab(services)


def convert(tab: ConvertTab, state: ConvertState, voice: str | None, number: str, *wanted: str) -> list[Any]:
    """Press the button with the settings as they stand."""
    values = {part: part.value for part in tab.expert.inputs}
    values |= {tab.state: state, tab.voice: voice, tab.sources.kind: number}
    values |= {tab.sources[ONE].field: next(iter(wanted), None), tab.sources[MANY].field: list(wanted)}
    return list(tab.convert(values, request()))


def test_a_recording_is_converted_heard_and_seen(tab: ConvertTab) -> None:
    state = ConvertState()
    nothing = {tab.view.contours: "", tab.view.image: None}
    assert list(tab.draw_pictures(state, request())) == [nothing]
    steps = convert(tab, state, BUILT_IN, ONE, sent(RECORDING))
    assert all(set(step) <= set(tab.drawn) for step in steps)
    assert "Converting into Kathleen" in steps[0][tab.view.status]
    assert "in the voice Kathleen, 3.2 semitones up" in steps[-1][tab.view.status]
    first, melodies, picture = tab.draw_pictures(state, request())
    assert first == nothing, "what is left of another one goes at once"
    assert "tm-of-result" in melodies[tab.view.contours]
    assert Path(picture[tab.view.image]["file"]["path"]).is_file()
    assert "Spectrograms of visitor and Kathleen" in picture[tab.view.image]["alt"]


def test_marks_that_a_recording_had_are_told_with_its_result() -> None:
    said = marked_before({"result": {"made_from": ["watermark of Timbre", "tag comment: <b>AI</b>"]}})
    assert "marked itself: watermark of Timbre; tag comment: &lt;b&gt;AI&lt;/b&gt;." in said
    assert marked_before({"result": {"made_from": []}}) == marked_before({"result": None}) == ""


def test_a_noisy_recording_is_offered_to_be_cleaned_and_both_results_are_heard(
    tab: ConvertTab, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_SNR_DB", "8.4")
    state = ConvertState()
    shown = convert(tab, state, BUILT_IN, ONE, sent(RECORDING))[-1][tab.view.status]
    assert "only 8 dB below the voice" in shown
    assert "Clean it first, and compare" in shown
    before = state.shown_id
    *_, last = tab.clean(state, gr.EventData(None, {"job": before}), request())
    assert (state.against_id, state.shown_id) == (before, state.job_id)
    row = services.jobs.get(services.caller(request()), str(state.job_id))
    assert row["settings"]["reduce_noise"] is True
    assert [track["name"] for track in last[tab.view.player]["tracks"]] == [
        "Kathleen",
        "cleaned first · Kathleen",
    ]
    assert cleaning_offered(row) == ""
    assert cleaning_offered(row | {"settings": {}, "result": {"source_snr_db": 30.0}}) == ""
    with pytest.raises(gr.Error, match="There is no job"):
        list(tab.clean(state, gr.EventData(None, {"job": "x"}), request()))
    put = tab.put(row["settings"], BUILT_IN, request())
    assert put[tab.expert.clean] is True


def test_what_was_noted_of_a_recording_is_shown_with_its_conversion(
    tab: ConvertTab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(path: Path, *, name: str | None = None) -> AudioInfo:
        return replace(probe(path, name=name), note="Its header was wrong.")

    monkeypatch.setattr("pipelines.recordings.uploads.probe", noted)
    for number in (ONE, MANY):
        steps = convert(tab, ConvertState(), BUILT_IN, number, sent(RECORDING))
        assert all("Its header was wrong." in step[tab.view.status] for step in steps)


def test_many_recordings_are_converted_into_one_zip(tab: ConvertTab) -> None:
    state = ConvertState()
    steps = convert(tab, state, BUILT_IN, MANY, sent(RECORDING), sent(VOICE_FILES[0]))
    assert "Convert 2 recordings into Kathleen" in steps[0][tab.view.status]
    steps = list(tab.rest(state, request()))
    assert "2 of 2 done" in steps[-1][tab.view.status]
    assert "2 recordings as Kathleen.zip" in drawn(steps[-1][tab.view.download])


@pytest.mark.parametrize(
    ("voice", "number", "missing"),
    [
        ("", ONE, {"voice_note": "Choose a voice"}),
        (BUILT_IN, ONE, {ONE: "the example"}),
        (BUILT_IN, MANY, {MANY: "a .zip"}),
    ],
)
def test_what_is_missing_is_said_at_its_field(
    tab: ConvertTab, services: Services, voice: str | None, number: str, missing: dict[str, str]
) -> None:
    ((field, said),) = missing.items()
    (marked,) = convert(tab, ConvertState(), voice, number)
    assert said in marked[tab.voice_note if field == "voice_note" else tab.sources[field].note]
    assert services.jobs.list(services.caller(request())) == []


def test_all_that_is_missing_is_said_at_once_and_no_longer_when_it_is_there(tab: ConvertTab) -> None:
    (marked,) = convert(tab, ConvertState(), None, ONE)
    assert all(marked[note] for note in (tab.voice_note, tab.sources[ONE].note))
    (marked,) = convert(tab, ConvertState(), None, ONE, sent(RECORDING))
    assert (bool(marked[tab.voice_note]), marked[tab.sources[ONE].note]) == (True, "")
    assert tab.voices(BUILT_IN, "lite", True, 0, request())[tab.voice_note] == ""


def test_files_are_judged_when_they_are_added(tab: ConvertTab, tmp_path: Path) -> None:
    words, nameless = tmp_path / "words.mp3", tmp_path / "nameless"
    words.write_text("<b>no sound</b>")
    nameless.write_bytes(RECORDING.read_bytes())
    assert "words.mp3 is not a recording" in tab.sources[ONE].judge(sent(words), request())
    assert "words.mp3 is not a recording" in tab.sources[MANY].judge([sent(nameless), sent(words)], request())
    for fine in (sent(nameless), [sent(RECORDING)], None):
        assert tab.sources[ONE].judge(fine, request()) == ""
    with pytest.raises(gr.Error, match="did not arrive"):
        tab.sources[ONE].judge("/etc/passwd", request())


def test_a_refusal_and_a_full_disk_are_said_and_nothing_is_kept(
    tab: ConvertTab, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (step,) = convert(tab, ConvertState(), "0" * 32, ONE, sent(RECORDING))
    assert "This recording was not converted" in step[tab.view.status]
    assert "no voice" in step[tab.view.status]
    (step,) = convert(tab, ConvertState(), "0" * 32, MANY, sent(RECORDING))
    assert "These recordings were not converted" in step[tab.view.status]
    assert list((services.settings.data_dir / "jobs").iterdir()) == []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(services.jobs, "upload", full)
    (step,) = convert(tab, ConvertState(), BUILT_IN, ONE, sent(RECORDING))
    assert "disk is full" in step[tab.view.status]


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
    assert "Converting into Kathleen" in next(steps)[tab.view.status]
    assert state.job_id == job
    assert not tab.cancel(state, request())[tab.view.cancel_button].visible
    assert "Stopped" in list(steps)[-1][tab.view.status]


def offered(tab: ConvertTab, chosen: str | None, engine: str = "lite") -> dict[Any, Any]:
    return tab.voices(chosen, engine, True, 0, request())


def test_the_choice_of_a_voice_stays_while_it_can(tab: ConvertTab, services: Services) -> None:
    first = services.library.list(services.caller(request()))[0]["id"]
    assert set(offered(tab, None, "another")) == set(tab.offered)
    assert offered(tab, None)[tab.voice].value == first
    assert offered(tab, BUILT_IN)[tab.voice].value == BUILT_IN
    assert offered(tab, BUILT_IN)[tab.engine] == "lite"
    gone = offered(tab, "0" * 32)
    assert gone[tab.voice].value == "0" * 32, "nobody converts into a voice that nobody chose"
    assert "checked" not in gone[tab.voice].props["cards"]
    assert "is gone; choose another" in gone[tab.voice_note]


def test_a_list_that_is_read_again_does_not_take_back_what_was_chosen_meanwhile(tab: ConvertTab) -> None:
    update = tab.renew(BUILT_IN, "lite", True, 0, request())[tab.voice]
    assert "value" not in update.constructor_args
    assert BUILT_IN in update.props["cards"]
    for _ in range(2):
        gone = tab.renew("0" * 32, "lite", True, 0, request())
        assert "value" not in gone[tab.voice].constructor_args
        assert "is gone; choose another" in gone[tab.voice_note], "as often as the list is read"


def test_no_property_of_our_components_is_an_event_to_gradio(tab: ConvertTab) -> None:
    """It takes every name in quotation marks in their JavaScript for one, and then cannot send an update."""
    for part in (tab.voice, tab.voice_note):
        assert not [name for name in part.props if hasattr(part, name)]


def test_a_card_tells_what_a_singer_wants_to_know_and_plays(tab: ConvertTab) -> None:
    cards = offered(tab, None)[tab.voice].props["cards"]
    for told in ("Kathleen", "English (United States)", "Dutch (Belgium)", "B2 to G♯3 (123 to 210 Hz)"):
        assert told in cards
    assert cards.count("data-sound=") == 2
    assert 'aria-label="Hear Kathleen"' in cards
    assert 'role="radiogroup"' in cards


def test_what_a_job_was_converted_with_is_put_back(tab: ConvertTab) -> None:
    settings = {"transpose_semitones": -12, "index_rate": 0.25, "format": "mp3", "f0_estimator": "praat"}
    shown = tab.put(settings, BUILT_IN, request())
    assert set(shown) == {*tab.offered, *tab.expert.inputs}
    values = {part: shown[part] for part in tab.expert.inputs}
    kept = {name: value for name, value in tab.expert.settings(values).items() if name in settings}
    assert kept == settings
    assert "One octave lower" in shown[tab.expert.said]
    assert shown[tab.voice].value == BUILT_IN
    automatic = tab.put({}, "0" * 32, request())
    assert automatic[tab.expert.automatic] is True
    assert "is gone" in automatic[tab.voice_note]


def test_voices_of_one_name_can_be_told_apart(tab: ConvertTab, services: Services) -> None:
    caller = services.caller(request())
    add_voice(services.jobs, services.settings.data_dir)
    services.jobs.registry.update("models", "voice", user_id=caller.user_id, model_name="Kathleen")
    cards = offered(tab, None)[tab.voice].props["cards"]
    made = moment(services.library.get(caller, "voice")["created_at"])
    for label in ("Kathleen (comes with Timbre)", f"Kathleen ({made})"):
        assert f"<strong>{label}</strong>" in cards
    assert "no sample" in cards
    assert voice_name(services, caller, None) == "a voice that is gone"


@pytest.mark.parametrize(
    ("moved", "median_hz", "told"),
    [
        (None, None, "Listen to both"),
        (0.0, 110.0, "its own pitch"),
        (-2.5, None, "2.5 semitones down."),
        (7.0, 110.0, "a fifth up (7 semitones): from around A2 to around E3."),
    ],
)
def test_what_was_done_to_the_pitch_is_said(moved: float | None, median_hz: float | None, told: str) -> None:
    result = {"transpose_semitones": moved, "source_median_hz": median_hz}
    assert told in what_was_done({"type": "conversion", "result": result}, "Wren")


def test_the_fields_of_the_chosen_kind_of_source_are_shown_and_no_others(tab: ConvertTab) -> None:
    for kind, button in ((ONE, "Convert"), (MANY, "Convert all")):
        shown = tab.sources.show(kind)
        for other in (ONE, MANY):
            assert shown[tab.sources[other].column].visible == (other == kind)
        assert shown[tab.sources.button].value == button


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
