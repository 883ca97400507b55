"""Somebody who calls a launched page without its clients: any listener by its number, any values.

What the page answers is heard as it is sent; what goes wrong behind it is caught where Gradio would print it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

AT_ONCE = 100
"""Wishes that wait in the queue together; it takes 200."""

PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The answer to one wish.

    Attributes:
        listener: Number of the listener.
        sent: What was sent.
        success: Whether the page says so.
        output: What it answered.
        text: All that was heard of it.
    """

    listener: int
    sent: Any
    success: bool
    output: dict[str, Any]
    text: str

    @property
    def error(self) -> str | None:
        """The message of a refusal; None where the program itself, or Gradio, failed without a word."""
        return self.output.get("error")


@dataclass(kw_only=True)
class Attacker:
    """One client that keeps its cookie, or has a token of its own.

    Attributes:
        url: The page, ending in a slash.
        token: Of 16 characters or more.
    """

    url: str
    token: str
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"x-timbre-token": self.token} if self.token else {}
        limits = httpx.Limits(max_connections=20)
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, limits=limits)

    def listeners(self) -> list[dict[str, Any]]:
        """Every listener of the page: id, api_name, inputs, api_visibility."""
        found: list[dict[str, Any]] = self.client.get("config").json()["dependencies"]
        return found

    def join(self, wishes: Sequence[tuple[int, Any]]) -> list[Heard]:
        """Send wishes, as (listener, data), through the queue and wait for all answers."""
        heard = []
        for start in range(0, len(wishes), AT_ONCE):
            heard += self._joined(wishes[start : start + AT_ONCE], f"session{start}{threading.get_ident()}")
        return heard

    def _joined(self, wishes: Sequence[tuple[int, Any]], session: str) -> list[Heard]:
        waiting: dict[str, tuple[int, Any]] = {}
        heard = []
        for listener, data in wishes:
            wish = {"fn_index": listener, "data": data, "session_hash": session, "event_data": None}
            answer = self.client.post("gradio_api/queue/join", json=wish)
            if answer.status_code == 200:
                waiting[answer.json()["event_id"]] = (listener, data)
            else:
                assert answer.status_code < 500, (wish, answer.text)
                output = {"error": answer.text}
                heard.append(
                    Heard(listener=listener, sent=data, success=False, output=output, text=answer.text)
                )
        path = f"gradio_api/queue/data?session_hash={session}"
        said: dict[str, str] = dict.fromkeys(waiting, "")
        if not waiting:
            return heard
        with self.client.stream("GET", path) as stream:
            for line in stream.iter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                event = message.get("event_id")
                if event in said:
                    said[event] += line
                if message.get("msg") == "process_completed" and event in waiting:
                    listener, data = waiting.pop(event)
                    output = message.get("output") or {}
                    heard.append(
                        Heard(
                            listener=listener,
                            sent=data,
                            success=bool(message["success"]),
                            output=output,
                            text=said[event],
                        )
                    )
                if not waiting:
                    return heard
        raise AssertionError(f"no answer to {list(waiting.values())[:3]}")

    def call(self, name: str, data: Any) -> tuple[int, str]:  # noqa: ANN401  # whatever it is
        """Post to /call/NAME and read its stream; return the HTTP status and all text."""
        posted = self.client.post(f"gradio_api/call/{name}", json={"data": data})
        if posted.status_code != 200:
            return posted.status_code, posted.text
        answer = self.client.get(f"gradio_api/call/{name}/{posted.json()['event_id']}")
        return answer.status_code, answer.text

    def send(self, name: str, content: bytes) -> dict[str, Any] | None:
        """Upload a file; return it as an endpoint takes it, or None where it is refused at once."""
        answer = self.client.post("gradio_api/upload", files={"files": (name, content)})
        assert answer.status_code < 500, (name, answer.text)
        if answer.status_code != 200:
            return None
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}


@contextlib.contextmanager
def faults_of_ours() -> Iterator[list[str]]:
    """Collect what Gradio would print of exceptions that passed through our own code."""
    faults: list[str] = []

    def caught(*_: object, **__: object) -> None:
        text = traceback.format_exc()
        ours = [line for line in text.splitlines() if any(f"/{part}/" in line for part in OURS)]
        if any('File "' in line and "/site-packages/" not in line for line in ours):
            faults.append(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["traceback"], "print_exc", caught)
        yield faults


OURS = ("ui", "pipelines", "rvc")
