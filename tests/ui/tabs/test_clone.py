"""The Clone tab's listeners: what a person reads at each event, and what is kept of what they sent."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pipelines.store.records import now
from tests.ui.launched import VOICE_FILES, wait_for
from tests.ui.visitor import SOMEBODY_ELSE, drawn, request, sent, services_at
from ui.look.clone_parts import no_recordings
from ui.look.language import LANGUAGE
from ui.server.services import DISK_FULL, Services
from ui.tabs.clone import HEARING, REVIEW, CloneState, CloneTab
from ui.tabs.guided_reading import FREELY, spoken_in


@pytest.fixture
def idle(data_dir: Path, page_cache: Path) -> Iterator[Services]:
    with services_at(data_dir, started=False, starts_per_hour=1) as services:
        yield services


def clone(services: Services) -> CloneTab:
    with gr.Blocks():
        return CloneTab(services)


def files() -> list[str]:
    return [sent(path) for path in VOICE_FILES[:2]]


def uploads(services: Services) -> list[Path]:
    return list((services.settings.data_dir / "jobs").iterdir())


def test_a_recording_joins_the_list_under_a_name_of_its_own(idle: Services) -> None:
    tab = clone(idle)
    state, step = CloneState(), tab.recordings
    first = tab.take(sent(VOICE_FILES[0]), None, "free", 1, state)
    second = tab.take(sent(VOICE_FILES[1]), first[step.files], "free", 1, state)
    assert first[step.reading.microphone] is None
    assert [Path(one).stem for one in second[step.files]] == ["Recording 1", "Recording 2"]
    assert state.unchecked
    assert "No recordings" not in drawn(tab.check(second[step.files], state, request()))
    assert idle.jobs.list(idle.caller(request())) == []
    shown = drawn(tab.leave(second[step.files], state, request()))
    assert "Checking the recordings" in shown
    assert not state.unchecked
    assert tab.check_takes(second[step.files], state, request()) == gr.skip()


def test_files_are_checked_and_other_files_stop_the_check_of_the_first(idle: Services) -> None:
    idle.jobs.limits.take = lambda *_: None  # type: ignore[method-assign]
    tab, state = clone(idle), CloneState()
    assert "Checking the recordings" in drawn(tab.check(files(), state, request()))
    first = state.prepare_id
    assert first is not None
    tab.check(files()[:1], state, request())
    caller = idle.caller(request())
    assert idle.jobs.get(caller, first)["status"] == "cancelled"
    assert idle.jobs.get(caller, str(state.prepare_id))["status"] == "pending"
    assert no_recordings() in drawn(tab.check(None, state, request()))
    assert (state.upload_id, state.prepare_id) == (None, None)


def test_what_cannot_be_used_is_listed_while_the_rest_is_checked_and_with_the_report(
    services: Services, tmp_path: Path
) -> None:
    (tmp_path / "notes.wav").write_text("words")
    (tmp_path / "nothing.wav").touch()
    tab, state = clone(services), CloneState()
    bad = [sent(tmp_path / name) for name in ("notes.wav", "nothing.wav")]
    for shown in (
        drawn(tab.check([*files(), *bad], state, request())),
        *iter_until_report(tab, state),
    ):
        assert "2 files are not used:" in shown
        assert "notes.wav is not a recording" in shown
        assert "nothing.wav is empty" in shown
    assert "tm-report" in shown


def iter_until_report(tab: CloneTab, state: CloneState) -> Iterator[str]:
    while state.prepare_id:
        yield drawn(tab.tick(state, request()))
        time.sleep(0.1)


def test_of_a_refused_check_nothing_is_kept(idle: Services) -> None:
    tab, state = clone(idle), CloneState()
    tab.check(files()[:1], state, request())
    kept = uploads(idle)
    refused = drawn(tab.check(files()[:1], state, request()))
    assert "These recordings were not taken" in refused
    assert "an hour" in refused
    assert sorted(uploads(idle)) == sorted(kept)
    assert state.upload_id is None


def test_a_full_disk_is_said_in_words(idle: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(idle.jobs, "upload", full)
    assert DISK_FULL.split(",")[0].split("'s ")[1] in drawn(
        clone(idle).check(files(), CloneState(), request())
    )


def test_a_fault_of_the_machine_that_nobody_can_mend_is_not_dressed_up(
    idle: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(idle.jobs, "upload", broken)
    with pytest.raises(OSError, match="Input/output"):
        clone(idle).check(files(), CloneState(), request())


def asked(tab: CloneTab, state: CloneState, name: str, consent: bool) -> dict[Any, Any]:
    """The values of step 3 as a person left them."""
    naming = tab.naming
    values = {component: component.value for component in naming.inputs}
    fields = {tab.state: state, tab.recordings.files: None, naming.name: name, naming.consent: consent}
    return values | fields


def test_all_that_is_missing_for_a_training_is_said_at_its_field_at_once_and_nothing_starts(
    idle: Services,
) -> None:
    tab, state = clone(idle), CloneState()
    naming = tab.naming
    answer = tab.train(asked(tab, state, " ", consent=False), request())
    assert "Give the voice a name" in answer[naming.no_name]
    assert "permission" in answer[naming.no_consent]
    assert "Add recordings" in answer[naming.no_files]
    state.upload_id = "x"
    answer = tab.train(asked(tab, state, "Wren", consent=False), request())
    assert (answer[naming.no_name], answer[naming.no_files]) == ("", "")
    assert "permission" in answer[naming.no_consent]
    assert state.watched is None


def test_hear_it_now_asks_for_the_same_and_for_a_voice_without_training(idle: Services) -> None:
    tab, state = clone(idle), CloneState()
    assert (
        "Give the voice a name"
        in tab.hear(asked(tab, state, "", consent=True), request())[tab.naming.no_name]
    )
    tab.check(files(), state, request())
    idle.jobs.limits.take = lambda *_: None  # type: ignore[method-assign]
    answer = tab.hear(asked(tab, state, "Wren", consent=True), request())
    assert answer[tab.tabs].selected == HEARING
    assert state.watched is not None
    row = idle.jobs.get(idle.caller(request()), state.watched.job_id)
    assert row["settings"]["total_steps"] == 0
    with pytest.raises(gr.Error, match="makes no voice without training"):
        tab.hear(asked(tab, state, "Robin", consent=True) | {tab.naming.expert.engine: "rvc"}, request())


@pytest.mark.parametrize(("language", "kept"), [("nl-BE", "nl-BE"), (" it ", "it"), ("", None), (None, None)])
def test_the_language_of_a_voice_goes_with_its_training(
    idle: Services, language: str | None, kept: str | None
) -> None:
    tab, state = clone(idle), CloneState()
    tab.check(files(), state, request())
    values = asked(tab, state, "Wren", consent=True) | {tab.naming.language: language}
    idle.jobs.limits.take = lambda *_: None  # type: ignore[method-assign]
    tab.train(values, request())
    assert state.watched is not None
    row = idle.jobs.get(idle.caller(request()), state.watched.job_id)
    assert row["settings"].get("language") == kept


def test_a_language_that_is_none_is_refused_in_words(idle: Services) -> None:
    tab, state = clone(idle), CloneState(upload_id="x")
    with pytest.raises(gr.Error, match='give a tag such as "en"'):
        tab.train(asked(tab, state, "Wren", consent=True) | {tab.naming.language: "German"}, request())


def test_the_language_of_a_voice_is_that_of_the_page_then_that_of_the_sentences(idle: Services) -> None:
    tab = clone(idle)
    in_dutch = LANGUAGE.set("nl")
    assert tab.reattach(CloneState(), request())[tab.naming.language] == "nl"
    LANGUAGE.reset(in_dutch)
    assert spoken_in("de") == "de"
    assert spoken_in(FREELY) == gr.skip()


def test_a_training_is_watched_stopped_resumed_and_found_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "1000")
    tab = clone(services)
    caller = services.caller(request())
    upload = services.jobs.upload(caller, [(p, p.name) for p in VOICE_FILES[:2]], "training")["id"]
    job = services.submit(caller, "training", upload, {"consent": True}, model_name="Wren")
    again = CloneState()
    assert "Training Wren" in drawn(tab.reattach(again, request()))
    assert again.runs
    assert again.watched is not None
    watched = again.watched
    wait_for(lambda: bool(tab.tick(again, request())) and bool(watched.served), "a sample")
    recording, *states = sorted(watched.served)
    assert recording == 0
    assert states
    assert all(Path(path).is_file() for path in watched.served.values())
    tab.cancel(again, request())
    wait_for(lambda: services.jobs.get(caller, job["id"])["status"] == "cancelled", "the end")
    assert "press Resume" in drawn(tab.tick(again, request()))
    assert not again.runs
    tab.resume(again, request())
    assert services.jobs.get(caller, job["id"])["status"] in ("pending", "training")
    stranger = CloneState()
    tab.reattach(stranger, request(SOMEBODY_ELSE))
    assert stranger.watched is None


def test_who_cannot_be_told_apart_sees_an_empty_page_and_a_gone_job_is_asked_for_no_more(
    services: Services,
) -> None:
    tab, state = clone(services), CloneState(prepare_id="0" * 32)
    tab.tick(state, request())
    assert state.prepare_id is None
    tab.reattach(state, request("short"))
    assert state.watched is None
    assert tab.turn_curves(state, on=True) == gr.skip()


def test_only_news_are_shown_to_who_opens_the_page(idle: Services) -> None:
    caller = idle.caller(request())
    upload = idle.jobs.upload(caller, [(p, p.name) for p in VOICE_FILES[:2]], "training")["id"]
    job = idle.submit(caller, "training", upload, {"consent": True}, model_name="Wren")["id"]
    for status, updated_at, shown in (
        ("completed", now(), True),
        ("completed", "2020-01-01T00:00:00.000+00:00", False),
        ("cancelled", "2020-01-01T00:00:00.000+00:00", False),
    ):
        idle.jobs.registry.update("jobs", job, status=status, updated_at=updated_at)
        state = CloneState()
        clone(idle).reattach(state, request())
        assert (state.watched is not None) == shown, (status, updated_at)


def test_the_newer_of_a_training_and_a_check_opens(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEP_S", "5")
    caller = services.caller(request())
    upload = services.jobs.upload(caller, [(p, p.name) for p in VOICE_FILES[:2]], "training")["id"]
    job = services.submit(caller, "training", upload, {"consent": True}, model_name="Wren")["id"]
    services.jobs.cancel(caller, job)
    tab, state = clone(services), CloneState()
    answer = tab.reattach(state, request())
    assert answer[tab.tabs].selected == HEARING
    tab.check(files(), CloneState(), request())
    answer = tab.reattach(state := CloneState(), request())
    assert answer[tab.tabs].selected == REVIEW, "its check still runs"
    assert state.watched is not None
    assert state.watched.job_id == job, "the training can be looked at all the same"
    services.jobs.resume(caller, job)
    assert tab.reattach(CloneState(), request())[tab.tabs].selected == HEARING


def test_the_example_takes_the_place_of_no_files(idle: Services) -> None:
    tab, state = clone(idle), CloneState()
    example = tab.recordings.example
    answer = tab.take(sent(VOICE_FILES[0]), None, "free", 1, state)
    assert not tab.check(answer[tab.recordings.files], state, request())[example].interactive
    assert not tab.use_example(CloneState(), request())[example].interactive
    assert tab.check(None, CloneState(), request())[example].interactive
    assert example in tab._of_files


def test_a_training_of_the_example_waits_for_nothing_and_is_one_however_often_it_is_pressed(
    services: Services,
) -> None:
    tab, state = clone(services), CloneState()
    answer = tab.use_example(state, request())
    files = answer[tab.recordings.files]
    assert tab.check(files, state, request()) == gr.skip()  # as the list of files has changed
    naming = tab.naming
    assert [answer[field] for field in naming.of_files[:3]] == ["Wren", "en", True]
    assert "permission is given" in answer[naming.example]
    assert "1 min 49 s" in answer[tab.recordings.meter]
    values = asked(tab, state, "Wren", consent=True)
    assert "Training Wren" in drawn(tab.train(values, request()))
    tab.train(values, request())
    caller = services.caller(request())
    (training,) = [row for row in services.jobs.list(caller, type="training") if row["status"] != "uploaded"]
    (check,) = [
        row for row in services.jobs.list(caller, type="preprocessing") if row["status"] != "uploaded"
    ]
    assert training["input_job_id"] == check["input_job_id"]
    values[naming.name] = "Another"
    tab.train(values, request())
    rows = services.jobs.list(caller, type="training")
    assert [row["model_name"] for row in rows if row["status"] != "uploaded"] == ["Another", "Wren"]
    other = tab.check(files[:1], state, request())
    assert (other[naming.name], other[naming.consent], other[naming.example]) == ("", False, "")
    assert services.jobs.get(caller, check["id"])["status"] != "cancelled"  # the trainings wait for it


def test_the_report_is_there_again_and_never_under_an_old_training(services: Services) -> None:
    tab, state = clone(services), CloneState()
    tab.check(files(), state, request())
    *_, shown = iter_until_report(tab, state)
    assert "tm-report" in shown
    again = CloneState()
    answer = tab.reattach(again, request())
    assert "tm-report" in answer[tab.report]
    assert "wren-1.ogg, wren-2.ogg" in answer[tab.recordings.kept]
    assert tab.tabs not in answer
    assert again.upload_id == state.upload_id  # and can be trained on


def test_a_check_that_was_stopped_has_a_button_to_begin_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEP_S", "5")
    tab, state = clone(services), CloneState()
    tab.check(files(), state, request())
    caller, first = services.caller(request()), str(state.prepare_id)
    services.jobs.cancel(caller, first)
    wait_for(lambda: services.jobs.get(caller, first)["status"] == "cancelled", "its end")
    answer = tab.tick(state, request())
    assert "press Check again" in answer[tab.report]
    assert answer[tab.recheck].visible
    tab.check_again(state, request())
    assert state.prepare_id not in (None, first)
