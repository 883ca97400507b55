"""Admission: nobody holds more than a share of the server, and each call is read before it runs.

A call is a POST that no file comes with, under way until its answer was read. Its body is small, by the rule
here, and is read whole first: what is too large, or comes too slowly, never reaches Gradio, which reads
anything and keeps it. Streams are what is asked for once and told for long.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import gradio as gr
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection

from pipelines.store.records import Caller
from pipelines.users.limits import require_share
from rvc.errors import NotAllowedError, RvcError
from ui.server.answers import refusal, refusal_of
from ui.server.gate import API, UPLOAD
from ui.server.gradio_changes import (
    CALL,
    FORGOTTEN_S,
    QueuedCall,
    begin_session,
    forget_session,
    is_told,
    scopes_under_way,
    unread_for_s,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ui.server.services import Services

BODY_BYTES = 1_000_000
SMALL_BODY_BYTES = 16_384  # of a POST that calls nothing: to log in, to cancel
MOST_VALUES = 20_000  # of a call's JSON, by its commas and brackets
VALUE_BYTES = 60  # what the smallest value takes in memory
SHARE_BYTES = BODY_BYTES + MOST_VALUES * VALUE_BYTES  # that the calls of one user hold at the same time
LARGE_BYTES = 10_000
BODY_S = 30.0  # for all of it to come
UNREAD_S = 60.0  # for which an answer that nobody reads counts
STREAMS_PER_CALL = 2
_RUN = f"{API}/run/"  # is answered when it has run; the others when they have their place in the queue
_CALLS = (_RUN, f"{API}/queue/join", f"{API}/call/")
_MESSAGES = f"{API}/queue/data"
_STREAMS = (_MESSAGES, f"{API}/heartbeat/", f"{API}/upload_progress", f"{API}/call/")
TOO_LARGE = (
    f"A call holds at most {BODY_BYTES / 1e6:g} MB and {MOST_VALUES:,} values; send recordings as an upload, "
    "and more than a thousand in one .zip."
)
TOO_SLOW = f"The call did not come within {BODY_S:.0f} seconds; try again."


@dataclass(eq=False)
class _Call(QueuedCall):
    """One call that arrives, waits, runs or whose answer is not read yet."""

    caller: Caller
    size_bytes: int  # in memory; until it is read, of its body


class AdmissionMiddleware:
    """ASGI middleware, behind the one that tells who is who."""

    def __init__(self, app: ASGIApp, *, services: Services, page: gr.Blocks) -> None:
        self._app = app
        self._services = services
        self._page = page
        self._arriving: list[_Call] = []  # and those that are answered at once
        self._queued: list[_Call] = []  # since they have their place in the queue
        self._streams: list[tuple[Caller, int]] = []
        self._listened: Counter[str] = Counter()  # by session, its open streams
        # Gradio parses in the event loop: one large call after another lets others in between.
        self._parsing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        try:
            if scope["type"] == "http" and scope["method"] == "POST" and path.rstrip("/") != UPLOAD:
                await self._post(scope, receive, send)
            elif scope["type"] == "http" and scope["method"] == "GET" and path.startswith(_STREAMS):
                caller = await self._caller(scope)
                most = self._services.settings.calls_at_once * STREAMS_PER_CALL
                require_share("streams", caller, self._streams, most)
                with _noted(self._streams, (caller, 1)), self._listening(scope):
                    await self._app(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except RvcError as error:
            await refusal_of(error, as_json=True)(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_call = scope["path"].startswith(_CALLS)
        most = BODY_BYTES if is_call else SMALL_BODY_BYTES
        stated = Headers(raw=scope["headers"]).get("content-length")
        size = most if stated is None else _count(stated, most)
        if size > most:
            await refusal(413, TOO_LARGE, as_json=True)(scope, receive, send)
        elif not is_call:
            await self._pass_on(scope, receive, send, most)
        else:
            call = _Call(await self._caller(scope), size)
            self._require_share(call)
            with _noted(self._arriving, call):
                await self._pass_on({**scope, CALL: call}, receive, send, most)
            if call.session_hash:
                self._queued.append(call)

    async def _caller(self, scope: Scope) -> Caller:
        """Return who calls; of whom nothing tells, the address: the endpoint says what is missing."""
        try:
            return await anyio.to_thread.run_sync(self._services.caller, HTTPConnection(scope))
        except NotAllowedError:
            address = scope["client"][0] if scope["client"] else ""
            return Caller(f"somebody at {address}", address=address)

    def _require_share(self, call: _Call) -> None:
        """Count a call among those of its caller; a LimitError if that are too many by now."""
        others = self._under_way() - {call}
        most = self._services.settings.calls_at_once
        require_share("calls", call.caller, [(one.caller, 1) for one in others], most)
        sizes = [(one.caller, one.size_bytes) for one in others]
        require_share("bytes", call.caller, sizes, SHARE_BYTES if most else 0, call.size_bytes)

    def _under_way(self) -> set[_Call]:
        running = [scope[CALL] for scope in scopes_under_way(self._page) if CALL in scope]
        kept, unread = [], []
        for call in self._queued:
            unread_s = unread_for_s(self._page, call.session_hash)
            if unread_s > FORGOTTEN_S:
                forget_session(self._page, call.session_hash)
            elif not self._forget_if_told(call.session_hash):
                kept.append(call)
                if 0 < unread_s < UNREAD_S:
                    unread.append(call)
        self._queued = kept
        return {*self._arriving, *running, *unread}

    def _forget_if_told(self, session_hash: str) -> bool:
        """Whether a session has nothing more to tell; it is forgotten then, unless somebody listens."""
        told = is_told(self._page, session_hash)
        if told and not self._listened[session_hash]:
            forget_session(self._page, session_hash)
        return told

    @contextmanager
    def _listening(self, scope: Scope) -> Iterator[None]:
        """Keep a session for as long as its stream is open: a page may open one before it has a question.

        Gradio's page does, when the answers of two calls have come before the answer to the second call's
        request; without its session it would take the server for gone, and load itself anew.
        """
        session_hash = QueryParams(scope["query_string"]).get("session_hash", "")
        if not scope["path"].startswith(_MESSAGES) or not begin_session(self._page, session_hash):
            yield
            return
        self._listened[session_hash] += 1
        try:
            yield
        finally:
            self._listened[session_hash] -= 1
            self._listened += Counter()  # leaves out those that are 0
            self._forget_if_told(session_hash)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        """Read the body, and call what comes next with it."""
        try:
            body = await _read(receive, most)
        except TimeoutError:
            await refusal(408, TOO_SLOW, as_json=True)(scope, receive, send)
            return
        if body is None:  # whoever sent it is gone
            return
        values = sum(map(body.count, (b",", b"[", b"{")))
        if len(body) > most or values > MOST_VALUES:
            await refusal(413, TOO_LARGE, as_json=True)(scope, receive, send)
            return
        call: _Call | None = scope.get(CALL)
        if call is not None:
            call.size_bytes = len(body) + values * VALUE_BYTES
            self._require_share(call)
        in_turn = len(body) > LARGE_BYTES and not scope["path"].startswith(_RUN)
        async with self._parsing if in_turn else nullcontext():
            await self._app(scope, _replayed(body, receive), send)


@contextmanager
def _noted(held: list[Any], one: object) -> Iterator[None]:
    held.append(one)
    try:
        yield
    finally:
        held.remove(one)


def _count(stated: str, most: int) -> int:
    """Return a Content-Length; more than the most if it is none."""
    return int(stated) if stated.isascii() and stated.isdecimal() and len(stated) < 19 else most + 1


async def _read(receive: Receive, most: int) -> bytes | None:
    """Return the body, or of one that is too long no more than shows it; None if it broke off."""
    body, more = b"", True
    with anyio.fail_after(BODY_S):
        while more and len(body) <= most:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the body once, and then what comes behind it: that the caller is gone."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
