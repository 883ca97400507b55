"""Files that are sent in: the route that takes the place of Gradio's own upload.

Gradio writes whatever comes before anybody is asked, counts twenty files in one request as one, keeps what is
no file in memory, and leaves what was cut off. Here each file is counted as it begins and each piece as it is
written; a request that is refused, cut off or too slow leaves nothing.

    <cache>/<32 random hex digits>/<name as it was sent, made safe>
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import anyio
import anyio.to_thread
from gradio.utils import get_upload_folder
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pipelines.users.limits import require_share
from rvc.errors import LimitError, NotAllowedError, RvcError
from ui.server.answers import refusal, refusal_of
from ui.server.gate import UPLOAD
from ui.server.monitoring import SPARE_BYTES
from ui.server.services import error_message

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

    from pipelines.store.records import Caller
    from ui.server.services import Services

WAIT_S = 10.0  # for a place
TOLD_EVERY_S, TOLD_AFTER = 0.1, 30
IDLE_S = 60.0  # the longest silence of who sends
PIECE_BYTES = 1 << 18  # written at a time
MOST_HEADERS, LONGEST_NAME = 8_192, 60  # bytes, characters: its end, which says what it is
_UNSAFE = re.compile(r"[^\w. -]+")
NOT_ARRIVED = "The upload did not arrive whole; send it again."
TOO_SLOW = f"Nothing came for {IDLE_S:.0f} seconds, so the upload was given up; send it again."


class Uploads:
    """Takes in files of all callers, each within its share."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._cache = Path(get_upload_folder())
        self._under_way: list[_Upload] = []

    def routes(self) -> list[Route]:
        return [
            *(Route(path, self.take, methods=["POST"]) for path in (UPLOAD, f"{UPLOAD}/")),
            Route(f"{UPLOAD}_progress", self.tell, methods=["GET"]),
        ]

    async def take(self, request: Request) -> Response:
        """Answer with the list of paths under which the files lie, as Gradio's own route does."""
        length = request.headers.get("content-length", "")
        told = request.query_params.get("upload_id", "")
        try:
            if not length.isdecimal():
                raise NotAllowedError(
                    "Send files with their length (Content-Length), as browsers and gradio_client do."
                )
            caller = await anyio.to_thread.run_sync(self._services.caller, request)
            async with self._place(_Upload(caller, int(length), told)) as upload:
                await anyio.to_thread.run_sync(self._require_room, upload)
                paths = await self._written(request, upload)
        except _TooLargeError as error:
            return refusal(413, str(error))
        except RvcError as error:
            return refusal_of(error)
        except (ClientDisconnect, FormParserError):
            return refusal(400, NOT_ARRIVED)
        except TimeoutError:
            return refusal(408, TOO_SLOW)
        except OSError as error:
            return refusal(507, error_message(error))
        request.app.get_blocks().upload_file_set.update(paths)  # which `delete_cache` cleans
        return JSONResponse([str(path) for path in paths])

    async def tell(self, request: Request) -> Response:
        """Stream how far an upload of this id is, as Gradio's own route does."""
        told = request.query_params.get("upload_id", "")
        upload = None
        for _ in range(TOLD_AFTER):  # the page asks before it sends
            upload = next((one for one in self._under_way if told and one.told == told), None)
            if upload is not None:
                break
            await asyncio.sleep(TOLD_EVERY_S)
        return StreamingResponse(self._steps(upload), media_type="text/event-stream")

    async def _steps(self, upload: _Upload | None) -> AsyncIterator[str]:
        seen = 0
        while upload is not None and upload in self._under_way:
            if upload.arrived > seen:
                row = {"msg": "update", "orig_name": upload.name, "chunk_size": upload.arrived - seen}
                seen = upload.arrived
                yield f"data: {json.dumps(row)}\n\n"
            await asyncio.sleep(TOLD_EVERY_S)
        yield f"data: {json.dumps({'msg': 'done'})}\n\n"

    @asynccontextmanager
    async def _place(self, upload: _Upload) -> AsyncIterator[_Upload]:
        """Hold a place among the caller's uploads; wait for it a while, as some clients send many at once."""
        most, until_s = self._services.settings.uploads_at_once, time.monotonic() + WAIT_S
        while True:
            try:
                require_share("uploads", upload.caller, [(one.caller, 1) for one in self._under_way], most)
                break
            except LimitError:
                if time.monotonic() > until_s:
                    raise
            await asyncio.sleep(TOLD_EVERY_S)
        self._under_way.append(upload)
        try:
            yield upload
        finally:
            self._under_way.remove(upload)

    def _require_room(self, upload: _Upload) -> None:
        """Refuse what may not be sent, by its length."""
        services = self._services
        coming = sum(one.length - one.arrived for one in self._under_way)
        if shutil.disk_usage(services.settings.data_dir).free < coming + SPARE_BYTES:
            raise NotAllowedError(
                "There is no room for this on the server's disk; delete old jobs, or ask its owner."
            )
        services.jobs.quota.require(upload.caller, upload.length)

    async def _written(self, request: Request, upload: _Upload) -> list[Path]:
        limits, quota = self._services.jobs.limits, self._services.jobs.quota
        files = _Files(
            self._cache, lambda: limits.take("files", upload.caller), self._services.settings.max_sent_bytes
        )
        _, options = parse_options_header(request.headers.get("content-type", ""))
        parser = MultipartParser(options.get(b"boundary", b""), files.callbacks())
        chunks, piece = request.stream().__aiter__(), b""
        try:
            while True:
                with anyio.fail_after(IDLE_S):
                    chunk = await anext(chunks, b"")
                piece += chunk
                if piece and (not chunk or len(piece) >= PIECE_BYTES):
                    await anyio.to_thread.run_sync(parser.write, piece)
                    upload.arrived, upload.name, piece = upload.arrived + len(piece), files.name, b""
                if not chunk:
                    break
            paths = await anyio.to_thread.run_sync(files.finish)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(files.discard)
            raise
        await anyio.to_thread.run_sync(quota.arrived, upload.caller, paths)
        return paths


@dataclass(eq=False)
class _Upload:
    caller: Caller
    length: int  # of the request, in bytes
    told: str  # by which id somebody may ask how far it is
    arrived: int = 0
    name: str = ""  # of the file that comes


class _Files:
    """The files of one request, written as the parser meets them."""

    def __init__(self, cache: Path, count: Callable[[], None], most_bytes: int) -> None:
        self._cache, self._count, self._most_bytes = cache, count, most_bytes
        self._paths: list[Path] = []
        self._open: BinaryIO | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._header, self._header_bytes, self._ended = (b"", b""), 0, False
        self.name = ""  # of the file that comes

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._read_header(data[start:end], b""),
            "on_header_value": lambda data, start, end: self._read_header(b"", data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._start_file,
            "on_part_data": self._write,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def finish(self) -> list[Path]:
        """Return where the files lie; a FormParserError if the request ended before they did."""
        if not self._ended or not self._paths:
            raise FormParserError("cut off")
        return self._paths

    def discard(self) -> None:
        self._close()
        for path in self._paths:
            shutil.rmtree(path.parent, ignore_errors=True)

    def _begin(self) -> None:
        self._headers, self._header, self._header_bytes = [], (b"", b""), 0

    def _read_header(self, field: bytes, value: bytes) -> None:
        self._header_bytes += len(field) + len(value)
        if self._header_bytes > MOST_HEADERS:
            raise FormParserError("headers too long")
        self._header = (self._header[0] + field, self._header[1] + value)

    def _end_header(self) -> None:
        self._headers.append((self._header[0].lower(), self._header[1]))
        self._header = (b"", b"")

    def _start_file(self) -> None:
        _, options = parse_options_header(dict(self._headers).get(b"content-disposition", b""))
        if options.get(b"name") != b"files" or b"filename" not in options:
            raise NotAllowedError("An upload holds files only, each called 'files'.")
        self._count()
        sent = options[b"filename"].decode("utf-8", "replace").replace("\\", "/")
        self.name = _UNSAFE.sub("", Path(sent).name)[-LONGEST_NAME:].strip(". ") or "file"
        folder = self._cache / secrets.token_hex(16)
        folder.mkdir(parents=True)
        path = folder / self.name
        self._paths.append(path)
        self._open = path.open("wb")

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._open is None:
            raise FormParserError("no file")
        if self._open.tell() + end - start > self._most_bytes:
            raise _TooLargeError(
                f"{self.name} is too large; send files of at most {self._most_bytes / 1e6:g} MB."
            )
        self._open.write(memoryview(data)[start:end])

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _end(self) -> None:
        self._ended = True


class _TooLargeError(RvcError):
    """A file is larger than any that is let in."""
