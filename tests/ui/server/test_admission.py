"""Calls whose answers nobody reads end after a while, and nobody else notices."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client  # type: ignore[import-untyped]
from starlette.middleware import Middleware

from pipelines.store.records import Caller
from tests.ui.launched import free_port, wait_for
from tests.ui.raw_http import Answer, ask
from ui.server import admission, gradio_changes
from ui.server.admission import AdmissionMiddleware

FORGOTTEN_S = 0.6


@dataclass
class Served:
    """A page of one function that runs one call at a time, and only while nobody holds it up."""

    page: gr.Blocks = field(init=False)
    said: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def say(self, what: str) -> str:
        self.said.append(what)
        assert self.go_on.wait(60)
        return what.upper()

    def join(self, what: str | None, session: str) -> Answer:
        """Call without listening: to say something, or with nothing to say to count."""
        call = json.dumps({"fn_index": int(what is None), "session_hash": session, "data": [what]})
        answer = ask(
            str(self.page.local_url), "/gradio_api/queue/join",
            method="POST", body=call, content_type="application/json",
        )  # fmt: skip
        assert answer.status == 200, answer.text
        return answer

    def told(self, session: str) -> list[str]:
        """What the calls of a session answered, as its stream ends."""
        answer = ask(str(self.page.local_url), f"/gradio_api/queue/data?session_hash={session}")
        messages = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
        return [one["output"]["data"][-1] for one in messages if one["msg"] == "process_completed"]

    def waiting(self) -> list[str]:
        queues = self.page._queue.event_queue_per_concurrency_id.values()
        return [event.session_hash for one in queues for event in one.queue]

    def kept(self) -> set[str]:
        queue = self.page._queue
        return {*queue.pending_messages_per_session, *queue.pending_event_ids_session}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    gradio_changes.adapt_gradio()
    monkeypatch.setattr(admission, "FORGOTTEN_S", FORGOTTEN_S)
    monkeypatch.setattr(gradio_changes, "ANEW_S", FORGOTTEN_S / 2)
    monkeypatch.setattr(gradio_changes, "SENT_S", FORGOTTEN_S / 2)
    served = Served()
    with gr.Blocks() as served.page:
        said, times = gr.Textbox(), gr.State(0)
        said.submit(served.say, said, said, api_name="say", concurrency_limit=1)
        said.change(lambda count: (count + 1, f"{count + 1}"), times, [times, said], api_name="count")
    services: Any = SimpleNamespace(caller=lambda _: Caller("me"), settings=SimpleNamespace(calls_at_once=60))
    middleware = Middleware(AdmissionMiddleware, services=services, page=served.page)
    served.page.launch(
        server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True,
        app_kwargs={"middleware": [middleware]},
    )  # fmt: skip
    try:
        yield served
    finally:
        served.go_on.set()
        served.page.close(verbose=False)


def client_to(served: Served) -> Client:
    return Client(str(served.page.local_url), verbose=False)


def test_a_call_that_waits_unread_never_runs_and_those_behind_it_do(served: Served) -> None:
    first = client_to(served).submit("first", api_name="/say")
    wait_for(lambda: served.said == ["first"], "the first call")
    served.join("second", "unread")
    time.sleep(FORGOTTEN_S + 0.1)
    client = client_to(served)
    third = client.submit("third", api_name="/say")
    wait_for(lambda: served.waiting() == [client.session_hash], "the third alone to wait")
    served.go_on.set()
    assert (first.result(60), third.result(60)) == ("FIRST", "THIRD")
    assert served.said == ["first", "third"]


def test_a_call_that_runs_unread_ends_and_tells_nobody(served: Served) -> None:
    served.join("first", "unread")
    wait_for(lambda: served.said == ["first"], "the first call")
    time.sleep(FORGOTTEN_S + 0.1)
    second = client_to(served).submit("second", api_name="/say")
    wait_for(lambda: "unread" not in served.kept(), "the first to be forgotten")
    served.go_on.set()
    assert second.result(60) == "SECOND"


def test_what_was_left_unread_long_ago_costs_no_new_call_its_answer(served: Served) -> None:
    """A page in a browser is one session for as long as it is open."""
    served.go_on.set()
    served.join("old", "page")
    wait_for(lambda: served.said == ["old"], "the first call")
    time.sleep(FORGOTTEN_S + 0.1)
    served.join("new", "page")
    assert client_to(served).predict("other", api_name="/say") == "OTHER"
    assert served.told("page") == ["NEW"]


def test_calls_of_one_session_are_each_told(served: Served) -> None:
    served.go_on.set()
    for what in ("a", "b", "c"):
        served.join(what, "page")
    assert served.told("page") == ["A", "B", "C"]
    served.join("d", "page")
    assert served.told("page") == ["D"]


def test_what_a_page_keeps_for_its_visitor_stays_and_copies_of_the_page_do_not(served: Served) -> None:
    served.go_on.set()
    for count in ("1", "2", "3"):
        served.join(None, "page")
        assert served.told("page") == [count]
        assert client_to(served).predict("other", api_name="/say") == "OTHER"
    wait_for(lambda: not served.kept(), "all to be told")
    assert list(served.page.state_holder.session_data) == ["page"]


def test_who_listens_before_the_first_call_and_long_after_the_last_is_told(served: Served) -> None:
    served.go_on.set()
    for what in ("A", "B"):
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(served.told, "page")
            wait_for(lambda: "page" in served.kept(), "the stream")
            time.sleep(FORGOTTEN_S + 0.1)
            for _ in range(2):
                client_to(served).predict("other", api_name="/say")
            served.join(what.lower(), "page")
            assert told.result(60) == [what]
    wait_for(lambda: not served.kept(), "nothing to be kept")


def test_of_whom_has_left_nothing_is_kept(served: Served) -> None:
    client = client_to(served)
    left = client.submit("left", api_name="/say")
    wait_for(lambda: served.said == ["left"], "the call")
    session = client.session_hash
    assert session in served.kept()
    left.cancel()
    served.go_on.set()
    wait_for(lambda: not served.page._queue.event_ids_to_events, "its end")
    time.sleep(FORGOTTEN_S + 0.1)
    for _ in range(2):  # the sweep is done by calls
        client_to(served).predict("other", api_name="/say")
    assert session not in served.kept()
