"""Attacks on a server process: refused, forgotten at once, and nobody else notices."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from tests.hostile.attacked import Cost, Request, Server, attacked, has_come, opened, throw, watched
from tests.hostile.attacker import Attacker
from tests.sounds import tone, write
from tests.ui.launched import wait_for

JSON = {"Content-Type": "application/json"}
BOUNDARY = "b0undary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
CALLS_AT_ONCE = 60
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///usr/share/sounds/a.wav\n#EXT-X-ENDLIST\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with attacked(
        tmp_path_factory.mktemp("attacked"), FILES_PER_HOUR="20", QUOTA_MB_PER_USER="3", TOY_STEPS="1000"
    ) as one:
        client(one).predict(api_name="/info")  # what the first call loads is part of its resting size
        yield one


def client(server: Server, **headers: str) -> Client:
    return Client(server.url, verbose=False, headers=headers or somebody(), httpx_kwargs={"timeout": 60})


def somebody() -> dict[str, str]:
    """Headers of a client that nobody has met."""
    return {"x-timbre-token": secrets.token_hex(16)}


def post(path: str, body: bytes, headers: dict[str, str], *, length: int | None = None) -> Request:
    """A POST that states its length, or another one."""
    stated = len(body) if length is None else length
    return "POST", path, {**headers, "Content-Length": str(stated)}, body


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    called = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{called}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def nested(size: int) -> bytes:
    """A call whose JSON takes much more memory than bytes."""
    return b'{"fn_index": 0, "session_hash": "s", "data": [' + b"[]," * (size // 3 - 20) + b"[]]}"


PATHS = ("queue/join", "run/info", "call/info", "call/v2/info", "cancel", "reset", "component_server")


@pytest.mark.parametrize("chunked", [False, True], ids=["stated", "chunked"])
def test_large_calls_are_refused_and_not_read(server: Server, chunked: bool) -> None:
    body = nested(45_000_000)
    with watched(server, f"45 MB of JSON, {'chunked' if chunked else 'its length stated'}") as cost:
        calls = [post(f"/gradio_api/{path}", body, JSON) for path in PATHS]
        if chunked:
            calls = [("POST", path, JSON, body) for _, path, _, body in calls]
        throw(server, cost, calls)
    assert set(cost.answers) <= {413, 404, 0}, "cut off, or answered"
    assert cost.answers[413] >= 3
    assert cost.sent_bytes < len(PATHS) * 12_000_000, "the server went on reading"


def test_many_calls_of_the_largest_size_at_once_cost_no_more_than_a_share(server: Server) -> None:
    wordy = json.dumps({"fn_index": 0, "session_hash": "s", "data": ["x" * 45] * 19_000}).encode()
    for name, body in (("of the most values", wordy), ("of the most brackets", nested(29_000))):
        with watched(server, f"60 calls {name} at once, without a cookie") as cost:
            throw(server, cost, [post("/gradio_api/queue/join", body, JSON) for _ in range(60)], at_once=30)
        assert cost.answers.keys() <= {200, 429}
        assert cost.answers[429] > 20
    with watched(server, "10 calls of 300,000 lists") as cost:
        throw(server, cost, [post("/gradio_api/queue/join", nested(990_000), JSON) for _ in range(10)])
    assert set(cost.answers) == {413}


def test_deep_json_is_a_refusal(server: Server) -> None:
    with watched(server, "JSON 300,000 levels deep") as cost:
        deep = b'{"data": ' + b"[" * 300_000 + b"]" * 300_000 + b"}"
        paths = ("queue/join", "run/info", "call/info", "call/v2/info")
        throw(server, cost, [post(f"/gradio_api/{path}", deep, JSON) for path in paths])
    assert not cost.answers.keys() & {200, 0}


def test_an_upload_of_many_files_counts_each_and_leaves_none(server: Server) -> None:
    before = server.left_in_cache()
    with watched(server, "an upload of 40 files, of which 20 are allowed") as cost:
        body = form(*(part("files", b"x" * 1_000, f"{number}.wav") for number in range(40)))
        throw(server, cost, [post("/gradio_api/upload", body, FORM | somebody())])
    assert set(cost.answers) == {429}
    assert server.left_in_cache() == before


def test_what_is_no_file_is_not_kept_in_memory(server: Server) -> None:
    body = form(part("files", b"x" * 2_900_000))
    with watched(server, "a field of 2.9 MB in the place of a file, 30 times") as cost:
        throw(
            server, cost, [post("/gradio_api/upload", body, FORM | somebody()) for _ in range(30)], at_once=6
        )
    assert set(cost.answers) <= {403, 0}


def test_uploads_within_the_quota_only_and_the_last_ones_stay(server: Server) -> None:
    me, file = somebody(), part("files", b"x" * 2_000_000, "a.wav")
    with watched(server, "four uploads of 2 MB with a quota of 3 MB, and one of 5") as cost:
        answers = throw(server, cost, [post("/gradio_api/upload", form(file), FORM | me) for _ in range(4)])
        throw(server, cost, [post("/gradio_api/upload", form(file, file, file), FORM | me)])
    assert cost.answers == {200: 4, 429: 1}
    kept = [Path(json.loads(text)[0]).is_file() for _, text in answers]
    assert kept == [False, False, False, True]


@pytest.mark.parametrize("told", [True, False], ids=["closed", "cut short"])
def test_an_upload_that_is_cut_off_leaves_nothing(server: Server, told: bool) -> None:
    before = server.left_in_cache()
    body = part("files", b"x" * 1_000_000, "a.wav")
    with watched(server, "ten uploads that end before their end") as cost:
        for _ in range(10):
            if told:  # the length is that of what comes, but the form has no end
                throw(server, cost, [post("/gradio_api/upload", body, FORM | somebody())])
            else:
                with opened(server, cost) as line:
                    fields = {**FORM, **somebody(), "Content-Length": "2000000", "Host": "127.0.0.1"}
                    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                    line.sendall(f"POST /gradio_api/upload HTTP/1.1\r\n{head}\r\n".encode() + body)
                    time.sleep(0.05)
        wait_for(lambda: server.left_in_cache() == before, "what was cut off to be gone")
    assert set(cost.answers) == ({400} if told else set())


def test_slow_uploads_of_one_address_leave_room_for_others(server: Server) -> None:
    lines, begun = [], part("files", b"", "a.wav")
    with watched(server, "60 uploads that never go on") as cost:
        for _ in range(60):
            line = opened(server, cost)
            fields = {**FORM, **somebody(), "Content-Length": "1000000", "Host": "127.0.0.1"}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            line.sendall(f"POST /gradio_api/upload HTTP/1.1\r\n{head}\r\n".encode() + begun)
            lines.append(line)
        wait_for(lambda: sum(has_come(line) for line in lines) >= 30, "those that are too many to be refused")
        refused = sum(_status(line) == 429 for line in lines)
        cost.answers[429] += refused
        assert client(server).predict(api_name="/account")["jobs_mb"] == 0
    assert refused == 60 - 30, "six of a user, five times as many of an address"
    for line in lines:
        line.close()
    wait_for(lambda: not (server.data_dir / "cache").exists() or not _empty(server), "all to be gone")


def _status(line: socket.socket) -> int:
    return int(line.recv(12).split()[1]) if has_come(line) else 0


def _empty(server: Server) -> list[Path]:
    """Files without content in the folder of uploads."""
    return [path for path in server.left_in_cache() if not path.stat().st_size]


def test_what_gradio_would_convert_is_not_taken(server: Server) -> None:
    """Its ffmpeg would read the files that a playlist names."""
    before = server.left_in_cache()
    attacker = Attacker(url=server.url, token=secrets.token_hex(16))
    with watched(server, "a playlist with file:// entries, to every way in") as cost:
        body = form(part("video", PLAYLIST, "a.m3u8"))
        throw(server, cost, [post("/gradio_api/process_recording", body, FORM)])
        assert set(cost.answers) == {404}
        assert server.left_in_cache() == before
        file = attacker.send("a.m3u8", PLAYLIST)
        wishes = [
            (listener["id"], [file] * len(listener["inputs"]))
            for listener in attacker.listeners()
            if listener["inputs"]
        ]
        for heard in attacker.join(wishes[:50]):
            assert ".wav" not in heard.text
            cost.answers[200] += 1
    left = {path.suffix for path in set(server.left_in_cache()) - set(before)}
    ours = {".mp3", ".ogg", ".flac"}  # examples that some listeners offer
    assert left <= {".m3u8"} | ours


def test_who_reads_no_answers_blocks_nobody_else(server: Server, tmp_path: Path) -> None:
    recording = handle_file(write(tmp_path / "a.wav", "wav16", tone(1.0, 8_000), 8_000))
    mine = client(server)
    upload = mine.predict(recording, api_name="/upload_target_audio")["job_id"]
    job = mine.predict(upload, "voice", {}, api_name="/start_conversion")["id"]
    wishes = [json.dumps({"data": [job]}).encode()] * (CALLS_AT_ONCE + 40)
    with watched(server, "100 followers of one caller that nobody reads") as cost:
        me = {**JSON, **{"x-timbre-token": mine.headers["x-timbre-token"]}}
        throw(server, cost, [post("/gradio_api/call/follow_job", wish, me) for wish in wishes], at_once=4)
        other = client(server)
        job = other.predict(recording, api_name="/upload_target_audio")["job_id"]
        followed = other.submit(job, api_name="/follow_job")
        assert next(iter(followed))["status"] == "uploaded"
    assert cost.answers == {200: CALLS_AT_ONCE, 429: 40}


def test_a_full_queue_of_one_caller_is_not_that_of_others(server: Server) -> None:
    me = {**JSON, **somebody()}
    wish = json.dumps({"data": [""]}).encode()
    with watched(server, "300 calls of one caller at once") as cost:
        throw(server, cost, [post("/gradio_api/call/list_jobs", wish, me) for _ in range(300)], at_once=20)
        with ThreadPoolExecutor(5) as pool:
            others = list(pool.map(lambda _: client(server).predict(api_name="/account"), range(5)))
    assert len({other["user_id"] for other in others}) == 5
    assert not cost.answers.keys() - {200, 429}


def test_names_of_sessions_are_short(server: Server) -> None:
    """They are kept for as long as the server runs."""
    wishes = [
        json.dumps({"fn_index": 0, "session_hash": str(n) + "x" * 900_000, "data": []}).encode()
        for n in range(8)
    ]
    with watched(server, "sessions with names of 900 kB") as cost:
        for path in ("queue/join", "run/info"):
            throw(server, cost, [post(f"/gradio_api/{path}", wish, JSON) for wish in wishes * 5])
    assert not cost.answers.keys() & {200}
    with watched(server, "questions about uploads with names of 50 kB") as cost:
        paths = [f"/gradio_api/upload_progress?upload_id={n}{'x' * 50_000}" for n in range(40)]
        throw(server, cost, [("GET", path, somebody(), b"") for path in paths], at_once=20)


def test_a_body_does_not_state_one_length_and_come_in_another(server: Server) -> None:
    before = server.left_in_cache()
    with watched(server, "bodies of 2 MB that state one byte and come in chunks") as cost:
        for path, kind in (("upload", FORM), ("queue/join", JSON), ("call/info", JSON)):
            me = {**kind, **somebody(), "Transfer-Encoding": "chunked"}
            body = form(part("files", b"x" * 2_000_000, "a.wav"))
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            throw(server, cost, [("POST", f"/gradio_api/{path}", {**me, "Content-Length": "1"}, chunks)])
    assert cost.answers.keys() <= {400, 0}
    assert server.left_in_cache() == before


def test_what_calls_nothing_is_small(server: Server) -> None:
    with watched(server, "60 bodies of 900 kB to cancel and to reset") as cost:
        wishes = [post(f"/gradio_api/{path}", b"{" + b" " * 900_000, JSON) for path in ("cancel", "reset")]
        throw(server, cost, wishes * 30, at_once=20)
    assert cost.answers == {413: 60}


def test_answers_that_nobody_reads_are_counted_and_push_out_no_others(server: Server) -> None:
    wish = json.dumps({"data": []}).encode()
    with watched(server, "1,000 calls of ten callers that read no answer") as cost:
        for _ in range(10):
            me = {**JSON, **somebody()}
            throw(server, cost, [post("/gradio_api/call/account", wish, me) for _ in range(100)], at_once=8)
        assert client(server).predict(api_name="/account")["jobs_mb"] == 0
    assert cost.answers[200] <= CALLS_AT_ONCE * 5
    assert cost.answers[429] >= 700


def test_streams_of_one_address_leave_room_for_others(tmp_path: Path) -> None:
    lines, most = [], 10 * 2 * 5  # two for each call of a user, five times as many of an address
    with attacked(tmp_path, CALLS_AT_ONCE="10") as server, watched(server, "150 open streams") as cost:
        for number in range(150):
            line = opened(server, cost)
            fields = {**somebody(), "Host": "127.0.0.1"}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            line.sendall(f"GET /gradio_api/heartbeat/{number} HTTP/1.1\r\n{head}\r\n".encode())
            lines.append(line)
            time.sleep(0.01)
        wait_for(lambda: all(has_come(line) for line in lines), "all to be answered")
        cost.answers.update(_status(line) for line in lines)
        for line in lines:
            line.close()
    assert cost.answers == {200: most, 429: 150 - most}


@pytest.mark.parametrize("calls", [200, pytest.param(5_000, marks=pytest.mark.slow)])
def test_calls_leave_no_memory_behind(server: Server, calls: int) -> None:
    wish = json.dumps({"data": []}).encode()
    me, cost = {**JSON, **somebody()}, Cost()

    def call(_: int) -> None:
        ((status, text),) = throw(server, cost, [post("/gradio_api/call/account", wish, me)])
        assert status == 200
        throw(server, cost, [("GET", f"/gradio_api/call/account/{json.loads(text)['event_id']}", me, b"")])

    for warm_up in range(50):
        call(warm_up)
    before_mb = server.resident_mb()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(calls)))
    kept_kb = (server.resident_mb() - before_mb) * 1000 / calls
    assert kept_kb < (60 if calls < 1_000 else 12)
