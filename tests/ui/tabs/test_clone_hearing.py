"""The fourth step of the Clone tab: what a person hears of a training, keeps, and lets go on."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import gradio as gr
import pytest

from tests.ui.launched import VOICE_FILES, wait_for
from tests.ui.visitor import drawn, request
from ui.server.services import Services
from ui.tabs.clone import CloneState, CloneTab


def started(services: Services, name: str = "Wren", **settings: object) -> str:
    """Start a training of toy size; return its job."""
    caller = services.caller(request())
    upload = services.jobs.upload(caller, [(path, path.name) for path in VOICE_FILES[:2]], "training")["id"]
    wishes = {"consent": True, **settings}
    return str(services.jobs.submit(caller, "training", upload, settings=wishes, model_name=name)["id"])


def ended(services: Services, job_id: str) -> None:
    caller = services.caller(request())
    wait_for(lambda: services.jobs.get(caller, job_id)["status"] == "completed", "the end")


def opened(services: Services) -> tuple[CloneTab, CloneState, str]:
    """A visitor who opens the page; what they see."""
    with gr.Blocks():
        tab = CloneTab(services)
    state = CloneState()
    return tab, state, drawn(tab.reattach(state, request()))


def event(data: object) -> gr.EventData:
    return gr.EventData(None, data)


def test_the_samples_stand_beside_the_recording_and_one_that_is_kept_is_the_voice(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "20")
    job_id = started(services)
    ended(services, job_id)
    tab, state, shown = opened(services)
    assert shown.index("The real recording") < shown.index("Step 19") < shown.index("Step 3")
    assert shown.count("best so far") == shown.count("newest") == 1
    assert shown.count("tm-play") == 6
    monkeypatch.setattr(gr, "Info", lambda *_, **__: None)
    grid = tab.keep(state, event({"step": "7"}), request())[tab.view.grid]
    assert grid.index('chip good">kept') > grid.index("Step 11")
    assert services.samples.list(services.caller(request()), job_id)[1]["kept"]
    for wrong in ("8", "-1", "x", "7.0", "", "²", "9" * 5_000, None, ["7"]):
        with pytest.raises(gr.Error):
            tab.keep(state, event({"step": wrong}), request())
    for nothing in ({"other": "7"}, None, "7"):
        with pytest.raises(gr.Error):
            tab.keep(state, event(nothing), request())
    assert "Step 3" not in drawn(tab.tick(state, request()))  # nothing new: nobody's focus is lost


def test_a_sample_whose_link_has_gone_is_published_anew(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "20")
    job_id = started(services)
    ended(services, job_id)
    tab, state, shown = opened(services)
    assert state.watched is not None
    assert shown.count("It cannot be played; reload the page.") == shown.count("tm-play")
    for link in map(Path, state.watched.served.values()):
        link.unlink()
    state.watched.mark = ""
    grid = tab.tick(state, request())[tab.view.grid]
    for link in map(Path, state.watched.served.values()):
        assert link.is_file()
        assert quote(str(link)) in grid


def test_a_training_goes_on_from_the_page_and_says_what_is_no_number(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "20")
    job_id = started(services)
    ended(services, job_id)
    tab, state, _ = opened(services)
    for wrong in ("", "many", "1.5", "9" * 5_000, None):
        with pytest.raises(gr.Error, match="whole number"):
            tab.go_on(state, wrong, request())
    tab.go_on(state, " 10 ", request())
    ended(services, job_id)
    caller = services.caller(request())
    assert services.jobs.get(caller, job_id)["result"]["steps"] == 30


def test_a_voice_is_heard_before_it_is_trained_and_used_while_it_is(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = started(services, total_steps=0)
    ended(services, job_id)
    tab, state, shown = opened(services)
    assert "Wren speaks already" in shown
    assert shown.count("data-sound") == 2
    answer = tab.choose(state, job_id, request())
    assert answer[tab.view.next_step].visible
    assert (answer[tab.view.train_on].value, answer[tab.view.more_steps].value) == ("Train this voice", "450")
    assert tab.view.more_steps not in tab.tick(state, request())  # what a person has typed since stays
    monkeypatch.setenv("TOY_STEP_S", "0.1")
    answer = tab.go_on(state, "20", request())
    assert "Wren can be used meanwhile" in drawn(answer)
    assert answer[tab.view.next_step].visible
    tab.cancel(state, request())
    ended(services, job_id)


def test_no_training_hides_another_and_each_can_be_resumed(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "1000")
    caller = services.caller(request())
    stopped = started(services, "Anna")
    wait_for(lambda: services.jobs.get(caller, stopped)["status"] == "training", "its start")
    services.jobs.cancel(caller, stopped)
    wait_for(lambda: services.jobs.get(caller, stopped)["status"] == "cancelled", "its end")
    running = started(services, "Bert")
    waiting = started(services, "Carl")
    tab, state, shown = opened(services)
    assert "Training Carl" in shown
    assert [job for label, job in state.trainings if label] == [waiting, running, stopped]
    answer = tab.choose(state, stopped, request())
    assert answer[tab.view.resume].visible
    tab.resume(state, request())
    assert services.jobs.get(caller, stopped)["status"] == "pending"
    with pytest.raises(gr.Error, match="not the id"):
        tab.choose(state, "../x", request())


def test_a_voice_that_was_deleted_is_not_offered(services: Services) -> None:
    job_id = started(services)
    ended(services, job_id)
    _, _, shown = opened(services)
    assert "Wren is ready" in shown
    services.jobs.delete_voice(services.caller(request()), job_id)
    tab, state, shown = opened(services)
    assert "has been deleted" in shown
    state.watched = None
    assert not tab.reattach(state, request())[tab.view.next_step].visible


def test_the_curves_are_drawn_only_while_they_are_open(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "20")
    ended(services, started(services))
    tab, state, _ = opened(services)
    assert state.watched is not None
    plots = (tab.view.losses, tab.view.scores)
    for visible in (True, False):
        answer = tab.turn_curves(state, on=visible)
        assert [answer[plot].visible for plot in plots] == [visible, visible]
