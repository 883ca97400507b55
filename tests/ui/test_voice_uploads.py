"""A folder of game voices through the endpoints: taken, listed, zipped; and wrong settings, refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from tests.sounds import tone, write
from tests.ui.launched import RECORDING, VOICE_FILES, Launched, client_to
from tests.ui.strangers import refusal


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_to(page)


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Thirty lines of a second, three grunts, a silent file, an empty one, and what else lies about."""
    folder = tmp_path_factory.mktemp("game")
    for number in range(30):
        write(folder / f"line_{number:02d}.wav", "wav16", tone(1.0, 8_000, hz=100 + number), 8_000)
    for number, seconds in enumerate((0.1, 0.3, 0.42)):
        write(folder / f"grunt_{number}.wav", "wav16", tone(seconds, 8_000), 8_000)
    sf.write(folder / "breath.wav", np.zeros(8_000), 8_000)
    (folder / "nothing.wav").write_bytes(b"")
    (folder / "notes.txt").write_text("lines of the second act\n")
    (folder / "desktop.ini").write_text("[.ShellClassInfo]\n")
    return sorted(folder.iterdir())


REFUSED = {
    "grunt_0.wav",
    "grunt_1.wav",
    "grunt_2.wav",
    "breath.wav",
    "nothing.wav",
    "notes.txt",
    "desktop.ini",
}


def test_of_a_folder_of_game_voices_the_lines_are_taken_and_the_rest_is_listed(
    client: Client, game: list[Path]
) -> None:
    upload = client.predict([handle_file(path) for path in game], api_name="/upload_training_audio")
    assert [file["name"] for file in upload["files"]] == [f"line_{n:02d}.wav" for n in range(30)]
    assert {row["name"] for row in upload["refused"]} == REFUSED
    assert all(set(row) == {"name", "reason"} and row["reason"].endswith(".") for row in upload["refused"])
    assert client.predict(upload["job_id"], api_name="/job_status")["refused"] == upload["refused"]
    prepared = client.predict(upload["job_id"], api_name="/prepare_voice")
    assert client.submit(prepared["id"], api_name="/follow_job").result()["refused"] == upload["refused"]
    assert client.predict(prepared["id"], api_name="/dataset_report")["refused"] == upload["refused"]


def test_one_call_trains_on_what_can_be_used_and_tells_the_rest(client: Client, game: list[Path]) -> None:
    files = [handle_file(path) for path in [VOICE_FILES[0], *game]]
    rows = list(client.submit(files, "Hero", {"consent": True}, api_name="/train_voice"))
    assert rows[-1]["status"] == "completed"
    for row in (rows[0], rows[-1]):
        assert {refused["name"] for refused in row["refused"]} == REFUSED


def test_a_zip_of_a_folder_is_the_same_as_its_files(client: Client, game: list[Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "act.zip", "w") as zipped:
        for path in game:
            zipped.write(path, f"act 2/{path.name}")
        zipped.writestr("__MACOSX/act 2/._line_00.wav", b"x")
        zipped.writestr("act 2/Thumbs.db", b"x")
    upload = client.predict([handle_file(tmp_path / "act.zip")], api_name="/upload_training_audio")
    assert [file["name"] for file in upload["files"]] == [f"line_{n:02d}.wav" for n in range(30)]
    assert {row["name"] for row in upload["refused"]} == REFUSED - {"desktop.ini"}


def test_with_too_little_left_nothing_is_kept_and_all_is_said_at_once(
    client: Client, page: Launched, game: list[Path]
) -> None:
    before = {path.name for path in (page.data_dir / "jobs").iterdir()}
    bad = [path for path in game if path.name in REFUSED]
    said = refusal(client, [handle_file(path) for path in bad], api_name="/upload_training_audio")
    assert said.startswith("None of the 7 files can be used: ")
    assert all(name in said for name in REFUSED)
    few = [*bad, *(path for path in game if path.name in ("line_00.wav", "line_01.wav"))]
    said = refusal(client, [handle_file(path) for path in few], api_name="/upload_training_audio")
    assert "needs at least 10 seconds" in said
    assert all(name in said for name in REFUSED)
    assert {path.name for path in (page.data_dir / "jobs").iterdir()} == before


def test_thousands_of_lines_are_taken_in_one_upload(client: Client, game: list[Path], tmp_path: Path) -> None:
    line = next(path for path in game if path.name == "line_00.wav").read_bytes()
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for number in range(2_000):
            zipped.writestr(f"line_{number:04d}.wav", line)
    upload = client.predict([handle_file(tmp_path / "all.zip")], api_name="/upload_training_audio")
    assert len(upload["files"]) == 2_000
    prepared = client.predict(upload["job_id"], api_name="/prepare_voice")
    assert client.submit(prepared["id"], api_name="/follow_job").result()["status"] == "completed"


WRONG: dict[str, list[tuple[str, Any]]] = {
    "/prepare_voice": [("reduce_noise", "yes"), ("highpass_hz", None), ("slice_level_db", [1])],
    "/start_training": [("total_steps", "many"), ("seed", 1.5), ("engine", None), ("licence", {"a": 1})],
    "/train_voice": [("batch_size", True), ("patience", "NaN"), ("longest_slice_s", "Infinity")],
    "/start_conversion": [("transpose_semitones", "up"), ("format", 3), ("index_rate", "Infinity")],
    "/convert_voice": [("transpose_semitones", [3]), ("protect", True), ("f0_estimator", 0)],
    "/start_batch": [("transpose_semitones", {}), ("chunk_s", 10**30), ("mood", "sad")],
}


@pytest.mark.parametrize("api_name", WRONG)
def test_a_setting_of_the_wrong_kind_is_refused_by_name_when_the_job_is_asked_for(
    client: Client, page: Launched, api_name: str
) -> None:
    voice, _ = client.predict(api_name="/list_models")[:2]
    one, batch = (handle_file(VOICE_FILES[0]), [handle_file(RECORDING)])
    given: dict[str, tuple[Any, ...]] = {
        "/prepare_voice": (client.predict([one], api_name="/upload_training_audio")["job_id"],),
        "/train_voice": ([one], "Hero"),
        "/start_conversion": (client.predict(one, api_name="/upload_target_audio")["job_id"], voice["id"]),
        "/convert_voice": (one, voice["id"]),
        "/start_batch": ([client.predict(batch, api_name="/upload_batch_audio")["job_id"]], voice["id"]),
    }
    given["/start_training"] = (*given["/prepare_voice"], "Hero")
    before = {row["id"] for row in client.predict(api_name="/list_jobs")}
    consent = {"consent": True} if "train" in api_name else {}
    for name, value in WRONG[api_name]:
        said = refusal(client, *given[api_name], {name: value, **consent}, api_name=api_name)
        assert f"'{name}'" in said, said
        assert "; give " in said or "; choose from" in said, said
    assert {row["id"] for row in client.predict(api_name="/list_jobs")} == before


def test_a_number_that_is_written_out_is_taken(client: Client) -> None:
    voice = client.predict(api_name="/list_models")[0]["id"]
    settings = {"transpose_semitones": "-2.5"}
    row = client.submit(handle_file(RECORDING), voice, settings, api_name="/convert_voice").result()
    assert row["status"] == "completed"
