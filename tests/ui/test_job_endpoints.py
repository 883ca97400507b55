"""What a program does with jobs that have ended: their trash, one file of a batch, the melodies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from tests.ui.launched import RECORDING, VOICE_FILES, Launched, client_to, launched


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("jobs"), steps=1) as page:
        yield page


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_to(page)


def conversion(client: Client) -> str:
    sent = client.submit(handle_file(RECORDING), "builtin-kathleen", {}, api_name="/convert_voice")
    row = sent.result()
    assert row["status"] == "completed", row
    return str(row["id"])


def ids(client: Client, *, deleted: bool) -> set[str]:
    return {row["id"] for row in client.predict(deleted=deleted, api_name="/list_jobs")}


def test_a_deleted_job_is_listed_restored_and_ended_for_good(client: Client, page: Launched) -> None:
    job = conversion(client)
    gone = client.predict(job, api_name="/delete_job")
    assert gone["purge_at"] > gone["deleted_at"]
    assert job not in ids(client, deleted=False)
    assert job in ids(client, deleted=True)
    with pytest.raises(AppError, match="was deleted; restore it"):
        client.predict(job, api_name="/download_audio")
    back = client.predict(job, api_name="/restore_job")
    assert (back["deleted_at"], back["purge_at"]) == (None, None)
    assert Path(client.predict(job, api_name="/download_audio")).is_file()
    client.predict(job, api_name="/delete_job")
    client.predict(job, purge=True, api_name="/delete_job")
    assert job not in ids(client, deleted=True)
    assert not (page.data_dir / "jobs" / job).exists()
    with pytest.raises(AppError, match="There is no job"):
        client.predict(job, api_name="/restore_job")


def test_one_recording_of_a_batch_is_downloaded_by_its_number(client: Client) -> None:
    files = [handle_file(RECORDING), handle_file(VOICE_FILES[0]), handle_file(__file__)]
    upload = client.predict(files, api_name="/upload_batch_audio")
    row = client.predict([upload["job_id"]], "builtin-kathleen", {}, api_name="/start_batch")
    last = client.submit(row["id"], api_name="/follow_job").result()
    assert [file["status"] for file in last["files"]] == ["completed", "completed", "failed"]
    assert Path(client.predict(row["id"], 2, api_name="/download_batch_file")).name == "wren-1.wav"
    for number, said in ((3, "is not converted"), (0, "no recording number"), (4, "no recording number 4")):
        with pytest.raises(AppError, match=said):
            client.predict(row["id"], number, api_name="/download_batch_file")
    with pytest.raises(AppError, match="Only a conversion of one recording"):
        client.predict(row["id"], api_name="/pitch_contours")


def test_the_melodies_of_a_conversion_are_read(client: Client) -> None:
    job = conversion(client)
    found = client.predict(job, api_name="/pitch_contours")
    assert found["job_id"] == job
    assert found["transpose_semitones"] == pytest.approx(3.2)
    assert len(found["source_hz"]) == len(found["result_hz"]) > 10 / found["step_s"]
    assert any(hz for hz in found["source_hz"])
    pictures = [
        client.predict(job, against, api_name="/spectrograms") for against in ("", conversion(client))
    ]
    assert all(Path(path).read_bytes()[:4] == b"\x89PNG" for path in pictures)
    assert Path(pictures[0]).read_bytes() != Path(pictures[1]).read_bytes()
    with pytest.raises(AppError, match="There is no job"):
        client.predict(job, "0" * 32, api_name="/spectrograms")
    with pytest.raises(AppError, match="no recording number"):
        client.predict(job, 1, api_name="/download_batch_file")
