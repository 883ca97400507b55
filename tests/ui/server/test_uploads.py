"""Files that are sent in: whole and in order, in places of their own, or nothing."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import httpx
import pytest

import ui.server.admission
import ui.server.uploads
from tests.ui.launched import Launched, wait_for
from tests.ui.raw_http import ask

FORM = "multipart/form-data; boundary=b"
ME = {"x-timbre-token": "a-secret-of-my-own"}


def send(page: Launched, files: list[tuple[str, bytes]], query: str = "") -> httpx.Response:
    parts = [("files", (name, content)) for name, content in files]
    return httpx.post(f"{page.url}gradio_api/upload{query}", files=parts, headers=ME)


def everything(page: Launched) -> list[Path]:
    return sorted(page.cache.rglob("*"))


@pytest.mark.parametrize("size", [0, 1, 100, (1 << 18) - 1, 1 << 18, 3_000_000])
def test_files_arrive_whole_and_in_order(page: Launched, size: int) -> None:
    # What looks like the end of a part is content as long as it is not the boundary.
    files = [(f"{n}.bin", (bytes([n]) + b"\r\n--")[: size or 0] * max(1, size // 5)) for n in range(4)]
    paths = [Path(path) for path in send(page, files).json()]
    assert [path.name for path in paths] == [name for name, _ in files]
    assert [path.read_bytes() for path in paths] == [content for _, content in files]
    assert len({path.parent for path in paths}) == len(paths)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "...", "/", "a/../../b", "..\\..\\b.wav", "a\0b", "\x1b[2J", "<img src=x>.wav", "C:\\x.wav",
     " ", "é" * 300, "\U0001f600" * 300 + ".wav", "con", "-rf", "a\r\nSet-Cookie: x=y", "%2e%2e%2fb"],
)  # fmt: skip
def test_names_never_become_paths(page: Launched, name: str) -> None:
    answer = send(page, [(name, b"x")])
    if answer.status_code == 400:  # the form itself cannot hold it
        return
    (path,) = (Path(path) for path in answer.json())
    assert path.read_bytes() == b"x"
    assert path.parent.parent == page.cache
    assert path.resolve() == path


def test_progress_is_told_while_a_file_comes(page: Launched) -> None:
    heard: list[dict[str, object]] = []

    def listen() -> None:
        url = f"{page.url}gradio_api/upload_progress?upload_id=mine"
        with httpx.stream("GET", url, headers=ME, timeout=30) as stream:
            heard.extend(json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))

    listening = threading.Thread(target=listen)
    listening.start()
    send(page, [("a.wav", b"x" * 3_000_000)], "?upload_id=mine")
    listening.join(30)
    assert heard[-1] == {"msg": "done"}
    assert {row.get("orig_name") for row in heard[:-1]} <= {"a.wav"}


def test_who_falls_silent_is_not_waited_for(page: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui.server.uploads, "IDLE_S", 0.3)
    monkeypatch.setattr(ui.server.admission, "BODY_S", 0.3)
    before = everything(page)
    begun = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\nsound'
    for path, kind, body in (
        ("upload", FORM, begun),
        ("queue/join", "application/json", b'{"data":'),
        ("cancel", "application/json", b"{"),
    ):
        head = f"POST /gradio_api/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        host, port = page.url.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as line:
            line.sendall(f"{head}Content-Length: 900\r\nx-timbre-token: {'y' * 20}\r\n\r\n".encode() + body)
            assert b" 408 " in line.recv(100), path
    wait_for(lambda: everything(page) == before, "what had come to be gone")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, "--b--\r\n"),
        (FORM, ""),
        (FORM, "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        (FORM, '--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n'),
        (FORM, "--b\r\n" + "X: y\r\n" * 5_000 + "\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 5_000, "x"),
        ("multipart/form-data", "--b\r\n"),
        ("application/json", "{}"),
        ("", "x"),
    ],
)  # fmt: skip
def test_a_form_without_files_is_refused_and_leaves_nothing(page: Launched, kind: str, body: str) -> None:
    before = everything(page)
    answer = ask(
        page.url, "/gradio_api/upload", method="POST", body=body, content_type=kind, x_timbre_token="y" * 20
    )
    assert answer.status in (400, 403)
    assert "Traceback" not in answer.text
    assert everything(page) == before
