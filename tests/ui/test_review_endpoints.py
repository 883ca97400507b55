"""Slices by way of a program: listed, heard, rejected and taken back, by whoever sent the recordings in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from pipelines.recordings.pieces import load_pieces, save_pieces
from pipelines.store.records import Caller
from tests.ui.launched import VOICE_FILES, Launched, client_to, launched, wait_for
from tests.ui.strangers import refusal

FIGURES = {"slices", "seconds", "rejected", "rejected_s", "left_s"}


@pytest.fixture(scope="module")
def own_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("review"), steps=1) as page:
        yield page


@pytest.fixture(scope="module")
def client(own_page: Launched) -> Client:
    return client_to(own_page)


def checked(client: Client, count: int = 2) -> dict[str, Any]:
    """The row of the check of some recordings, when it is done."""
    files = [handle_file(path) for path in VOICE_FILES[:count]]
    upload = client.predict(files, api_name="/upload_training_audio")["job_id"]
    row = client.predict(upload, {}, api_name="/prepare_voice")

    def now() -> dict[str, Any]:
        found: dict[str, Any] = client.predict(row["id"], api_name="/job_status")
        return found

    wait_for(lambda: now()["status"] == "completed", "the check")
    return now()


@pytest.fixture(scope="module")
def job(client: Client) -> str:
    return str(checked(client)["id"])


@pytest.fixture(autouse=True)
def nothing_is_rejected(client: Client, job: str) -> None:
    page = listed(client, job, only="rejected", limit=200)
    names = sorted({row["file_id"] for row in page["rows"]})
    for _ in range(2):  # a whole recording comes back as it was before
        client.predict(job, [], names, api_name="/restore_slices")


def listed(client: Client, job: str, **asked: object) -> dict[str, Any]:
    found: dict[str, Any] = client.predict(job, **asked, api_name="/list_slices")
    return found


def ids(client: Client, job: str, **asked: object) -> list[str]:
    return [row["id"] for row in listed(client, job, **asked)["rows"]]


def test_slices_are_listed_by_doubt_or_in_order_and_page_by_page(client: Client, job: str) -> None:
    page = listed(client, job)
    assert page.keys() == FIGURES | {"doubtful", "matching", "offset", "rows"}
    found = [row["doubt"] for row in page["rows"]]
    assert found == sorted(found, reverse=True)
    ordered = listed(client, job, sort="order")["rows"]
    assert [row["file"] for row in ordered] == sorted(row["file"] for row in ordered)
    assert len(ordered) == page["matching"] == page["slices"] > 4
    assert sorted(row["id"] for row in ordered) == sorted(row["id"] for row in page["rows"])
    assert all(len(row["peaks"]) == 80 and max(row["peaks"]) <= 255 for row in ordered)
    two = listed(client, job, sort="order", offset=1, limit=2)
    assert two["rows"] == ordered[1:3]
    assert ids(client, job, offset=10_000) == []
    doubtful = listed(client, job, only="doubtful")
    assert doubtful["matching"] == page["doubtful"] < page["slices"]
    assert all(row["reasons"] for row in doubtful["rows"])


def test_a_slice_is_heard(client: Client, job: str) -> None:
    sound = client.predict(job, ids(client, job)[0], api_name="/slice_audio")
    assert sf.info(sound if isinstance(sound, str) else sound["path"]).duration > 0


def test_slices_are_rejected_and_taken_back_and_the_report_counts_them(client: Client, job: str) -> None:
    before = listed(client, job)
    one, two = ids(client, job)[:2]
    said = client.predict(job, [one, two], api_name="/reject_slices")
    assert sorted(said["changed"]) == sorted([one, two])
    assert said["rejected"] == 2
    assert said["left_s"] == pytest.approx(before["seconds"] - said["rejected_s"], abs=0.11)
    assert sorted(ids(client, job, only="rejected")) == sorted([one, two])
    assert client.predict(job, api_name="/dataset_report")["rejected"]["rejected"] == 2
    again = client.predict(job, [one], api_name="/reject_slices")
    assert (again["changed"], again["rejected"]) == ([], 2)
    assert client.predict(job, [one, two], api_name="/restore_slices")["rejected"] == 0
    assert listed(client, job) == before
    assert "rejected" not in client.predict(job, api_name="/dataset_report")


def test_a_whole_recording_is_rejected_by_its_name_and_comes_back(client: Client, job: str) -> None:
    before = listed(client, job)
    name = VOICE_FILES[0].name
    of_it = [row["id"] for row in before["rows"] if row["file"] == name]
    said = client.predict(job, [], [name], api_name="/reject_slices")
    assert sorted(said["changed"]) == sorted(of_it)
    assert all(row["file_rejected"] for row in listed(client, job, only="rejected")["rows"])
    assert sorted(client.predict(job, [], [name], api_name="/restore_slices")["changed"]) == sorted(of_it)
    assert listed(client, job) == before


def test_what_was_rejected_belongs_to_the_upload_and_survives_a_restart(tmp_path: Path) -> None:
    token = {"x-timbre-token": "a-token-of-a-restart"}
    with launched(tmp_path, steps=1) as page:
        client = client_to(page, headers=token)
        row = checked(client)
        one = ids(client, row["id"])[0]
        client.predict(row["id"], [one], api_name="/reject_slices")
    with launched(tmp_path, steps=1) as page:
        client = client_to(page, headers=token)
        assert ids(client, row["input_job_id"], only="rejected") == [one]
        again = client.predict(row["input_job_id"], {}, api_name="/prepare_voice")["id"]
        wait_for(
            lambda: client.predict(again, api_name="/job_status")["status"] == "completed", "another check"
        )
        assert ids(client, again, only="rejected") == [one]


def test_a_training_on_too_little_is_refused_and_begins_when_some_is_back(client: Client) -> None:
    job = checked(client, 3)["id"]
    names = [path.name for path in VOICE_FILES[:3]]
    assert client.predict(job, [], names, api_name="/reject_slices")["left_s"] == 0
    wish: dict[str, Any] = {"consent": True}
    said = refusal(client, job, "Wren", wish, api_name="/start_training")
    assert "a voice needs at least 10 s; restore some, or add recordings" in said
    client.predict(job, [], names, api_name="/restore_slices")
    assert client.predict(job, "Wren", wish, api_name="/start_training")["status"] in ("pending", "training")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"sort": "name"}, "There is no order 'name'"),
        ({"only": "bad"}, "There is no filter 'bad'"),
        ({"offset": -1}, "The offset is no whole number from 0"),
        ({"limit": 0}, "The limit is no whole number from 1"),
    ],
)
def test_wishes_that_mean_nothing_are_refused(
    client: Client, job: str, asked: dict[str, Any], said: str
) -> None:
    assert said in refusal(client, job, **asked, api_name="/list_slices")


def test_ids_that_are_not_of_this_set_are_refused_and_change_nothing(client: Client, job: str) -> None:
    good = ids(client, job)[0]
    other = ids(client, checked(client, 4)["id"], sort="order")[-1]
    for bad in (other, "../../etc/passwd", "0" * 16 + "-0"):
        for name in ("/reject_slices", "/restore_slices"):
            assert "These recordings have no slice" in refusal(client, job, [good, bad], api_name=name)
        assert "These recordings have no slice" in refusal(client, job, bad, api_name="/slice_audio")
    said = refusal(client, job, [good], ["other.wav"], api_name="/reject_slices")
    assert "These recordings have no recording 'other.wav'" in said
    assert listed(client, job)["rejected"] == 0


def test_somebody_else_has_no_such_slices(own_page: Launched, client: Client, job: str) -> None:
    stranger, one = client_to(own_page), ids(client, job)[0]
    assert "There is no" in refusal(stranger, job, api_name="/list_slices")
    assert "There is no" in refusal(stranger, job, one, api_name="/slice_audio")
    for name in ("/reject_slices", "/restore_slices"):
        assert "There is no" in refusal(stranger, job, [one], api_name=name)
    assert listed(client, job)["rejected"] == 0


def test_before_a_check_there_are_no_slices(client: Client) -> None:
    files = [handle_file(path) for path in VOICE_FILES[:2]]
    upload = client.predict(files, api_name="/upload_training_audio")["job_id"]
    assert "prepare them (again) first" in refusal(client, upload, api_name="/list_slices")


def test_five_thousand_slices_are_listed_within_a_second(own_page: Launched, client: Client) -> None:
    row = checked(client)
    prepared = own_page.data_dir / "jobs" / row["input_job_id"] / "prepared"
    first = load_pieces(prepared)[0]
    save_pieces([replace(first, id=f"{first.file_id}-{n}", doubt=n / 5_000) for n in range(5_000)], prepared)
    begun = time.perf_counter()
    owner = Caller(row["user_id"])
    page = own_page.jobs.reviews.list(owner, row["id"])
    assert time.perf_counter() - begun < 1.0
    assert page["slices"] == 5_000
    assert len(page["rows"]) == 50
    assert len(listed(client, row["id"], limit=100_000)["rows"]) == 200
