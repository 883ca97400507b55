"""One file from the web, part by part: what was cut goes on where it ended, also in another process.

The only network code. It knows nothing of what a file is for and does not judge its content: see weights.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib import request as web
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from rvc.files import SPARE_BYTES, is_disk_full, room_in

logger = logging.getLogger(__name__)

MOST_BYTES = 1_000_000_000  # what a file of unknown size may have at most
EVENT_S = 0.25  # how often it tells how far it is
_BLOCK_BYTES = 1 << 18
_DOES_NOT_FIT = 416
_WORTH_RETRYING = {408, _DOES_NOT_FIT, 425, 429, 500, 502, 503, 504}

Steps = Generator[int, None, None]


class UnreachableError(Exception):
    """The file cannot be had; the text is the reason, as it reads behind "because" or in brackets."""


class _CutError(Exception):
    """This try failed; another may not."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    timeout_s: float = 20.0
    tries: int = 5
    pause_s: float = 1.0


def download(url: str, part: Path, size_bytes: int | None, patience: Patience) -> Steps:
    """Fill a part until it is the whole file, going on after every cut as long as tries bring something.

    While the server is silent, for `timeout_s` at most, nothing is yielded. Closing the generator stops it;
    what has come stays.
    """
    fruitless, reason = 0, "the connection was cut"
    while fruitless < patience.tries:
        had = file_bytes(part)
        if had == size_bytes:
            return
        if fruitless:
            yield from _pause(had, patience.pause_s * 2 ** (fruitless - 1))
        try:
            yield from _receive(url, part, size_bytes, patience.timeout_s)
        except _CutError as cut:
            reason = str(cut)
            logger.info("download of %s was cut at %d bytes: %s", part.name, file_bytes(part), reason)
            fruitless = 0 if file_bytes(part) > had else fruitless + 1
        else:
            return
    raise UnreachableError(reason)


def file_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(url: str, part: Path, size_bytes: int | None, timeout_s: float) -> Steps:
    had = file_bytes(part)
    with _answer(url, part, had, timeout_s) as response:
        if response.headers.get_content_type() == "text/html":
            # Of a proxy or a hotel's network; what came before is still good.
            raise UnreachableError(
                "a web page comes instead of the file, as where a network asks for a login"
            )
        if had and not _goes_on_at(response, had):
            had = 0  # a server may send everything instead
        announced = _announced(response, had)
        if size_bytes is not None and announced not in (None, size_bytes):
            part.unlink(missing_ok=True)
            raise UnreachableError(f"the file there has {announced} bytes instead of {size_bytes}")
        most = size_bytes or announced or MOST_BYTES
        if room_in(part.parent) < (needed := most - had):
            free_mb = (needed + SPARE_BYTES) / 1e6
            raise UnreachableError(f"{part.parent} has less than {free_mb:.0f} MB free")
        yield from _append(response, part, had, min(most, MOST_BYTES))
    if file_bytes(part) < (announced or 0):
        raise _CutError("the connection was cut")


def _answer(url: str, part: Path, had: int, timeout_s: float) -> HTTPResponse:
    headers = {"User-Agent": "Timbre", "Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    try:
        response: HTTPResponse = _opener().open(web.Request(url, headers=headers), timeout=timeout_s)
    except HTTPError as error:
        error.close()
        if error.code == _DOES_NOT_FIT:
            part.unlink(missing_ok=True)
        kind = _CutError if error.code in _WORTH_RETRYING else UnreachableError
        raise kind(f"the server answers {error.code}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _CutError(f"no connection: {reason}") from error
    return response


def _append(response: HTTPResponse, part: Path, had: int, most: int) -> Steps:
    """Write what comes behind the first `had` bytes of the part."""
    told = 0.0
    try:
        with part.open("ab" if had else "wb") as file:
            for block in _blocks(response):
                had += len(block)
                if had > most:
                    part.unlink()
                    raise UnreachableError(f"the file there has more than {most} bytes")
                file.write(block)
                if time.monotonic() - told >= EVENT_S:
                    told = time.monotonic()
                    yield had
    except OSError as error:
        if is_disk_full(error):
            part.unlink(missing_ok=True)
        raise UnreachableError(f"{part} cannot be written: {error.strerror}") from error


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read1(_BLOCK_BYTES)
        except (OSError, HTTPException) as error:
            raise _CutError(f"the connection was cut: {error or type(error).__name__}") from error
        if not block:
            return
        yield block


class _SafeRedirects(web.HTTPRedirectHandler):
    """Follows a publisher to where the file lies, but never from an encrypted connection to an open one."""

    def redirect_request(  # noqa: PLR0913 -- the library's signature
        self, req: web.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> web.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in {"https", urlsplit(req.full_url).scheme}:
            fp.close()
            raise URLError(f"it is sent on to an address of {scheme}, which is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> web.OpenerDirector:
    """Return an opener for the web alone: an address can name no file and no other protocol."""
    opener = web.OpenerDirector()
    web_alone = (web.ProxyHandler, web.HTTPHandler, web.HTTPSHandler)
    for handler in (*web_alone, web.HTTPDefaultErrorHandler, web.HTTPErrorProcessor, _SafeRedirects):
        opener.add_handler(handler())
    return opener


def _goes_on_at(response: HTTPResponse, had: int) -> bool:
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {had}-")


def _announced(response: HTTPResponse, had: int) -> int | None:
    """Return the size of the whole file as the server has it, None if it does not say."""
    length = response.headers.get("Content-Length", "")
    return had + int(length) if length.isdecimal() else None


def _pause(had: int, seconds: float) -> Steps:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield had
        time.sleep(min(left, EVENT_S))
