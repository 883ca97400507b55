"""The Convert tab's takes and player: what a person hears, compares, makes again and removes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import soundfile as sf

from tests.ui.launched import RECORDING, VOICE_FILES
from tests.ui.tabs.test_convert import BUILT_IN, MANY, ONE, convert
from tests.ui.visitor import SOMEBODY_ELSE, request, sent
from ui.look.settings_words import settings_in_words
from ui.server.services import Services
from ui.tabs.convert import ConvertState, ConvertTab


@pytest.fixture
def tab(services: Services) -> ConvertTab:
    with gr.Blocks():
        return ConvertTab(services)


def press(**data: str) -> gr.EventData:
    return gr.EventData(None, data)


def played(answer: dict[Any, Any], tab: ConvertTab) -> dict[str, Any]:
    value: dict[str, Any] = answer[tab.view.player]
    return value


def names(answer: dict[Any, Any], tab: ConvertTab) -> list[str]:
    return [track["name"] for track in played(answer, tab)["tracks"]]


def take(tab: ConvertTab, state: ConvertState, recording: Path = RECORDING) -> str:
    convert(tab, state, BUILT_IN, ONE, sent(recording))
    return str(state.job_id)


def test_a_result_is_heard_beside_its_source_and_takes_the_focus_only_where_it_was_asked_for(
    tab: ConvertTab, services: Services
) -> None:
    steps = convert(tab, ConvertState(), BUILT_IN, ONE, sent(RECORDING))
    value = played(steps[-1], tab)
    source, result = value["tracks"]
    assert (source["name"], result["name"]) == ("visitor", "Kathleen")
    assert Path(source["file"]["path"]).read_bytes() == RECORDING.read_bytes()
    assert Path(result["file"]["path"]).name == "visitor as Kathleen.wav"
    assert (value["chosen"], value["play"]) == (1, True)
    assert all(tab.view.player not in step for step in steps[:-1]), "an earlier result stays meanwhile"
    caller = services.caller(request())
    job = services.jobs.list(caller, type="conversion", status="completed")[0]
    again = tab.view.draw(caller, job, "Kathleen")
    assert played(again, tab)["play"] is False


def test_takes_stay_for_their_visitor_newest_first(tab: ConvertTab) -> None:
    state = ConvertState()
    assert tab.takes.show(state, request())[tab.takes.list] == ""
    first, second = take(tab, state), take(tab, state, VOICE_FILES[0])
    shown = tab.takes.show(ConvertState(), request())[tab.takes.list]
    assert shown.index(second) < shown.index(first)
    assert "wren-1 in Kathleen" in shown
    assert "2 takes" in shown
    assert first not in tab.takes.show(state, request(SOMEBODY_ELSE))[tab.takes.list]
    assert tab.takes.show(state, request("short"))[tab.takes.list] == ""


def test_a_take_is_heard_and_compared_with_another_one(tab: ConvertTab) -> None:
    state = ConvertState()
    first, second = take(tab, state), take(tab, state, VOICE_FILES[0])
    heard = tab.takes.hear(state, press(job=first), request())
    assert names(heard, tab) == ["visitor", "Kathleen"]
    assert played(heard, tab)["play"]
    assert state.shown_id == first
    assert f'data-event="compare" data-job="{second}"' in heard[tab.takes.list]
    assert f'data-event="compare" data-job="{first}"' not in heard[tab.takes.list]
    compared = tab.takes.compare(state, press(job=second), request())
    assert [Path(one["file"]["path"]).stem for one in played(compared, tab)["tracks"]] == [
        "wren-1 as Kathleen",
        "visitor as Kathleen",
    ]


def test_the_pictures_are_of_what_is_in_the_player(tab: ConvertTab, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []

    def draw(before: Path, after: Path, kept: Path, titles: tuple[str, str]) -> None:
        drawn.append([before.parents[1].name, after.parents[1].name, *titles])
        kept.write_bytes(b"")

    monkeypatch.setattr("pipelines.jobs.job_files.draw_spectrograms", draw)
    state = ConvertState()
    first, second = take(tab, state), take(tab, state, VOICE_FILES[0])
    tab.takes.hear(state, press(job=first), request())
    _, melodies, _ = tab.draw_pictures(state, request())
    assert "<strong>visitor</strong>" in melodies[tab.view.contours]
    tab.takes.compare(state, press(job=second), request())
    _, melodies, picture = tab.draw_pictures(state, request())
    titles = ("wren-1 in Kathleen", "visitor in Kathleen")
    assert all(f"<strong>{title}</strong>" in melodies[tab.view.contours] for title in titles)
    assert drawn[-1] == [second, first, *titles]
    assert "Spectrograms of wren-1 in Kathleen and visitor in Kathleen" in picture[tab.view.image]["alt"]
    tab.takes.hear(state, press(job=second), request())
    list(tab.draw_pictures(state, request()))
    assert drawn[-1][1:] == [second, "Before: the source", "After: spoken by Kathleen"]


@pytest.mark.parametrize("gone", ["shown", "against"])
def test_what_was_removed_is_not_compared_with_and_not_drawn(tab: ConvertTab, gone: str) -> None:
    state = ConvertState()
    first, second = take(tab, state), take(tab, state, VOICE_FILES[0])
    tab.takes.hear(state, press(job=first), request())
    if gone == "against":
        tab.takes.compare(state, press(job=second), request())
    away, left = (first, second) if gone == "shown" else (second, first)
    answer = tab.takes.remove(state, press(job=away), request())
    assert not answer[tab.view.pictures].visible
    assert 'data-event="compare"' not in answer[tab.takes.list], "there is nothing to compare with"
    assert len(list(tab.draw_pictures(state, request()))) == 1
    heard = tab.takes.compare(state, press(job=left), request())  # by an old list
    assert names(heard, tab)[0] != names(heard, tab)[1]
    assert state.shown_id == left
    assert 'aria-current="true"' in heard[tab.takes.list]


def test_what_was_deleted_elsewhere_is_not_compared_with(tab: ConvertTab, services: Services) -> None:
    state = ConvertState()
    first, second = take(tab, state), take(tab, state, VOICE_FILES[0])
    tab.takes.hear(state, press(job=first), request())
    services.jobs.remove(services.caller(request()), first)
    assert names(tab.takes.compare(state, press(job=second), request()), tab) == ["wren-1", "Kathleen"]


def test_a_take_is_removed_and_brought_back(tab: ConvertTab, services: Services) -> None:
    state, caller = ConvertState(), services.caller(request())
    job = take(tab, state)
    gone = tab.takes.remove(state, press(job=job), request())[tab.takes.list]
    assert "visitor in Kathleen was removed." in gone
    assert "0 takes" in gone
    assert [row["id"] for row in services.jobs.list(caller, type="conversion", deleted=True) if row["result"]]
    assert tab.takes.show(ConvertState(), request())[tab.takes.list] == "", "another page has nothing to undo"
    back = tab.takes.undo(state, press(job=job), request())[tab.takes.list]
    assert "was removed" not in back
    assert services.jobs.get(caller, job)["deleted_at"] is None


def test_a_take_is_downloaded_under_its_name(tab: ConvertTab) -> None:
    job = take(tab, ConvertState())
    file = tab.takes.fetch(press(job=job), request())[tab.takes.fetched]["file"]
    assert (file["orig_name"], Path(file["path"]).is_file()) == ("visitor as Kathleen.wav", True)


def test_a_take_is_made_again_with_its_recording_voice_and_settings(tab: ConvertTab) -> None:
    state = ConvertState()
    values = {part: part.value for part in tab.expert.inputs}
    values |= {tab.expert.automatic: False, tab.expert.semitones: 7, tab.expert.format: "flac"}
    values |= {
        tab.state: state,
        tab.voice: BUILT_IN,
        tab.sources.kind: ONE,
        tab.sources[ONE].field: sent(RECORDING),
        tab.sources[MANY].field: None,
    }
    list(tab.convert(values, request()))
    put = tab.again(press(job=str(state.job_id)), request())
    assert (put[tab.voice].value, put[tab.sources.kind]) == (BUILT_IN, ONE)
    assert Path(put[tab.sources[ONE].field]).read_bytes() == RECORDING.read_bytes()
    assert (put[tab.expert.automatic], put[tab.expert.semitones], put[tab.expert.format]) == (
        False,
        7,
        "flac",
    )
    shown = tab.takes.show(state, request())[tab.takes.list]
    assert "a fifth up (7 semitones) · as flac" in shown


def test_what_the_buttons_send_is_not_believed(tab: ConvertTab) -> None:
    state = ConvertState()
    job = take(tab, state)
    for data in ({}, {"job": "../x"}, {"job": "0" * 32}):
        for act in (tab.takes.hear, tab.takes.compare, tab.takes.remove, tab.takes.undo):
            with pytest.raises(gr.Error):
                act(state, press(**data), request())
        for ask in (tab.takes.fetch, tab.again):
            with pytest.raises(gr.Error):
                ask(press(**data), request())
    with pytest.raises(gr.Error):
        tab.takes.remove(state, press(job=job), request(SOMEBODY_ELSE))
    with pytest.raises(gr.Error):
        tab.takes.hear(state, SimpleNamespace(_data="no dict"), request())


def test_each_recording_of_a_batch_can_be_heard(tab: ConvertTab) -> None:
    state = ConvertState()
    convert(tab, state, BUILT_IN, MANY, sent(RECORDING), sent(VOICE_FILES[0]))
    *_, last = tab.rest(state, request())
    assert 'data-event="hear" data-number="2"' in last[tab.view.status]
    heard = tab.hear_file(state, press(number="2"), request())
    assert names(heard, tab) == ["wren-1", "Kathleen"]
    assert tab.takes.list in heard, "none of the takes is in the player any more"
    assert Path(played(heard, tab)["tracks"][0]["file"]["path"]).read_bytes() == VOICE_FILES[0].read_bytes()
    for number in ("0", "3", "x", "²", "9" * 5_000):
        with pytest.raises(gr.Error, match="no recording number"):
            tab.hear_file(state, press(number=number), request())


def test_a_recording_of_a_batch_that_no_browser_plays_is_decoded_once(
    tab: ConvertTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wav, rate_hz = sf.read(RECORDING, dtype="float32")
    sf.write(tmp_path / "tape.aiff", wav, rate_hz)
    state = ConvertState()
    convert(tab, state, BUILT_IN, MANY, sent(tmp_path / "tape.aiff"))
    list(tab.rest(state, request()))
    for _ in range(2):
        source, result = played(tab.hear_file(state, press(number="1"), request()), tab)["tracks"]
        path = Path(source["file"]["path"])
        assert (path.name, source["name"], result["name"]) == ("tape.flac", "tape", "Kathleen")
        assert sf.info(path).duration == pytest.approx(len(wav) / rate_hz, abs=0.01)
        monkeypatch.setattr("pipelines.jobs.job_files._decode", None)
    monkeypatch.setattr("pipelines.jobs.job_files.MOST_DECODED_S", 1.0)
    source, _ = played(tab.hear_file(state, press(number="1"), request()), tab)["tracks"]
    assert Path(source["file"]["path"]).suffix == ".aiff", "the player says that it cannot play that one"


def test_settings_are_told_where_they_differ_from_what_is_usual() -> None:
    assert settings_in_words({}, "lite") == []
    assert settings_in_words({"transpose_semitones": 0.0, "format": "wav", "index_rate": None}, "gone") == [
        "in its own key"
    ]
    told = settings_in_words(
        {"transpose_semitones": -2.5, "index_rate": 0.123, "f0_estimator": "rmvpe", "format": "mp3"}, "rvc"
    )
    assert told == ["2.5 semitones down", "likeness 0.123", "as mp3", "pitch found by rmvpe"]
