"""A server process of its own under attack: what the attack cost it, and whether it still answered others.

`-s` shows what each attack cost: refusals, bytes that the server took, memory above its resting size, and the
slowest answer of /health meanwhile.
"""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rvc.files import ROOT
from tests.ui.launched import free_port, wait_for

Request = tuple[str, str, dict[str, str], bytes]  # method, path, headers and body
GROWTH_MB, HEALTH_S = 150.0, 1.0
HEALTH_EVERY_S = 0.1
_ADDRESSES = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Server:
    """One that serves a page with toy work, and an empty folder."""

    url: str
    pid: int
    data_dir: Path

    @property
    def place(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def resident_mb(self, what: str = "VmRSS") -> float:
        """Memory of the process in 10**6 bytes: now, or with VmHWM the most since `watched` began."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1024 / 1e6

    def left_in_cache(self) -> list[Path]:
        """Files that lie in the folder of uploads."""
        return sorted(path for path in (self.data_dir / "cache").rglob("*") if path.is_file())


@dataclass(kw_only=True)
class Cost:
    """What an attack cost the server, complete once it is over."""

    address: str = field(default_factory=lambda: f"127.0.1.{next(_ADDRESSES)}")  # whence it comes
    answers: Counter[int] = field(default_factory=Counter)  # by HTTP status; 0 where the line was cut
    sent_bytes: int = 0  # that the server, or the network's buffers, took
    grown_mb: float = 0.0
    slowest_health_s: float = 0.0


@contextmanager
def attacked(folder: Path, **settings: str) -> Iterator[Server]:
    """A server with these settings as environment variables."""
    data_dir, port = folder / "data", free_port()
    data_dir.mkdir(parents=True)
    environment = os.environ | {"NO_PROXY": "127.0.0.1", "TOY_STEP_S": "0.02"} | settings
    command = [sys.executable, "-m", "tests.load.server", str(port), str(data_dir)]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    server = Server(url=f"http://127.0.0.1:{port}/", pid=process.pid, data_dir=data_dir)
    try:
        wait_for(lambda: _health_s(server) is not None, "the server")
        yield server
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def watched(server: Server, name: str) -> Iterator[Cost]:
    """Measure an attack: nothing of the server may grow, or be slow, beyond what everybody is promised."""
    cost, over = Cost(), threading.Event()
    waits: list[float] = []

    def ask() -> None:
        while not over.is_set():
            took = _health_s(server)
            waits.append(float("inf") if took is None else took)
            over.wait(HEALTH_EVERY_S)

    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # the most resident from here on
    before_mb = server.resident_mb()
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield cost
    finally:
        over.set()
        asking.join()
    cost.grown_mb = server.resident_mb("VmHWM") - before_mb
    cost.slowest_health_s = max(waits)
    sys.stdout.write(
        f"\n{name}: {sum(cost.answers.values())} requests, answers {dict(sorted(cost.answers.items()))}, "
        f"{cost.sent_bytes / 1e6:.1f} MB sent, memory +{cost.grown_mb:.0f} MB, "
        f"/health at most {1000 * cost.slowest_health_s:.0f} ms\n"
    )
    assert cost.grown_mb < GROWTH_MB
    assert cost.slowest_health_s < HEALTH_S


def throw(
    server: Server,
    cost: Cost,
    requests: Iterable[tuple[str, str, dict[str, str], bytes]],
    *,
    at_once: int = 1,
) -> list[tuple[int, str]]:
    """Send requests, as (method, path, headers, body), each on a line of its own; return status and text.

    Headers are sent as they are, and a body without Content-Length as the one chunk after another that it is.
    """
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(lambda request: _throw(server, cost, request), requests))
    cost.answers.update(status for status, _ in answers)
    return answers


def _throw(server: Server, cost: Cost, request: Request) -> tuple[int, str]:
    method, path, headers, body = request
    chunked = "Content-Length" not in headers and bool(body)
    with opened(server, cost) as line:
        fields = {"Host": "{}:{}".format(*server.place), **headers}
        fields |= {"Transfer-Encoding": "chunked"} if chunked else {}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        line.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
        with suppress(OSError):  # whoever is refused may find the line cut
            for at in range(0, len(body), 65_536):
                part = body[at : at + 65_536]
                line.sendall(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                cost.sent_bytes += len(part)
                if has_come(line):
                    break
            else:
                line.sendall(b"0\r\n\r\n" if chunked else b"")
        response = http.client.HTTPResponse(line, method=method)
        try:
            response.begin()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""


def opened(server: Server, cost: Cost) -> socket.socket:
    """A connection from the attacker's address, which is none of the others'."""
    return socket.create_connection(server.place, timeout=60, source_address=(cost.address, 0))


def has_come(line: socket.socket) -> bool:
    """Whether an answer has come already."""
    line.setblocking(False)
    try:
        return bool(line.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        line.settimeout(60)


def _health_s(server: Server) -> float | None:
    """How long /health takes to answer, None where it does not."""
    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection(*server.place, timeout=30)
        connection.request("GET", "/health")
        connection.getresponse().read()
        connection.close()
    except OSError:
        return None
    return time.monotonic() - began
