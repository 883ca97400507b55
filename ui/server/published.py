"""Files that Gradio may serve: links in its cache, by names that nobody guesses, that die with their origins.

Gradio serves what lies in its cache and nothing outside it, not even by a symbolic link, so what is handed
out is a hard link. It would outlive a job or a voice that was deleted; therefore it is noted on what each
depends, and before a link is used, one whose origin is gone is removed. One whose origin lies in the trash
is not served until that comes back.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gradio.utils import get_upload_folder
from starlette.datastructures import Headers

from ui.server.answers import refusal
from ui.server.gate import FILE

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

IsDeleted = Callable[[str, str], bool]  # whether a row, by its table and id, is in the trash
FOLDER = "served"
# A byte range as RFC 9110 has it.
_RANGE = re.compile(r"bytes=(?:\d{1,18}-\d{0,18}|-\d{1,18})", re.ASCII)
# What a file's answer may say of itself; Gradio repeats what was asked, cookies and all.
_OF_FILES = frozenset(
    b"content-" + part for part in (b"type", b"length", b"range", b"disposition", b"encoding")
) | {b"accept-ranges", b"cache-control", b"etag", b"last-modified", b"vary"}
_TOKEN = re.compile(r"[0-9a-f]{32}")
_FORGET_EVERY = 1_000
# By the name of a served folder: it, and what has to be there for its file to be served.
_links: dict[str, tuple[Path, tuple[Path, ...]]] = {}
_once: dict[tuple[str, int], str] = {}  # by a file and when it was changed: its link
_trashes: dict[Path, IsDeleted] = {}  # by the data folder of a server
_lock = threading.Lock()


def new_served_folder(*origins: Path) -> Path:
    """Make a folder that Gradio may serve from, with a secret name, for as long as all its origins exist."""
    token = secrets.token_hex(16)
    folder = _served() / token
    folder.mkdir(parents=True)
    with _lock:
        if len(_links) % _FORGET_EVERY == _FORGET_EVERY - 1:
            for name in [name for name, (place, _) in _links.items() if not any(place.glob("*"))]:
                del _links[name]  # Gradio has cleaned it up
        _links[token] = folder, origins
    return folder


def publish_file(path: Path, name: str, *origins: Path) -> str:
    """Put a file where Gradio may serve it, under a name without its ending; return where.

    It is served until the file itself, or one of the other origins, is gone; Gradio removes the link earlier
    when it is a day old, and never the original.
    """
    folder = new_served_folder(path, *origins)
    plain = re.sub(r"[^\w -]+", "", name).strip()[:80] or "timbre"
    target = folder / f"{plain}{path.suffix}"
    try:
        os.link(path, target)
    except OSError:
        # Another file system, or one without hard links.
        try:
            shutil.copyfile(path, target)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # half of it, on a full disk
            raise
    return str(target)


def publish_once(path: Path, name: str) -> str:
    """As `publish_file`, and the same link again while the file is the same and the link is there."""
    key = (str(path), path.stat().st_mtime_ns)
    with _lock:
        known = _once.get(key)
    if known is None or not is_published(Path(known)) or not Path(known).exists():
        known = publish_file(path, name)
        with _lock:
            if len(_once) >= _FORGET_EVERY:
                _once.clear()
            _once[key] = known
    return known


def is_published(path: Path) -> bool:
    """Whether a file lies where we publish files: no browser sends one there."""
    return path.parent.parent == _served()


def is_alive(text: str) -> bool:
    """Whether no link that a path names leads to what was deleted; one whose origins are gone is removed."""
    with _lock:
        named = [_links[token] for token in set(_TOKEN.findall(text)) & _links.keys()]
    for folder, origins in named:
        if not all(origin.exists() for origin in origins):
            shutil.rmtree(folder, ignore_errors=True)
    return not any(_in_trash(origin) for _, origins in named for origin in origins)


def begin_links(data_dir: Path, is_deleted: IsDeleted) -> None:
    """Remove what an earlier server has left, of whose origins nothing is known; from now on ask this one."""
    shutil.rmtree(_served(), ignore_errors=True)
    _trashes[data_dir] = is_deleted


def _in_trash(origin: Path) -> bool:
    """Whether a file lies in the folder of a job or a voice, data_dir/table/id, that was deleted."""
    homes = [(home, asked) for home, asked in _trashes.items() if origin.is_relative_to(home)]
    return any(asked(*origin.relative_to(home).parts[:2]) for home, asked in homes)


def _served() -> Path:
    return Path(get_upload_folder()) / FOLDER


class ServedFiles:
    """ASGI middleware, next to Gradio: no deleted file is served, and an answer tells of its file alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(FILE):
            await self._app(scope, receive, send)
            return

        async def of_the_file(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.lower() in _OF_FILES]
                message = {**message, "headers": kept}
            await send(message)

        if not is_alive(scope["path"]):
            await refusal(404, "This file was deleted.")(scope, receive, send)
            return
        await self._app(_with_plain_range(scope), receive, of_the_file)


def _with_plain_range(scope: Scope) -> Scope:
    """Leave out a range that is none, on which Gradio fails: the RFC wants the whole file then."""
    asked = Headers(raw=scope["headers"]).get("range")
    if asked is None or _RANGE.fullmatch(asked.strip()):
        return scope
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"range"]}
