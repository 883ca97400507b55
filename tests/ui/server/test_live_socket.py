"""The door to Live: who gets in, what comes back, what is refused in a sentence, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipelines.live.loopback import delay_between, measure
from pipelines.store.records import Caller, new_job
from rvc.audio.level import loud_rms
from rvc.audio.resampling import resample
from rvc.errors import ConfigError
from tests.tiny import song, toy_bundle
from tests.ui.launched import FRIEND_SITE, Launched, launched, wait_for
from ui.server import live_socket

RATE_HZ = 48_000
PATIENCE_S = 120.0
Row = dict[str, Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("live"), allowed_origins=FRIEND_SITE) as page:
        add_hum(page, "hum")
        yield page


def add_hum(page: Launched, voice_id: str, user: str = "me") -> str:
    """A voice of the toy engine, of somebody."""
    owner = owner_of(page, user)
    job = new_job(owner, "training", status="completed", seq=0, model_name="Hum", upload_id="u")
    bundle = toy_bundle(page.data_dir / "bundle")
    return str(page.jobs.library.adopt(job | {"id": voice_id}, bundle)["id"])


def token_of(user: str) -> str:
    return f"a-secret-of-a-test-{user}"


def owner_of(page: Launched, user: str) -> str:
    from pipelines.users.signatures import Signatures

    return Signatures((page.data_dir / "secret").read_text().strip()).client_id(token_of(user))


@contextmanager
def door(page: Launched, user: str = "me", **headers: str) -> Iterator[ClientConnection]:
    given = {"x-timbre-token": token_of(user)} | {name.replace("_", "-"): v for name, v in headers.items()}
    address = page.url.replace("http", "ws").rstrip("/") + "/live"
    with connect(address, additional_headers=given, proxy=None, open_timeout=PATIENCE_S) as socket:
        yield socket


def start(**wishes: object) -> str:
    return json.dumps({"do": "start", "model_id": "hum", "rate_hz": RATE_HZ} | wishes)


def until(socket: ClientConnection, *events: str) -> tuple[Row, NDArray[np.int16]]:
    """Read until one of these events, or the end; return it and the sound that came before."""
    sound = b""
    while True:
        message = socket.recv(timeout=PATIENCE_S)
        if isinstance(message, bytes):
            sound += message
            continue
        event = json.loads(message)
        if event["event"] in (*events, "refused", "over"):
            return event, np.frombuffer(sound, "<i2")


def pcm(seconds: float) -> bytes:
    wav = resample(song(seconds), 16_000, RATE_HZ)
    return bytes((wav * 32_767).astype("<i2").tobytes())


def speak(socket: ClientConnection, seconds: float = 1.5) -> None:
    sound = pcm(seconds)
    for at in range(0, len(sound), 1_920):
        socket.send(sound[at : at + 1_920])


def is_empty(page: Launched) -> bool:
    """Whether nobody sits in the seat, and no folder lies there without a row."""
    known = {row["id"] for row in page.jobs.registry.list("jobs")}
    folders = {path.name for path in (page.data_dir / "jobs").iterdir()}
    return folders <= known and page.jobs.live._taken_by is None


@pytest.fixture
def page(served: Launched) -> Iterator[Launched]:
    yield served
    wait_for(lambda: is_empty(served), "an empty seat")


def test_who_speaks_is_heard_in_the_voice_and_keeps_a_take(page: Launched) -> None:
    with door(page) as socket:
        socket.send(start(semitones=0))
        ready, _ = until(socket, "ready")
        assert ready["rate_hz"] == RATE_HZ
        assert ready["delay_ms"] >= ready["block_ms"]
        speak(socket)
        socket.send(json.dumps({"do": "bypass", "on": True}))
        socket.send(json.dumps({"do": "pitch", "semitones": 2.5}))
        socket.send(json.dumps({"do": "stop"}))
        over, sound = until(socket)
    assert over["event"] == "over"
    assert np.abs(sound).max() > 300
    row = page.jobs.get(Caller(owner_of(page, "me")), over["job_id"])
    assert (row["type"], row["status"], row["model_name"]) == ("conversion", "completed", "Hum")
    made = page.jobs.files.result_path(Caller(owner_of(page, "me")), row["id"])
    said = page.jobs.files.input_path(Caller(owner_of(page, "me")), row["id"], decoded=True)
    assert sf.info(made).frames == sf.info(said).frames == round(1.5 * RATE_HZ)
    wav = sf.read(made, dtype="float32")[0]
    assert loud_rms(resample(wav, RATE_HZ, 16_000)) > 0.01
    assert page.jobs.library.stats(Caller("x", admin=True), "hum")["uses"] >= 1
    with pytest.raises(Exception, match="no job"):
        page.jobs.get(Caller("somebody-else"), row["id"])


def test_who_goes_without_a_word_keeps_the_take_too(page: Launched) -> None:
    before = len(page.jobs.registry.list("jobs", type="conversion", status="completed"))
    with door(page) as socket:
        socket.send(start(delay="low", rate_hz=RATE_HZ))
        until(socket, "ready")
        speak(socket)
    wait_for(
        lambda: len(page.jobs.registry.list("jobs", type="conversion", status="completed")) == before + 1,
        "a take",
    )


def test_voices_are_changed_while_somebody_speaks(page: Launched) -> None:
    other = add_hum(page, "hum-2")
    with door(page) as socket:
        socket.send(start())
        until(socket, "ready")
        speak(socket, 0.8)
        socket.send(json.dumps({"do": "voice", "model_id": "nobody"}))
        refused, _ = until(socket, "voice")
        assert "nobody" in refused["message"]
        socket.send(json.dumps({"do": "voice", "model_id": other}))
        changed, _ = until(socket, "voice")
        assert changed["model_id"] == other
        speak(socket, 0.8)
        socket.send(json.dumps({"do": "stop"}))
        over, sound = until(socket)
    assert sound.size
    assert page.jobs.get(Caller(owner_of(page, "me")), over["job_id"])["model_id"] == other


def test_one_speaks_at_a_time(page: Launched) -> None:
    add_hum(page, "theirs", "them")
    with door(page) as socket:
        socket.send(start())
        until(socket, "ready")
        for user, model_id, said in (("me", "hum", "in another tab"), ("them", "theirs", "Somebody else")):
            with door(page, user) as second:
                second.send(start(model_id=model_id))
                refused, _ = until(second)
                assert refused["event"] == "refused"
                assert said in refused["message"]
        speak(socket, 0.5)
        socket.send(json.dumps({"do": "stop"}))
        assert until(socket)[0]["event"] == "over"


def test_a_voice_that_is_deleted_meanwhile_ends_it(page: Launched) -> None:
    add_hum(page, "short-lived")
    me = Caller(owner_of(page, "me"))
    with door(page) as socket:
        socket.send(start(model_id="short-lived"))
        until(socket, "ready")
        with pytest.raises(Exception, match="in use by 1 session of Live"):
            page.jobs.delete_voice(me, "short-lived")
        page.jobs.delete_voice(me, "short-lived", force=True)
        refused, _ = until(socket)
    assert refused == {"event": "refused", "message": "The voice Hum was deleted; choose another."}


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("nonsense", "no message of Live"),
        ("[" * 5_000, "no message of Live"),
        (b"\0\0", "no message of Live"),
        (json.dumps({"do": "stop"}), "no message of Live"),
        (json.dumps({"do": 5}), "no message of Live"),
        (start(model_id="../hum"), "There is no voice"),
        (start(model_id="theirs-too"), "There is no voice"),
        (start(model_id=7), "model_id"),
        (start(rate_hz=47_999), "rate_hz"),
        (start(rate_hz=None), "rate_hz"),
        (start(delay="none"), "delay"),
        (start(semitones=99), "semitones"),
        (start(semitones="high"), "semitones"),
        (start(folder="/etc"), "no setting 'folder'"),
    ],
)
def test_a_wrong_beginning_is_refused_in_a_sentence(page: Launched, first: str | bytes, said: str) -> None:
    with door(page) as socket:
        socket.send(first)
        refused, _ = until(socket)
    assert refused["event"] == "refused"
    assert said in refused["message"]
    assert refused["message"].endswith(".")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (["{"], "no message of Live"),
        ([json.dumps({"do": "dance"})], "no message of Live"),
        ([json.dumps({"do": "bypass", "on": "yes"})], "no message of Live"),
        ([json.dumps({"do": "pitch", "semitones": [1]})], "semitones"),
        ([b"\0"], "no message of Live"),
        ([bytes(4 * RATE_HZ)], "no message of Live"),
        ([bytes(2 * RATE_HZ)] * 8, "faster than it is spoken"),
    ],
)
def test_a_client_that_sends_garbage_or_too_fast_is_refused(
    page: Launched, sent: list[str | bytes], said: str
) -> None:
    before = len(page.jobs.registry.list("jobs"))
    with door(page) as socket:
        socket.send(start())
        if len(sent) > 1:  # what comes before somebody listens is not heard
            until(socket, "ready")
        for message in sent:
            socket.send(message)
        refused, _ = until(socket)
    assert refused["event"] == "refused"
    assert said in refused["message"]
    wait_for(lambda: is_empty(page), "an empty seat")
    assert len(page.jobs.registry.list("jobs")) == before


def test_who_sends_nothing_is_told_so(page: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_socket, "SILENT_S", 1.0)
    monkeypatch.setattr(live_socket, "START_S", 1.0)
    with door(page) as socket:
        refused, _ = until(socket)
        assert "Nothing was asked for" in refused["message"]
    with door(page) as socket:
        socket.send(start())
        until(socket, "ready")
        over, _ = until(socket)
    assert "No sound has come" in over["message"]
    assert "job_id" not in over


def test_a_child_that_dies_is_told_of(page: Launched) -> None:
    with door(page) as socket:
        socket.send(start())
        until(socket, "ready")
        page.jobs.live._sitting.kill()  # type: ignore[union-attr]
        refused, _ = until(socket)
    assert "fault of the program" in refused["message"]


def test_other_sites_and_who_is_nobody_are_kept_out(page: Launched) -> None:
    with pytest.raises(InvalidStatus), door(page, origin="https://stranger.example"):
        pass
    with door(page, origin=FRIEND_SITE) as socket:
        socket.send("nonsense")
        assert until(socket)[0]["event"] == "refused"
    with connect(page.url.replace("http", "ws").rstrip("/") + "/live", proxy=None) as socket:
        assert "Nothing tells who is calling" in until(socket)[0]["message"]


def test_without_a_login_nobody_gets_in(tmp_path: Path) -> None:
    from pipelines.users.accounts import Accounts

    users = tmp_path / "users.json"
    Accounts(users).put("ada", "a long password of hers")
    refused = pytest.raises((InvalidStatus, ConnectionClosed))
    with launched(tmp_path, auth_file=users) as page, refused, door(page):
        pass


def test_the_loopback_finds_the_delay_and_hears_the_server_s_refusal(page: Launched) -> None:
    wav = resample(song(3.0), 16_000, RATE_HZ)
    found = measure(page.url, "hum", wav, RATE_HZ, headers={"x-timbre-token": token_of("me")})
    assert found.job_id is not None
    assert 0.15 < found.delay_s < 2.0
    assert found.heard.size > 2 * RATE_HZ
    with pytest.raises(ConfigError, match="no voice"):
        measure(page.url, "nobody", wav, RATE_HZ, headers={"x-timbre-token": token_of("me")})


def test_a_delay_is_found_to_a_millisecond() -> None:
    wav = song(4.0)
    late = np.concatenate([np.zeros(3_200, np.float32), 0.3 * wav])
    assert delay_between(wav, late, 16_000) == pytest.approx(0.2, abs=0.001)
