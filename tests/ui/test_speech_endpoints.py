"""What a program does with texts: one, watched or not, or a file of lines; and what it is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from tests.ui.launched import PATIENCE_S, RECORDING, Launched, client_to, launched
from tests.ui.strangers import refusal

VOICE = "builtin-kathleen"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("speech"), steps=1) as page:
        yield page


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_to(page)


@pytest.fixture
def unchanged(page: Launched) -> Iterator[None]:
    """Nothing is left behind, in the registry or on the disk."""

    def state() -> tuple[set[str], set[str]]:
        rows = {row["id"] for row in page.jobs.registry.list("jobs")}
        return rows, {path.name for path in (page.data_dir / "jobs").iterdir()}

    before = state()
    yield
    assert state() == before


def lines_file(tmp_path: Path, content: bytes) -> object:
    (tmp_path / "lines.txt").write_bytes(content)
    return handle_file(tmp_path / "lines.txt")


def test_languages_are_listed_with_their_synthesisers(client: Client) -> None:
    rows = client.predict(api_name="/speech_languages")
    assert {"de", "en-us", "zh"} <= {row["language"] for row in rows}
    assert all("espeak-ng" in row["synthesisers"] for row in rows)


def test_a_text_is_said_watched_downloaded_and_kept_as_it_was_typed(client: Client) -> None:
    settings = {"language": "en-GB", "speed": 1.2, "format": "flac"}
    rows = list(client.submit("Hello there.\nIt is me.", VOICE, settings, api_name="/say_text"))
    last = rows[-1]
    assert (last["type"], last["status"], last["settings"]) == ("speech", "completed", settings)
    assert last["files"][0]["name"] == "Hello there. It is me.txt"
    for path in (last["audio"], client.predict(last["id"], api_name="/download_audio")):
        assert sf.info(path).duration > 0.3
    kept = Path(client.predict(last["id"], api_name="/download_input"))
    assert kept.read_text(encoding="utf-8") == "Hello there.\nIt is me."
    assert client.predict(last["id"], api_name="/pitch_contours")["result_hz"]
    assert "no recording to measure" in refusal(client, last["id"], api_name="/validate_audio")
    for api_name, more in (("/start_conversion", (VOICE,)), ("/prepare_voice", ())):
        assert "sent in to be spoken" in refusal(client, last["id"], *more, api_name=api_name)


def test_a_text_is_started_at_once_and_started_again_from_its_own_upload(
    page: Launched, client: Client
) -> None:
    row = client.predict("One more. " * 30, VOICE, {}, api_name="/start_speech")
    assert row["status"] == "pending"
    first = client.submit(row["id"], api_name="/follow_job").result(timeout=PATIENCE_S)
    assert first["status"] == "completed"
    page.jobs.registry.update("jobs", row["id"], status="interrupted")
    again = client.predict(row["id"], api_name="/retry_job")
    last = client.submit(again["id"], api_name="/follow_job").result(timeout=PATIENCE_S)
    assert (last["status"], last["files"]) == ("completed", first["files"])


def test_every_line_of_a_file_is_a_sound_file_in_a_zip_with_a_table(client: Client, tmp_path: Path) -> None:
    sent = lines_file(tmp_path, b"Open the gate!\n\nWho goes there?\n")
    row = client.predict(sent, VOICE, {"language": "en", "format": "ogg"}, api_name="/start_speech_batch")
    assert row["type"] == "batch"
    last = client.submit(row["id"], api_name="/follow_job").result(timeout=PATIENCE_S)
    assert [file["status"] for file in last["files"]] == ["completed", "failed", "completed"]
    assert last["files"][1]["reason"] == "Line 2 is empty; write what shall be said."
    with zipfile.ZipFile(last["zip"]) as zipped:
        assert set(zipped.namelist()) == {
            "1 Open the gate.ogg", "3 Who goes there.ogg", "results.csv", "results.json",
        }  # fmt: skip
    assert Path(client.predict(row["id"], 3, api_name="/download_batch_file")).suffix == ".ogg"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("", {}, "The text is empty; write what shall be said."),
        ("...", {}, "holds no word that could be spoken"),
        ("a" * 100_000, {}, "has 100,000 characters; send at most 20,000 at a time"),
        ("Hi", {"language": "tlh"}, "speak no language 'tlh'"),
        ("Hi", {"language": 7}, "'language' is 7; give text"),
        ("Hi", {"speed": 9}, "'speed' is 9; give a number from 0.5 to 2"),
        ("Hi", {"synthesiser": "hal"}, "'synthesiser' is 'hal'; give one of"),
        ("Hi", {"loudness": 1}, "no setting 'loudness'"),
        ("Hi", [1], "not a JSON object"),
    ],
)
def test_what_cannot_be_said_is_refused_in_a_sentence(
    client: Client, text: str, settings: object, said: str
) -> None:
    for api_name in ("/start_speech", "/say_text"):
        assert said in refusal(client, text, VOICE, settings, api_name=api_name)


@pytest.mark.usefixtures("unchanged")
def test_where_no_synthesiser_is_installed_that_is_said(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.speech.espeak._voices", dict)
    monkeypatch.setattr("pipelines.speech.kokoro.find_spec", lambda _: None)
    said = "No speech synthesiser is installed on this server"
    assert said in refusal(client, "Hi", VOICE, {}, api_name="/start_speech")
    sent = lines_file(tmp_path, b"Hi\n")
    assert said in refusal(client, sent, VOICE, {}, api_name="/start_speech_batch")
    assert client.predict(api_name="/speech_languages") == []


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n \n", "lines.txt is empty"),
        (b"\x00\x01\x02\x03", "lines.txt is no text in UTF-8"),
        (RECORDING.read_bytes(), "lines.txt is no text in UTF-8"),
        (b"!\n?\n", "lines.txt holds no line that could be spoken"),
    ],
)
def test_a_file_that_holds_no_lines_is_refused(
    client: Client, tmp_path: Path, content: bytes, said: str
) -> None:
    sent = lines_file(tmp_path, content)
    assert said in refusal(client, sent, VOICE, {}, api_name="/start_speech_batch")


@pytest.mark.usefixtures("unchanged")
def test_nothing_is_kept_of_a_text_for_a_voice_that_is_not_there(client: Client) -> None:
    assert "There is no voice" in refusal(client, "Hi", "0" * 32, {}, api_name="/start_speech")


def test_emoji_and_numbers_are_said(client: Client) -> None:
    for text in ("😀", "42", "👩‍👩‍👧 and more"):
        assert client.submit(text, VOICE, {}, api_name="/say_text").result()["status"] == "completed"
