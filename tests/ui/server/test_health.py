"""What /health and the endpoint health() say, and when they say that something is wrong."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.jobs import dispatcher
from pipelines.monitoring import Gpu, Machine, Memory
from pipelines.store import registry as registries
from pipelines.store.storage import JournaledStorage
from tests.ui.launched import Launched, client_to
from tests.ui.raw_http import Answer, ask

GIGABYTE = 1_000_000_000


def told(answer: Answer) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(answer.text)
    return facts


def test_a_server_that_works_says_so_with_its_facts(page: Launched) -> None:
    answer = ask(page.url, "/health")
    facts = told(answer)
    assert answer.status == 200
    assert (facts["status"], facts["reason"]) == ("ok", "")
    assert facts["version"]
    assert facts["device"]["kind"] in ("cpu", "gpu")
    assert facts["device"]["cores"] >= 1
    assert facts["disk"]["free_bytes"] > 0
    assert facts["registry"]["writable"] is True
    assert facts["queue"] == {"waiting": 0, "running": 0}
    assert facts["worker"]["dispatcher"] is True


def test_the_endpoint_says_the_same_as_the_route(page: Launched) -> None:
    endpoint = client_to(page).predict(api_name="/health")
    route = told(ask(page.url, "/health"))
    assert endpoint.keys() == route.keys()
    for name in ("status", "version", "registry", "queue", "worker"):
        assert endpoint[name] == route[name]


def test_nothing_that_is_told_to_everybody_is_a_path_or_a_secret(page: Launched) -> None:
    text = ask(page.url, "/health").text
    secret = (page.data_dir / "secret").read_text()
    for private in (str(page.data_dir), str(page.data_dir.parent), secret, str(Path.home())):
        assert private not in text


def test_a_registry_that_cannot_be_written_is_told_until_it_can(
    page: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    registry = page.jobs.registry
    with monkeypatch.context() as patch:
        patch.setattr(JournaledStorage, "append", full)
        with pytest.raises(OSError, match="No space"):
            registry.insert("usage", {"id": "x"})
        answer = ask(page.url, "/health")
    assert answer.status == 503
    assert "registry could not be written (No space left on device)" in told(answer)["reason"]
    assert str(page.data_dir) not in answer.text
    # What restarts a server asks for what a restart can mend.
    assert ask(page.url, "/health?only=worker").status == 200
    monkeypatch.setattr(registries, "TRIED_EVERY_S", 0.0)  # otherwise it looks again in 10 s
    assert ask(page.url, "/health").status == 200, "it has not noticed that there is room again"


def test_a_dispatcher_that_hangs_makes_no_healthy_server(
    page: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "LOCK_PATIENCE_S", 0.05)
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with page.jobs.lock:
            holding.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(60)
    answer = ask(page.url, "/health")
    probe = ask(page.url, "/health?only=worker")
    done.set()
    thread.join()
    assert answer.status == probe.status == 503
    assert "restart the server" in told(answer)["reason"]


class ToyMachine(Machine):
    """A machine as a test wishes it."""

    def __init__(self, gpus: list[Gpu], memory: Memory | None) -> None:
        super().__init__(lambda: gpus)
        self._memory = memory

    def memory(self) -> Memory | None:
        return self._memory


def test_the_gpu_and_scarce_memory_are_told(page: Launched) -> None:
    from ui.server.monitoring import health_of

    services: Any = SimpleNamespace(jobs=page.jobs, settings=SimpleNamespace(data_dir=page.data_dir))
    gpu = Gpu(index=0, name="Toy", memory_bytes=8 * GIGABYTE, used_bytes=GIGABYTE, load=0.5)
    plenty = Memory(total_bytes=8 * GIGABYTE, available_bytes=4 * GIGABYTE)
    facts = health_of(services, ToyMachine([gpu], plenty))
    assert facts["device"]["kind"] == "gpu"
    assert facts["device"]["gpus"] == [
        {"name": "Toy", "memory_bytes": 8 * GIGABYTE, "used_bytes": GIGABYTE, "load": 0.5}
    ]
    assert facts["status"] == "ok"
    scarce = Memory(total_bytes=8 * GIGABYTE, available_bytes=1000)
    facts = health_of(services, ToyMachine([], scarce))
    assert facts["status"] == "degraded"
    assert "out of memory" in facts["reason"]
    assert health_of(services, ToyMachine([], None))["memory"] is None
