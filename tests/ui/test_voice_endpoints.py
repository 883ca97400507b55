"""Voices by way of a program: deleting and undoing it, the pitch, and files that are no voice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from tests.hostile.attacker import Attacker
from tests.hostile.bad_files import zipped
from tests.toy_worker import write_voice
from tests.ui.launched import RECORDING, Launched, client_to, launched, wait_for
from tests.ui.strangers import refusal


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_to(page)


@pytest.fixture
def voice(client: Client, tmp_path: Path) -> dict[str, Any]:
    return imported(client, tmp_path)


def imported(client: Client, folder: Path) -> dict[str, Any]:
    """A voice that does not know its pitch."""
    archive = folder / "voice.zip"
    folder = write_voice(folder / "voice", "Owl", f0={})
    archive.write_bytes(zipped({path.name: path.read_bytes() for path in folder.iterdir()}))
    row: dict[str, Any] = client.predict([handle_file(archive)], "", api_name="/import_model")
    return row


def listed(client: Client, *, deleted: bool = False) -> list[str]:
    return [row["id"] for row in client.predict(deleted, api_name="/list_models")]


def test_a_deleted_voice_comes_back_until_it_is_deleted_for_good(
    client: Client, page: Launched, voice: dict[str, Any]
) -> None:
    gone = client.predict(voice["id"], api_name="/delete_model")
    assert (gone["model_name"], gone["purge_at"] > gone["deleted_at"]) == ("Owl", True)
    assert voice["id"] not in listed(client)
    assert voice["id"] in listed(client, deleted=True)
    assert voice["id"] not in listed(client_to(page), deleted=True)
    assert "The voice Owl was deleted; choose another." in refusal(client, voice["id"], api_name="/get_model")
    for name in ("/restore_model", "/delete_model"):
        assert "There is no voice" in refusal(client_to(page), voice["id"], api_name=name)
    back = client.predict(voice["id"], api_name="/restore_model")
    assert (back["deleted_at"], back["purge_at"]) == (None, None)
    assert voice["id"] in listed(client)
    client.predict(voice["id"], api_name="/delete_model")
    client.predict(voice["id"], purge=True, api_name="/delete_model")
    assert "There is no voice" in refusal(client, voice["id"], api_name="/restore_model")
    assert "comes with Timbre" in refusal(client, "builtin-kathleen", True, True, api_name="/delete_model")


@pytest.fixture
def slow_page(tmp_path: Path) -> Iterator[Launched]:
    """One whose conversions take minutes."""
    with launched(tmp_path / "slow", steps=10_000) as page:
        yield page


def test_a_voice_in_use_is_deleted_by_force_alone_and_its_job_says_why(
    slow_page: Launched, tmp_path: Path
) -> None:
    client = client_to(slow_page)
    voice = imported(client, tmp_path)
    upload = client.predict(handle_file(RECORDING), api_name="/upload_target_audio")["job_id"]
    job = client.predict(upload, voice["id"], {}, api_name="/start_conversion")["id"]

    def row() -> dict[str, Any]:
        found: dict[str, Any] = client.predict(job, api_name="/job_status")
        return found

    wait_for(lambda: row()["status"] == "converting", "the conversion to run")
    for force in (False, "no", None):
        assert "Owl is in use by 1 conversion" in refusal(
            client, voice["id"], force, api_name="/delete_model"
        )
    client.predict(voice["id"], True, api_name="/delete_model")
    last = list(client.submit(job, api_name="/follow_job"))[-1]
    said = "The voice Owl was deleted; choose another."
    assert (last["status"], last["error_message"]) == ("failed", said)
    assert said in refusal(client, job, api_name="/retry_job")
    assert said in refusal(client, upload, voice["id"], {}, api_name="/start_conversion")


def test_the_pitch_of_a_voice_is_set_in_every_way(
    client: Client, page: Launched, voice: dict[str, Any]
) -> None:
    def median(**said: Any) -> float:  # noqa: ANN401  # whatever the endpoint takes
        row = client.predict(voice["id"], api_name="/set_voice_pitch", **said)
        assert row["f0"] == client.predict(voice["id"], api_name="/get_model")["f0"]
        return float(row["f0"]["median_hz"])

    assert [median(pitch=word) for word in ("low", "middle", "high", 98, "98.5")] == [
        120.0,
        165.0,
        215.0,
        98.0,
        98.5,
    ]
    assert median(pitch={"median_hz": 300, "low_hz": 200, "high_hz": 600}) == 300.0
    assert 90 < median(file=handle_file(RECORDING)) < 115
    both = {"pitch": "low", "file": handle_file(RECORDING)}
    for wrong, told in (
        ({}, "Say one thing of the pitch"),
        (both, "Say one thing of the pitch"),
        ({"pitch": "alto"}, "none that is known; give low, middle, high"),
        ({"pitch": 5}, "is no voice's; give one from 50 to 1100 Hz"),
        ({"file": handle_file(__file__)}, "is not a recording"),
    ):
        assert told in refusal(client, voice["id"], api_name="/set_voice_pitch", **wrong)
    stranger = client_to(page)
    assert "There is no voice" in refusal(stranger, voice["id"], "low", api_name="/set_voice_pitch")
    assert "comes with Timbre" in refusal(client, "builtin-kathleen", "low", api_name="/set_voice_pitch")
    bundle = client.predict(voice["id"], api_name="/export_model")
    copy = client.predict([handle_file(bundle)], "", api_name="/import_model")
    assert copy["f0"] == client.predict(voice["id"], api_name="/get_model")["f0"]


def test_of_what_is_gone_from_a_list_no_listener_answers_in_gradio_s_words(page: Launched) -> None:
    """A page may show a list that the server has not sent to this session, or not any more."""
    somebody = Attacker(url=page.url, token="somebody-with-an-old-page")
    config = somebody.client.get("config").json()
    lists = {"convert-voice", "voices", "deleted-voices", "jobs", "tokens", "admin-jobs"}
    shown = {one["id"] for one in config["components"] if one["props"].get("elem_id") in lists}
    assert len(shown) == len(lists)
    wishes = [
        (one["id"], ["0" * 32 if number in shown else None for number in one["inputs"]])
        for one in config["dependencies"]
        if shown & set(one["inputs"]) and one.get("backend_fn", True)
    ]
    assert len(wishes) >= 20
    answers = somebody.join(wishes)
    assert not [heard for heard in answers if "list of choices" in heard.text]
    assert sum("There is no voice" in str(heard.error) for heard in answers) >= 6


def test_a_zip_without_a_voice_is_told_so(client: Client, tmp_path: Path) -> None:
    (tmp_path / "inner.zip").write_bytes(zipped({"x/inner.zip": zipped({"v.pth": b"x"})}))
    said = refusal(client, [handle_file(tmp_path / "inner.zip")], "", api_name="/import_model")
    assert "No voice (.pth) is in the zip, but another archive, inner.zip; unpack it" in said
