"""The whole way through the named endpoints, as a program takes it; and the process that serves them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from pipelines.store.records import new_job
from pipelines.store.registry import Registry
from rvc.files import ROOT
from tests.ui.launched import (
    RECORDING,
    VOICE_FILES,
    Launched,
    client_to,
    free_port,
    launched,
    wait_for,
)
from tests.ui.strangers import refusal

ENDPOINTS = {
    "upload_training_audio",
    "upload_target_audio",
    "validate_audio",
    "is_synthetic",
    "prepare_voice",
    "estimate",
    "dataset_report",
    "list_slices",
    "slice_audio",
    "reject_slices",
    "restore_slices",
    "start_training",
    "start_conversion",
    "upload_batch_audio",
    "start_batch",
    "upload_song",
    "start_cover",
    "cover_song",
    "download_stem",
    "speech_languages",
    "start_speech",
    "say_text",
    "start_speech_batch",
    "train_voice",
    "convert_voice",
    "job_status",
    "list_jobs",
    "cancel_job",
    "retry_job",
    "resume_job",
    "follow_job",
    "follow_jobs",
    "download_audio",
    "download_batch_file",
    "pitch_contours",
    "spectrograms",
    "export_training",
    "download_input",
    "list_models",
    "get_model",
    "rename_model",
    "delete_model",
    "restore_model",
    "set_voice_pitch",
    "model_stats",
    "consent_sentence",
    "record_consent",
    "spoken_consent",
    "lock_model",
    "revoke_consent",
    "import_model",
    "export_model",
    "blend_voices",
    "voice_sample",
    "list_examples",
    "list_presets",
    "save_preset",
    "delete_preset",
    "account",
    "create_token",
    "list_tokens",
    "revoke_token",
    "delete_job",
    "restore_job",
    "list_samples",
    "download_sample",
    "keep_checkpoint",
    "train_on",
    "example_recordings",
    "reading_sentences",
    "health",
    "info",
}


def client_of(page: Launched, token: str | None = None) -> Client:
    headers = {"x-timbre-token": token} if token else None
    return client_to(page, headers=headers)


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_of(page)


@pytest.fixture(scope="module")
def voice(client: Client) -> dict[str, Any]:
    """A voice, trained by one call."""
    files = [handle_file(path) for path in VOICE_FILES[:2]]
    job = client.submit(files, "Wren", {"consent": True}, api_name="/train_voice")
    row: dict[str, Any] = job.result()
    assert row["status"] == "completed", row
    model: dict[str, Any] = row["model"]
    return model


def test_the_endpoints_are_the_promised_ones_and_describe_themselves(client: Client) -> None:
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {name.removeprefix("/") for name in described} == ENDPOINTS
    for name, endpoint in described.items():
        assert len(endpoint["description"]) > 20, name
    answers = {name: endpoint["returns"][0]["python_type"]["type"] for name, endpoint in described.items()}
    untyped = {name for name, answer in answers.items() if answer == "Any"}
    streams = {
        *("/follow_job", "/follow_jobs", "/train_voice", "/convert_voice", "/say_text", "/cover_song"),
    }
    assert untyped == streams


def test_a_voice_is_trained_in_steps_with_a_report_before(client: Client) -> None:
    upload = client.predict(
        [handle_file(path) for path in VOICE_FILES[:2]], api_name="/upload_training_audio"
    )
    assert [file["name"] for file in upload["files"]] == ["wren-1.ogg", "wren-2.ogg"]
    measured = client.predict(upload["job_id"], api_name="/validate_audio")["files"]
    assert [file["verdict"] for file in measured] == ["usable", "usable"]
    prepared = client.predict(upload["job_id"], api_name="/prepare_voice")
    rows = list(client.submit(prepared["id"], api_name="/follow_job"))
    assert rows[-1]["status"] == "completed"
    assert client.predict(prepared["id"], api_name="/dataset_report")
    row = client.predict(upload["job_id"], "Step by step", {"consent": True}, api_name="/start_training")
    assert row["status"] in ("pending", "training")
    rows = list(client.submit(row["id"], api_name="/follow_job"))
    assert rows[-1]["status"] == "completed"


def test_a_recording_comes_back_as_long_as_it_was_sent(client: Client, voice: dict[str, Any]) -> None:
    rows = list(
        client.submit(handle_file(RECORDING), voice["id"], {"format": "flac"}, api_name="/convert_voice")
    )
    assert rows[0]["id"] == rows[-1]["id"]
    assert rows[-1]["status"] == "completed"
    source = sf.info(RECORDING)
    for path in (rows[-1]["audio"], client.predict(rows[-1]["id"], api_name="/download_audio")):
        assert sf.info(path).frames == source.frames
    given_back = Path(client.predict(rows[-1]["id"], api_name="/download_input"))
    assert given_back.read_bytes() == RECORDING.read_bytes()
    assert client.predict(voice["id"], api_name="/model_stats")["uses"] >= 1


def test_many_recordings_come_back_as_a_zip_with_a_table(
    client: Client, voice: dict[str, Any], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "songs.zip", "w") as zipped:
        zipped.write(RECORDING, "album/visitor.flac")
        zipped.writestr("cover.jpg", b"no sound")
    upload = client.predict(
        [handle_file(tmp_path / "songs.zip"), handle_file(VOICE_FILES[0])], api_name="/upload_batch_audio"
    )
    assert [file["status"] for file in upload["files"]] == ["waiting", "failed", "waiting"]
    row = client.predict([upload["job_id"]], voice["id"], {"format": "ogg"}, api_name="/start_batch")
    assert (row["type"], row["status"]) == ("batch", "pending")
    last = list(client.submit(row["id"], api_name="/follow_job"))[-1]
    assert last["status"] == "completed"
    assert [file["status"] for file in last["files"]] == ["completed", "failed", "completed"]
    for path in (last["zip"], client.predict(row["id"], api_name="/download_audio")):
        with zipfile.ZipFile(path) as zipped:
            assert set(zipped.namelist()) == {"visitor.ogg", "wren-1.ogg", "results.json", "results.csv"}


def test_a_voice_survives_export_and_import_and_goes_when_deleted(
    client: Client, voice: dict[str, Any]
) -> None:
    bundle = client.predict(voice["id"], api_name="/export_model")
    copy = client.predict([handle_file(bundle)], "Copy", api_name="/import_model")
    assert client.predict(copy["id"], "Other", api_name="/rename_model")["model_name"] == "Other"
    assert client.predict(copy["id"], api_name="/get_model")["f0"] == voice["f0"]
    client.predict(copy["id"], api_name="/delete_model")
    assert copy["id"] not in [row["id"] for row in client.predict(api_name="/list_models")]


def test_the_permission_is_kept_with_the_voice(client: Client, page: Launched, voice: dict[str, Any]) -> None:
    row = client.predict(voice["training_job_id"], api_name="/job_status")
    assert "permission" in row["settings"]["consent"]["statement"]
    kept = client.predict(voice["id"], api_name="/get_model")
    assert kept["consent"]["statement"] == row["settings"]["consent"]["statement"]
    given_at = datetime.fromisoformat(kept["consent"]["given_at"])
    assert abs((datetime.now(tz=UTC) - given_at).total_seconds()) < 3_600


def test_nobody_else_sees_or_touches_what_is_mine(page: Launched, voice: dict[str, Any]) -> None:
    stranger = client_of(page)
    assert all(row["builtin"] for row in stranger.predict(api_name="/list_models"))
    assert stranger.predict(api_name="/list_jobs") == []
    assert "no voice" in refusal(stranger, voice["id"], api_name="/export_model")
    assert "no job" in refusal(stranger, voice["training_job_id"], api_name="/job_status")
    assert "no voice" in refusal(stranger, handle_file(RECORDING), voice["id"], api_name="/convert_voice")


def test_a_token_is_the_same_person_from_every_client(page: Launched) -> None:
    token = "a secret of sixteen or more".replace(" ", "-")
    row = client_of(page, token).predict(handle_file(RECORDING), api_name="/upload_target_audio")
    assert client_of(page, token).predict(row["job_id"], api_name="/job_status")["id"] == row["job_id"]
    assert "no job" in refusal(client_of(page, token + "x"), row["job_id"], api_name="/job_status")


def test_bad_wishes_are_answered_with_one_sentence_each(client: Client, voice: dict[str, Any]) -> None:
    upload = client.predict([handle_file(VOICE_FILES[0])], api_name="/upload_training_audio")
    refused = {"consent": False}
    assert "permission" in refusal(client, upload["job_id"], "X", refused, api_name="/start_training")
    assert "no name" in refusal(client, upload["job_id"], " ", {"consent": True}, api_name="/start_training")
    assert "not a recording" in refusal(client, handle_file(__file__), api_name="/upload_target_audio")
    assert "not the id" in refusal(client, "../../etc", api_name="/job_status")
    assert "no job" in refusal(client, "0" * 32, api_name="/cancel_job")
    assert "completed" in refusal(client, voice["training_job_id"], api_name="/cancel_job")
    assert "bundle" in refusal(client, voice["id"], "rvc", api_name="/export_model")
    assert "zip" in refusal(client, [handle_file(RECORDING)], "X", api_name="/import_model")


def test_everybody_has_the_id_of_a_conversion_at_once_though_another_one_runs(tmp_path: Path) -> None:
    with launched(tmp_path, steps=100_000) as page:
        clients = [client_of(page) for _ in range(3)]
        calls = [
            client.submit(handle_file(RECORDING), "builtin-kathleen", {}, api_name="/convert_voice")
            for client in clients
        ]
        wait_for(lambda: all(call.outputs() for call in calls), "three ids")
        ids = [call.outputs()[0]["id"] for call in calls]
        states = [
            client.predict(job, api_name="/job_status") for client, job in zip(clients, ids, strict=True)
        ]
        assert sorted(row["status"] for row in states) == ["converting", "pending", "pending"]
        for client, job in zip(clients, ids, strict=True):
            client.predict(job, api_name="/cancel_job")
        assert [call.result()["status"] for call in calls] == ["cancelled"] * 3


def test_a_path_on_the_server_is_not_taken_for_a_file_that_was_sent(page: Launched, client: Client) -> None:
    mine = next(page.data_dir.glob("jobs/*/inputs/*.wav"))
    assert "did not arrive" in refusal(client, [str(mine)], api_name="/upload_training_audio")


def test_a_training_is_stopped_and_resumed_from_another_client(
    page: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "stopped-and-resumed-1"
    one, other = client_of(page, token), client_of(page, token)
    upload = one.predict([handle_file(VOICE_FILES[0])], api_name="/upload_training_audio")
    with monkeypatch.context() as patch:
        patch.setenv("TOY_STEPS", "500")
        row = one.predict(upload["job_id"], "Slow", {"consent": True}, api_name="/start_training")

        def status() -> str:
            return str(other.predict(row["id"], api_name="/job_status")["status"])

        for seen in other.submit(api_name="/follow_jobs"):
            assert seen["id"] == row["id"]
            if seen["progress"] > 0:
                break
        other.predict(row["id"], api_name="/cancel_job")
        wait_for(lambda: status() == "cancelled", "the end of the cancelled training")
    other.predict(row["id"], api_name="/resume_job")
    wait_for(lambda: status() == "completed", "the end of the resumed training")


def test_health_and_metrics_are_plain_routes_that_name_nobody(page: Launched, voice: dict[str, Any]) -> None:
    with urllib.request.urlopen(page.url + "health") as answer:
        assert json.load(answer)["status"] == "ok"
    with urllib.request.urlopen(page.url + "metrics") as answer:
        text = answer.read().decode()
    assert 'timbre_jobs{status="completed",type=' in text
    assert voice["model_name"] not in text


def test_the_data_folder_is_not_served(page: Launched) -> None:
    for name in ("registry.json", "secret"):
        url = f"{page.url}gradio_api/file={page.data_dir / name}"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url)
        assert caught.value.code in (403, 404)


def test_the_program_serves_without_torch_and_ends_in_order_when_told(tmp_path: Path) -> None:
    port = free_port()
    program = "import sys, app\nstatus = app.main()\nprint('torch' in sys.modules, status)"
    command = [sys.executable, "-c", program, "--port", str(port), "--data-dir", str(tmp_path / "data")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:

        def answers() -> bool:
            assert process.poll() is None
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
            except OSError:
                return False
            return True

        wait_for(answers, "the page")
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert told.split() == ["False", "0"]
    assert not (tmp_path / "data" / "registry.json.tmp").exists()


def test_the_data_folder_is_cared_for_on_the_command_line(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy.json"
    registry = Registry(data_dir)
    registry.insert(
        "jobs",
        new_job("me", "training", status="completed", seq=1, updated_at="2020-01-01T00:00+00:00"),
    )
    registry.close()

    def run(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "app.py", "--data-dir", str(data_dir), *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr

    assert run("--backup", copy) == (0, f"Backed up 1 jobs and voices to {copy}.\n")
    status, told = run("--clean-up", "--dry-run")
    assert (status, told.splitlines()[-1]) == (0, "A clean-up would remove 1 old job: 0.0 MB.")
    status, told = run("--clean-up")
    assert "Removed 1 old job" in told
    status, told = run("--restore", copy)
    assert (status, told.splitlines()[0]) == (0, f"Restored 1 jobs and voices from {copy}.")
    registry = Registry(data_dir)
    assert len(registry.list("jobs")) == 1
    status, told = run("--restore", copy)
    registry.close()
    assert status == 1
    assert "stop it before you restore" in told
    assert run("--dry-run")[0] == 2


def test_how_long_a_job_would_take_is_told_before_it_is_started(client: Client) -> None:
    check = client.predict("preprocessing", 60, {}, api_name="/estimate")
    training = client.predict("training", 60, {"total_steps": 300}, api_name="/estimate")
    assert 0 < check < training
    assert "Unknown type of job" in refusal(client, "dance", 60, api_name="/estimate")
