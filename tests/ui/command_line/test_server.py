"""The same commands on a running server, through its endpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf

from tests.cheap_accounts import accounts_of
from tests.ui.command_line.conftest import Call, everything_in
from tests.ui.launched import RECORDING, VOICE_FILES, Launched, client_to, launched

TOKEN = "a-secret-of-a-command-line"


@pytest.fixture
def at(page: Launched) -> tuple[str, ...]:
    """The server, as somebody of its own."""
    return ("--server", page.url, "--token", TOKEN)


def test_one_recording_and_many_are_converted_on_a_server_that_keeps_nothing(
    call: Call, page: Launched, at: tuple[str, ...], tmp_path: Path, data_dir: Path
) -> None:
    target = tmp_path / "out.flac"
    assert call("convert", RECORDING, "--voice", "kathleen", "-o", target, *at).status == 0
    assert target.read_bytes()[:4] == b"fLaC"
    ended = call("convert", RECORDING, VOICE_FILES[0], "--voice", "kathleen", "-o", tmp_path / "many", *at)
    assert ended.status == 0
    assert everything_in(tmp_path / "many") == {"visitor.wav", "wren-1.wav"}
    client = client_to(page, headers={"x-timbre-token": TOKEN})
    assert client.predict(api_name="/list_jobs") == []
    assert not data_dir.exists()


def test_a_voice_is_made_on_a_server_under_a_token(call: Call, at: tuple[str, ...], tmp_path: Path) -> None:
    ended = call("train", VOICE_FILES[0], "--name", "Served", "--consent", *at)
    assert ended.status == 0
    assert "Served" in call("voices", *at).out
    assert "Served" not in call("voices", *at[:2]).out
    archive = tmp_path / "served.zip"
    assert call("export", "served", "-o", archive, *at).status == 0
    assert call("import", archive, "--name", "Twin", *at).status == 0
    (report,) = call("prepare", VOICE_FILES[0], "--json", *at).rows
    assert call("train", "--prepared", report["job_id"], "--name", "Third", "--consent", *at).status == 0


def test_what_a_server_refuses_is_its_own_sentence(call: Call, at: tuple[str, ...], tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    ended = call("convert", bad, "--voice", "kathleen", "-o", tmp_path / "out.wav", *at)
    assert (ended.status, "not a recording" in ended.sentence) == (2, True)
    ended = call("convert", RECORDING, "--voice", "nobody", "-o", tmp_path / "out.wav", *at)
    assert (ended.status, "no voice" in ended.sentence) == (2, True)
    assert not (tmp_path / "out.wav").exists()


def test_live_is_measured_on_a_server(call: Call, at: tuple[str, ...], tmp_path: Path) -> None:
    wav, rate_hz = sf.read(RECORDING, dtype="float32")
    sf.write(tmp_path / "short.wav", wav[: 4 * rate_hz], rate_hz)
    ended = call("live-test", tmp_path / "short.wav", "--voice", "kathleen", "--json", *at)
    (row,) = ended.rows
    assert 0.05 < row["delay_s"] < 2
    assert ended.status == int(row["behind"])
    ended = call("live-test", "--voice", "kathleen")
    assert (ended.status, "--server" in ended.sentence) == (2, True)


def test_a_wrong_token_is_refused_in_a_sentence(call: Call, at: tuple[str, ...], tmp_path: Path) -> None:
    ended = call("voices", *at[:2], "--token", "tmb_" + 40 * "x")
    assert (ended.status, "token is not valid" in ended.sentence) == (2, True)
    with launched(tmp_path, auth_file=accounts_of(tmp_path, "root").path) as guarded:
        ended = call("voices", "--server", guarded.url)
        assert (ended.status, "asks for a login" in ended.sentence) == (2, True)
        ended = call("voices", "--server", guarded.url, "--token", "tmb_" + 40 * "x")
        assert (ended.status, "does not accept this token" in ended.sentence) == (2, True)


def test_what_is_no_timbre_is_told(call: Call, page: Launched) -> None:
    ended = call("voices", "--server", f"{page.url}nowhere")
    assert (ended.status, "Timbre" in ended.sentence) == (2, True)
