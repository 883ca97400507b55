"""The Convert tab's listeners: a batch must not keep others waiting, nor draw over what came after it."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from tests.ui.launched import RECORDING, wait_for
from tests.ui.visitor import request, sent
from ui.server.services import ACTIVE, Services
from ui.tabs.convert import ConvertState, ConvertTab
from ui.tabs.sources import ManyRecordings

VISITOR = request()


@pytest.fixture
def tab(services: Services, monkeypatch: pytest.MonkeyPatch) -> ConvertTab:
    monkeypatch.setenv("TOY_STEPS", "100000")
    with gr.Blocks():
        return ConvertTab(services)


def begin(tab: ConvertTab, services: Services, state: ConvertState) -> list[dict[Any, Any]]:
    """Press the button with one recording in the list of many; return what was drawn when it let go."""
    voice = services.library.list(services.caller(VISITOR))[0]["id"]
    values = {part: part.value for part in tab.expert.inputs}
    values |= {
        tab.state: state,
        tab.voice: voice,
        tab.sources.kind: ManyRecordings.label,
        tab.sources[ManyRecordings.label].field: [sent(RECORDING)],
    }
    return list(tab.convert(values, VISITOR))


def test_the_button_lets_go_of_a_batch_that_is_then_followed_to_its_end(
    tab: ConvertTab, services: Services
) -> None:
    state = ConvertState()
    drawn = begin(tab, services, state)
    assert "Convert 1 recording" in drawn[-1][tab.view.status]
    assert state.job_id is not None
    assert services.jobs.get(services.caller(VISITOR), state.job_id)["status"] in ACTIVE
    rest = tab.rest(state, VISITOR)
    next(rest)
    assert "Convert 1 recording" in next(rest)[tab.view.status]
    tab.cancel(state, VISITOR)
    assert "Cancelled" in list(rest)[-1][tab.view.status]
    assert len(list(tab.rest(state, VISITOR))) == 1, "it is followed once"


def test_a_batch_is_no_longer_drawn_when_the_visitor_has_started_something_else(
    tab: ConvertTab, services: Services
) -> None:
    state = ConvertState()
    begin(tab, services, state)
    batch_id, rest = str(state.job_id), tab.rest(state, VISITOR)
    next(rest)
    assert "Convert 1 recording" in next(rest)[tab.view.status]
    state.job_id = "another"
    assert list(rest) == []
    caller = services.caller(VISITOR)
    services.jobs.cancel(caller, batch_id)
    wait_for(lambda: services.jobs.get(caller, batch_id)["status"] not in ACTIVE, "the batch to stop")
