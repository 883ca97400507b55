"""The machines of a cluster on the Admin page."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import gradio as gr
import pytest

from pipelines.jobs.dispatcher import Dispatcher
from tests.ui.visitor import request, services_at
from ui.server.monitoring import SnapshotCollector, health_of
from ui.server.services import Services
from ui.tabs.admin_nodes import NodesPart


def node(name: str, **facts: object) -> dict[str, Any]:
    known = {"id": f"{name}-0123456789", "name": name, "address": "10.0.0.7", "alive": True, "cpus": 4.0}
    known |= {"gpus": 1.0, "devices": ["a"], "draining": False, "jobs": ["0123456789ab"], "failures": 0}
    return known | facts


CLUSTER = {
    "fault": "",
    "nodes": [
        node("one"),
        node("two", draining=True, jobs=[]),
        node("<b>", alive=False, failures=2, devices=[]),
    ],
}


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    with services_at(tmp_path / "data", started=False) as fresh:
        yield fresh


def part_of(services: Services) -> NodesPart:
    with gr.Blocks():
        return NodesPart(services)


def in_a_cluster(services: Services, cluster: dict[str, Any] | None) -> Any:  # noqa: ANN401
    health = services.jobs.dispatcher.health() | {"cluster": cluster}
    return mock.patch.object(Dispatcher, "health", lambda _: health)


def test_machines_are_shown_with_what_they_do_and_only_in_a_cluster(services: Services) -> None:
    part = part_of(services)
    assert all(not update["visible"] for update in part.show().values())
    with in_a_cluster(services, CLUSTER):
        shown = part.show()
    text = shown[part.table].value
    assert "01234567" in text
    assert "Gets no more jobs" in text
    assert "Gone" in text
    assert "<b>" not in text
    assert [value for _, value in shown[part.node].choices] == ["one-0123456789", "two-0123456789"]


def test_only_an_admin_drains_and_only_what_is_there(services: Services) -> None:
    part = part_of(services)
    for act in (part.drain, part.undrain):
        with pytest.raises(gr.Error, match="who runs the server"):
            act("one", request(peer="10.0.0.7"))
        with pytest.raises(gr.Error, match="no machine 'one' in the cluster"):
            act("one", request())


def test_health_tells_everybody_numbers_and_metrics_the_machines(services: Services) -> None:
    with in_a_cluster(services, CLUSTER):
        health = health_of(services)
        assert health["cluster"] == {"nodes": 2, "devices": 2, "draining": 1}
        assert "10.0.0.7" not in str(health)
        metrics = {one.name: one for one in SnapshotCollector(services, mock.MagicMock()).collect()}
    lost = {sample.labels["name"]: sample.value for sample in metrics["timbre_node_failures"].samples}
    assert lost == {"one": 0.0, "two": 0.0, "<b>": 2.0}
    with in_a_cluster(services, CLUSTER | {"fault": "The Ray cluster cannot be reached."}):
        health = health_of(services)
    assert health["status"] == "degraded"
    assert "cannot be reached" in health["reason"]
