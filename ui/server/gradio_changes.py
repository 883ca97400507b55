"""What Timbre changes in Gradio, and what it reads of its insides: all in one place, checked before serving.

Gradio's inner names are no promise. requirements.txt holds the minor version that was tested; with another
one, or where a change does not take, the program refuses to serve rather than to serve without a guard.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import gradio as gr
from gradio import processing_utils, queueing, routes, state_holder
from gradio.utils import LRUCache, get_upload_folder
from jinja2 import BaseLoader, Environment
from starlette.requests import Request

from rvc.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import Scope

TESTED = "6.31"
CALL = "timbre.call"  # in the scope of a request
MOST_SESSIONS = 100_000
SENT_S = 60.0  # within which an answer that was taken for sending is sent
# A session that nobody has read for so long begins anew with its next call, and is forgotten a minute later
# without one: between a call and its stream it is never forgotten.
ANEW_S, FORGOTTEN_S = 240.0, 300.0
_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)
_OF_GRADIO = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
NO_FETCHING = "This server fetches nothing from addresses; download the file and send it itself."
NO_SESSION = "The name of the session is not one; use letters and digits, at most 100."
NO_CONVERTING = "This server converts no files for the page; send a recording as it is."


def adapt_gradio(head: str = "", *others: Callable[[], None]) -> None:
    """Change Gradio for the whole process, here and by `others`; a ConfigError says what did not take.

    `head` is HTML for the page's head, in the language of Gradio's template.
    """
    try:
        for step in (*STEPS, *others):
            step()
        _head_pages(head)
    except (LookupError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"Timbre's guards do not fit the Gradio that is installed ({error}), so nothing is served; "
            f'install the tested one: pip install "gradio=={TESTED}.*".'
        ) from error


@dataclass(eq=False)
class QueuedCall:
    """A call, as it stands in the scope of its request under `CALL`."""

    session_hash: str = field(default="", init=False)  # once it has its place in Gradio's queue


def scopes_under_way(page: gr.Blocks) -> Iterator[Scope]:
    """Give the ASGI scope of the request behind each call that waits in Gradio's queue or runs.

    To be called in the thread of the server's event loop, which alone changes the queue.
    """
    queue = page._queue
    waiting = (event for one in queue.event_queue_per_concurrency_id.values() for event in one.queue)
    running = (event for batch in queue.active_jobs if batch for event in batch)
    for event in (*waiting, *running):
        yield event.request.scope


def unread_for_s(page: gr.Blocks, session_hash: str) -> float:
    """Return for how long nobody has read what a session was told; 0 if there is nothing to read."""
    messages = page._queue.pending_messages_per_session.get(session_hash)
    return time.monotonic() - messages.read_at_s if messages is not None and messages.qsize() else 0.0


def begin_session(page: gr.Blocks, session_hash: str) -> bool:
    """Have a session to listen to, which nobody has called in yet; return whether its name is one."""
    if not _NAME.fullmatch(session_hash):
        return False
    page._queue.pending_messages_per_session.setdefault(session_hash, _Messages())
    return True


def is_told(page: gr.Blocks, session_hash: str) -> bool:
    """Whether all calls of a session are over, and whoever listened has heard the end of them."""
    queue = page._queue
    messages = queue.pending_messages_per_session.get(session_hash)
    untold = queue.pending_event_ids_session.get(session_hash, set())
    if messages is None or not untold:
        return messages is None or not messages.qsize()
    # Gradio crosses an answer off once it is sent, and those of a caller who left never.
    left = time.monotonic() - messages.read_at_s > SENT_S
    return left and not messages.qsize() and not untold & queue.event_ids_to_events.keys()


def forget_session(page: gr.Blocks, session_hash: str) -> None:
    """Drop what is kept for a session; a call that waits never runs, and one that runs is told to nobody."""
    queue = page._queue
    for batch in queue.active_jobs:
        for event in batch or ():
            event.alive &= event.session_hash != session_hash
    for calls in queue.event_queue_per_concurrency_id.values():
        for event in [event for event in calls.queue if event.session_hash == session_hash]:
            calls.queue.remove(event)
            queue.event_ids_to_events.pop(event._id, None)
    queue.pending_messages_per_session.pop(session_hash, None)
    queue.pending_event_ids_session.pop(session_hash, None)
    _forget_state(page, session_hash)


def _forget_state(page: gr.Blocks, session_hash: str) -> None:
    """Drop a session's copy of the page, of 17 kB, where nothing in it differs from the page."""
    holder = getattr(page, "state_holder", None)
    if holder is None:  # the page was never launched
        return
    state = holder.session_data.get(session_hash)
    if state and not state.state_data and state.blocks_config.blocks == page.default_config.blocks:
        del holder.session_data[session_hash]
        holder.time_last_used.pop(session_hash, None)


class _Messages(asyncio.Queue[Any]):
    """What a session is told, and since when nobody has read of it, on the steady clock."""

    read_at_s: float

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.read_at_s = time.monotonic()

    def _get(self) -> Any:  # noqa: ANN401
        self.read_at_s = time.monotonic()
        return super()._get()

    def _put(self, item: object) -> None:
        if self.empty():
            self.read_at_s = time.monotonic()
        super()._put(item)


def _require_version() -> None:
    if not gr.__version__.startswith(f"{TESTED}."):
        raise LookupError(f"it is version {gr.__version__}")


def _fetch_nothing() -> None:
    """Addresses in the place of files are loaded past all limits, from the server's own network."""
    replace(processing_utils, "async_ssrf_protected_download", _refusing(NO_FETCHING))
    replace(routes, "secure_url_stream_response", _refusing(NO_FETCHING))
    _require_refused(processing_utils.ssrf_protected_download, "http://127.0.0.1:9/", get_upload_folder())


def _start_no_ffmpeg() -> None:
    """The ffmpeg program opens whatever a stranger's playlist names, and nothing limits it."""
    replace(processing_utils, "ffmpeg_installed", lambda: False)
    replace(processing_utils, "audio_from_file", _refusing_at_once(NO_CONVERTING))
    _require_refused(gr.Audio(format="wav", render=False).preprocess, gr.FileData(path="a.m3u8"))


def _keep_sessions_small() -> None:
    """Gradio copies the configuration of the whole page for every session, for deep links, and keeps 10,000.

    A call of a program is a session of its own. Without the copy each one keeps a few kB.
    """

    def start(self: Any, blocks: gr.Blocks) -> None:  # noqa: ANN401  # it has no public type
        original(self, SimpleNamespace(default_config=blocks.default_config, blocks=()))

    def get(self: Any, session_id: str) -> Any:  # noqa: ANN401
        if not _NAME.fullmatch(str(session_id)):  # it is kept for as long as the session
            raise gr.Error(NO_SESSION, print_exception=False)
        return original_get(self, session_id)

    original, original_get = state_holder.SessionState.__init__, state_holder.StateHolder.__getitem__
    if original.__module__ == __name__:  # by an earlier page of this process
        return
    replace(state_holder.SessionState, "__init__", start)
    replace(state_holder.StateHolder, "__getitem__", get)
    with gr.Blocks() as page:
        gr.Textbox()
    state, holder = state_holder.SessionState(page), state_holder.StateHolder()
    if state.config_values or state.blocks_config.blocks != page.default_config.blocks:
        raise LookupError("a session copies the page")
    if holder.session_data or holder.time_last_used:  # names that `_forget_state` needs
        raise LookupError("sessions are kept before there are any")


def _guard_queue() -> None:
    """Names of sessions are short, since they are kept while the server runs; and a call knows its own."""

    async def push(self: Any, body: Any, request: Request, username: str | None) -> Any:  # noqa: ANN401
        names = (body.session_hash, body.event_id, body.trigger_id)
        if not all(name is None or _NAME.fullmatch(str(name)) for name in names):
            return False, NO_SESSION, "error"
        if body.session_hash and unread_for_s(self.blocks, body.session_hash) > ANEW_S:
            forget_session(self.blocks, body.session_hash)
        answer = await original(self, body, request, username)
        if answer[0] and CALL in request.scope:
            request.scope[CALL].session_hash = body.session_hash or answer[1]
        return answer

    with gr.Blocks() as page:
        page.queue()
    list(scopes_under_way(page))
    if not is_told(page, "none") or unread_for_s(page, "none"):
        raise LookupError("a session tells what was never asked")
    forget_session(page, "none")
    # Those of one caller must not push out those of others; `forget_session` keeps them few.
    if page._queue.pending_messages_per_session.max_size < MOST_SESSIONS:
        raise LookupError("sessions push each other out")
    if "request" not in inspect.signature(queueing.Event).parameters:
        raise LookupError("the queue keeps no request")
    original = queueing.Queue.push
    if original.__module__ != __name__:
        if list(inspect.signature(original).parameters) != ["self", "body", "request", "username"]:
            raise LookupError("the queue takes calls otherwise")
        replace(queueing.Queue, "push", push)


def _time_messages() -> None:
    """What is told to a session knows since when nobody has read it."""
    replace(queueing, "AsyncQueue", _Messages)


def _keep_many_sessions() -> None:
    """Gradio keeps the messages of the newest 2,000 sessions, and breaks the streams of all older ones."""

    def many(max_size: int) -> Any:  # noqa: ANN401
        return LRUCache(max(max_size, MOST_SESSIONS))

    if queueing.LRUCache.__module__ != __name__:
        replace(queueing, "LRUCache", many)


def _head_pages(head: str) -> None:
    """Gradio's pages say "Gradio" and show its picture where other sites preview them."""
    environment = routes.templates.env
    loader = environment.loader
    pages = loader.inner if isinstance(loader, _Headed) else loader
    if pages is None:
        raise LookupError("its pages come from elsewhere")
    environment.loader = _Headed(pages, head)
    if environment.cache is not None:
        environment.cache.clear()
    for name in ("frontend/index.html", "frontend/share.html"):
        text = environment.loader.get_source(environment, name)[0]
        if head not in text or re.search(r'content="(?:@?Gradio|https:)', text):
            raise LookupError("its pages begin otherwise")


class _Headed(BaseLoader):
    """Loads Gradio's pages with another head."""

    def __init__(self, inner: BaseLoader, head: str) -> None:
        self.inner, self._head = inner, head

    def get_source(self, environment: Environment, template: str) -> Any:  # noqa: ANN401  # as Jinja has it
        text, path, fresh = self.inner.get_source(environment, template)
        text = _OF_GRADIO.sub("", text).replace('href="/manifest.json"', 'href="manifest.json"')
        return text.replace("</head>", f"{self._head}</head>", 1), path, fresh


STEPS = (
    _require_version,
    _fetch_nothing,
    _start_no_ffmpeg,
    _keep_sessions_small,
    _keep_many_sessions,
    _time_messages,
    _guard_queue,
)


def replace(owner: object, name: str, change: object) -> None:
    """Put a change of ours in the place of something of Gradio's."""
    getattr(owner, name)  # an AttributeError where Gradio calls it otherwise by now
    setattr(owner, name, change)


def _refusing(sentence: str) -> Callable[..., Awaitable[NoReturn]]:
    async def refuse(*_: object, **__: object) -> NoReturn:
        raise gr.Error(sentence, print_exception=False)

    return refuse


def _refusing_at_once(sentence: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise gr.Error(sentence, print_exception=False)

    return refuse


def _require_refused(function: Callable[..., object], *values: object) -> None:
    try:
        function(*values)
    except gr.Error:
        return
    raise LookupError(f"{function.__name__} still answers")
