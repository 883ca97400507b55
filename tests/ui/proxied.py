"""A reverse proxy in front of a page, as sites and tunnels have them: it passes on, and says for whom."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.ui.launched import free_port, wait_for

OF_ONE_LINE = {"host", "connection", "transfer-encoding", "keep-alive"}


@contextmanager
def proxied(target: str, prefix: str = "", *, strip: bool = True, **added: str) -> Iterator[str]:
    """The address of a proxy that serves a page under a prefix, which it may take off, and adds headers."""
    client = httpx.AsyncClient(base_url=target, timeout=60)

    async def pass_on(request: Request) -> Response:
        path = request.url.path.removeprefix(prefix) if strip else request.url.path
        kept = {name: value for name, value in request.headers.items() if name not in OF_ONE_LINE}
        kept |= {"x-forwarded-host": request.headers["host"], "x-forwarded-proto": "http"} | added
        outgoing = client.build_request(
            request.method, f"{path or '/'}?{request.url.query}", headers=kept, content=request.stream()
        )
        answer = await client.send(outgoing, stream=True)
        headers = {name: value for name, value in answer.headers.items() if name not in OF_ONE_LINE}

        async def body() -> AsyncIterator[bytes]:
            try:
                async for chunk in answer.aiter_raw():
                    yield chunk
            finally:
                await answer.aclose()

        return StreamingResponse(body(), answer.status_code, headers)

    methods = ["GET", "HEAD", "POST", "OPTIONS"]
    routes = [Route(prefix + "/{path:path}", pass_on, methods=methods)]
    port = free_port()
    config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, "the proxy")
        yield f"http://127.0.0.1:{port}{prefix}/"
    finally:
        server.should_exit = True
        thread.join(10)
