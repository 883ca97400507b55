"""The sidebar of running jobs: whose, from when to when it asks, and what its buttons do."""

from __future__ import annotations

import gradio as gr
import pytest

from pipelines.store.records import new_job
from tests.ui.visitor import SOMEBODY_ELSE, request
from ui.server.services import Services
from ui.tabs.running import PATIENCE, RunningJobs, RunningState


def sidebar(services: Services) -> RunningJobs:
    with gr.Blocks():
        return RunningJobs(services)


def add(services: Services, status: str = "pending") -> str:
    caller = services.caller(request())
    with services.jobs.lock:
        row = new_job(
            caller.user_id, "training", status=status, seq=services.jobs.next_seq(), model_name="<i>W"
        )
        row["upload_id"] = row["input_job_id"] = services.jobs.registry.insert(
            "jobs", new_job(caller.user_id, "training", status="uploaded", seq=0)
        )["id"]
        return str(services.jobs.registry.insert("jobs", row | {"not_before": 4e9})["id"])


def test_what_waits_or_runs_is_shown_to_its_owner_with_the_time_left(services: Services) -> None:
    bar, state = sidebar(services), RunningState()
    assert "Nothing runs" in bar.open(state, request())[bar.jobs]
    add(services, "completed")
    assert not bar.open(state, request())[bar.timer].active
    job = add(services)
    opened = bar.open(state, request())
    assert opened[bar.timer].active
    html = opened[bar.jobs]
    assert f'data-event="cancel" data-job="{job}"' in html
    assert "Train &lt;i&gt;W" in html
    assert " left" in html
    assert 'data-count="1"' in html
    assert "Nothing runs" in bar.open(RunningState(), request(SOMEBODY_ELSE))[bar.jobs]


def test_it_asks_for_a_while_after_a_button_was_pressed_and_not_for_ever(services: Services) -> None:
    bar, state = sidebar(services), RunningState()
    bar.open(state, request())
    assert bar.wake(state)[bar.timer].active
    job = add(services)
    for _ in range(2 * PATIENCE):
        assert bar.timer not in bar.tick(state, request()), "something waits"
    services.jobs.cancel(services.caller(request()), job)
    answers = [bar.tick(state, request()) for _ in range(PATIENCE)]
    assert not answers[-1][bar.timer].active
    assert all(bar.timer not in one for one in answers[:-1])


def test_a_job_is_stopped_here_by_who_owns_it(services: Services) -> None:
    bar, state, job = sidebar(services), RunningState(), add(services)

    def press(sent: object, token: str) -> object:
        return bar.cancel(state, gr.EventData(None, sent), request(token))

    wrong: list[object] = [{"job": job}, {"job": "../x"}, {}, None, "x", {"job": {}}]
    for sent in wrong:
        with pytest.raises(gr.Error):
            press(sent, SOMEBODY_ELSE)
    assert services.jobs.get(services.caller(request()), job)["status"] == "pending"
    assert "Nothing runs" in bar.cancel(state, gr.EventData(None, {"job": job}), request())[bar.jobs]
    assert services.jobs.get(services.caller(request()), job)["status"] == "cancelled"
