"""Presets and samples by way of a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from pipelines.voices.bundle import MOST_PRESETS
from pipelines.voices.presets import MOST_OF_A_PERSON
from tests.hostile.bad_files import zipped
from tests.toy_worker import write_voice
from tests.ui.launched import VOICE_FILES, Launched, client_to
from tests.ui.strangers import refusal

LOW = {"transpose_semitones": -5, "format": "mp3"}


@pytest.fixture
def client(page: Launched) -> Client:
    """Somebody new."""
    return client_to(page)


def imported(client: Client, folder: Path, **card: Any) -> dict[str, Any]:  # noqa: ANN401
    archive = folder / "voice.zip"
    made = write_voice(folder / "voice", "Owl", **card)
    archive.write_bytes(zipped({path.name: path.read_bytes() for path in made.iterdir()}))
    row: dict[str, Any] = client.predict([handle_file(archive)], "", api_name="/import_model")
    return row


def names(client: Client, model_id: str = "") -> list[tuple[str, str | None]]:
    rows = client.predict(model_id, api_name="/list_presets")
    return [(row["name"], row["model_id"]) for row in rows]


def test_a_preset_is_kept_replaced_and_deleted_and_nobody_else_sees_it(
    client: Client, page: Launched
) -> None:
    saved = client.predict(" My  choir ", LOW, api_name="/save_preset")
    assert saved == {"name": "My choir", "settings": LOW, "model_id": None}
    client.predict("MY CHOIR", {"transpose_semitones": 3}, api_name="/save_preset")
    (row,) = client.predict(api_name="/list_presets")
    assert (row["name"], row["settings"]) == ("MY CHOIR", {"transpose_semitones": 3})
    assert names(client_to(page)) == []
    assert "There is no preset" in refusal(client_to(page), "My choir", api_name="/delete_preset")
    client.predict("my choir", api_name="/delete_preset")
    assert names(client) == []


def test_a_preset_of_a_voice_travels_with_it(client: Client, page: Launched, tmp_path: Path) -> None:
    voice = imported(client, tmp_path)
    client.predict("Lead", LOW, voice["id"], api_name="/save_preset")
    client.predict("Mine", {}, api_name="/save_preset")
    assert names(client, voice["id"]) == [("Mine", None), ("Lead", voice["id"])]
    bundle = client.predict(voice["id"], api_name="/export_model")
    other = client_to(page)
    copy = other.predict([handle_file(bundle)], "", api_name="/import_model")
    assert names(other, copy["id"]) == [("Lead", copy["id"])]
    assert "There is no voice" in refusal(other, "Lead", LOW, voice["id"], api_name="/save_preset")
    client.predict("Lead", voice["id"], api_name="/delete_preset")
    assert names(client, voice["id"]) == [("Mine", None)]


def test_what_is_no_preset_is_refused(client: Client) -> None:
    for name, settings, told in (
        ("", {}, "has no name"),
        ("x" * 81, {}, "longer than 80"),
        ("a", {"octaves": 1}, "There is no setting 'octaves'"),
        ("a", {"transpose_semitones": 400}, "transpose_semitones"),
        ("a", [1], "not a JSON object"),
    ):
        assert told in refusal(client, name, settings, api_name="/save_preset")
    assert "comes with Timbre" in refusal(client, "a", {}, "builtin-kathleen", api_name="/save_preset")


def test_there_are_only_so_many(client: Client, tmp_path: Path) -> None:
    voice = imported(client, tmp_path)["id"]
    for model_id, most in (("", MOST_OF_A_PERSON), (voice, MOST_PRESETS)):
        for number in range(most):
            client.predict(f"p{number}", {}, model_id, api_name="/save_preset")
        assert "the most that are kept" in refusal(client, "more", {}, model_id, api_name="/save_preset")
        client.predict("p0", LOW, model_id, api_name="/save_preset")


def test_presets_of_a_stranger_s_card_are_taken_if_they_are_in_order(client: Client, tmp_path: Path) -> None:
    wrong = [{"name": "a", "settings": {"nonsense": 1}}, {"name": 5}, "x", {"name": "b", "settings": LOW}]
    voice = imported(client, tmp_path, presets=wrong)
    assert [name for name, _ in names(client, voice["id"])] == ["b"]


def test_a_voice_is_heard_before_it_is_used(client: Client, tmp_path: Path) -> None:
    sample = client.predict("builtin-kathleen", api_name="/voice_sample")
    assert Path(sample).suffix == ".mp3"
    assert 10_000 < Path(sample).stat().st_size < 150_000
    voice = imported(client, tmp_path)
    assert not voice["has_sample"]
    assert "Owl has no sample to listen to" in refusal(client, voice["id"], api_name="/voice_sample")


def test_the_examples_are_heard_without_sending_anything(client: Client) -> None:
    rows = client.predict(api_name="/list_examples")
    assert {row["name"] for row in rows} == {"speech", "song", "whisper"}
    assert [row["model_id"] for row in rows[:3]] == [None, "builtin-flemishguy", "builtin-kathleen"]
    assert len(rows) == 9
    assert all(Path(row["audio"]).suffix == ".mp3" for row in rows)
    assert all(Path(row["audio"]).stat().st_size > 10_000 for row in rows)


def test_a_training_may_say_its_language_if_that_is_one(client: Client) -> None:
    files = [handle_file(path) for path in VOICE_FILES[:2]]
    upload = client.predict(files, api_name="/upload_training_audio")["job_id"]
    said = refusal(client, upload, "Wren", {"language": "Low <German>"}, api_name="/start_training")
    assert "The setting 'language'" in said
    row = client.predict(upload, "Wren", {"language": "nl-BE"}, api_name="/start_training")
    assert row["settings"]["language"] == "nl-BE"
