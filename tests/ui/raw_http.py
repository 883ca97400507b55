"""Requests as they are sent, header by header, for tests of what a launched page answers to whom."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: (name in lower case, value), in order.
        text: The body.
    """

    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for key, value in self.headers if key == name), None)


def ask(url: str, path: str, *, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    """Send one request, follow nothing; `x_real_ip=` stands for the header x-real-ip."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        found = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(status=response.status, headers=found, text=text)
    finally:
        connection.close()
