"""Links that were given out for a file, tried again after what they pointed to was deleted."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from pipelines.jobs import cleanup
from pipelines.settings import Settings
from tests.hostile.attacker import Attacker
from tests.ui.launched import RECORDING, VOICE_FILES, Launched, client_to, launched
from tests.ui.raw_http import Answer, ask
from ui.server import published

TOKEN = "somebody-with-links-1"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("links")) as page:
        yield page


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_to(page, headers={"x-timbre-token": TOKEN}, download_files=False)


def fetched(page: Launched, path: str, **headers: str) -> Answer:
    return ask(page.url, f"/gradio_api/file={quote(path)}", x_timbre_token=TOKEN, **headers)


def alive(page: Launched, path: str) -> bool:
    """Whether a link serves, as a whole and in parts, by every way to write it; all must agree."""
    folder, name = str(Path(path).parent), Path(path).name
    ways = [
        f"/gradio_api/file={quote(path)}",
        f"/gradio_api/file={quote(path, safe='')}",
        f"/gradio_api/file={folder}/./{quote(name)}",
        f"/gradio_api/file={folder}//{quote(name)}",
        f"/gradio_api/file={folder}/../{Path(folder).name}/{quote(name)}",
    ]
    statuses = {
        ask(page.url, way, x_timbre_token=TOKEN, **headers).status
        for way in ways
        for headers in ({}, {"range": "bytes=0-9"}, {"range": "bytes=5-"})
    }
    assert statuses <= {200, 206} or statuses <= {403, 404}, statuses
    return 200 in statuses


def conversion(client: Client) -> dict[str, Any]:
    row: dict[str, Any] = client.submit(
        handle_file(RECORDING), "builtin-kathleen", {}, api_name="/convert_voice"
    ).result()
    assert row["status"] == "completed", row
    return row


def test_a_link_serves_the_whole_and_parts_and_copies_nothing(page: Launched, client: Client) -> None:
    row = conversion(client)
    path = client.predict(row["id"], api_name="/download_audio")["path"]
    (original,) = page.jobs.registry.list("jobs", id=row["id"])
    kept = page.data_dir / "jobs" / row["id"] / original["output_audio_path"]
    assert Path(path).samefile(kept)
    part = fetched(page, path, range="bytes=0-3")
    assert (part.status, part.text) == (206, "RIFF")
    assert alive(page, path)


def test_what_was_deleted_is_not_fetched_by_its_links(page: Launched, client: Client) -> None:
    row = conversion(client)
    links = [row["audio"]["path"]]
    links += [client.predict(row["id"], api_name=f"/download_{what}")["path"] for what in ("audio", "input")]
    other = conversion(client)["audio"]["path"]
    assert all(alive(page, path) for path in [*links, other])
    client.predict(row["id"], purge=True, api_name="/delete_job")
    attacker = Attacker(url=page.url, token=TOKEN)
    for path in links:
        sent = {"path": path, "orig_name": "a.wav", "meta": {"_type": "gradio.FileData"}}
        _, text = attacker.call("upload_target_audio", [sent])
        assert "event: error" in text, "nor is it taken in again"
    assert not any(alive(page, path) for path in links)
    assert alive(page, other)


def test_a_voice_that_is_gone_for_good_takes_its_exports_with_it(page: Launched, client: Client) -> None:
    files = [handle_file(path) for path in VOICE_FILES[:2]]
    model = client.submit(files, "Wren", {"consent": True}, api_name="/train_voice").result()["model"]
    path = client.predict(model["id"], api_name="/export_model")["path"]
    assert alive(page, path)
    client.predict(model["id"], purge=True, api_name="/delete_model")
    assert not alive(page, path)


@pytest.mark.parametrize("voice", [False, True], ids=["job", "voice"])
def test_a_link_to_what_is_in_the_trash_rests_until_it_is_restored(
    page: Launched, client: Client, voice: bool
) -> None:
    if voice:
        files = [handle_file(path) for path in VOICE_FILES[:2]]
        row = client.submit(files, "Robin", {"consent": True}, api_name="/train_voice").result()["model"]
        links = [client.predict(row["id"], api_name="/export_model")["path"]]
    else:
        row = conversion(client)
        links = [row["audio"]["path"], client.predict(row["id"], api_name="/download_input")["path"]]
    kind = "model" if voice else "job"
    assert all(alive(page, path) for path in links)
    client.predict(row["id"], api_name=f"/delete_{kind}")
    assert not any(alive(page, path) for path in links)
    sent = {"path": links[0], "orig_name": "a.wav", "meta": {"_type": "gradio.FileData"}}
    _, text = Attacker(url=page.url, token=TOKEN).call("upload_target_audio", [sent])
    assert "event: error" in text, "nor is it taken in again"
    client.predict(row["id"], api_name=f"/restore_{kind}")
    assert all(alive(page, path) for path in links)


def test_a_batch_takes_its_zip_with_it(page: Launched, client: Client) -> None:
    upload = client.predict([handle_file(RECORDING)], api_name="/upload_batch_audio")
    row = client.predict([upload["job_id"]], "builtin-kathleen", {}, api_name="/start_batch")
    last = client.submit(row["id"], api_name="/follow_job").result()
    path = last["zip"]["path"]
    assert alive(page, path)
    client.predict(row["id"], purge=True, api_name="/delete_job")
    assert not alive(page, path)


def test_links_are_looked_up_while_others_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "get_upload_folder", lambda: str(tmp_path))
    monkeypatch.setattr(published, "_links", {})
    monkeypatch.setattr(published, "_FORGET_EVERY", 5)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    names: list[str] = []
    ended = threading.Event()

    def make() -> None:
        for _ in range(2_000):
            folder = published.new_served_folder()
            names[:] = [*names[-8:], folder.name]
            folder.rmdir()
        ended.set()

    maker = threading.Thread(target=make)
    maker.start()
    try:
        while not ended.is_set():
            published.is_alive("/".join(names))
    finally:
        maker.join()
        sys.setswitchinterval(before)


def test_a_clean_up_ends_the_links_of_what_it_takes(page: Launched, client: Client) -> None:
    row = conversion(client)
    path = row["audio"]["path"]
    assert alive(page, path)
    page.jobs.registry.update("jobs", row["id"], updated_at="2020-01-01T00:00:00.000+00:00")
    found = cleanup.remove(page.jobs.registry, Settings(data_dir=page.data_dir))
    assert row["id"] in [job["id"] for job in found.jobs]
    assert not alive(page, path)


def test_the_cleaning_of_the_cache_removes_links_and_never_what_they_point_to(
    page: Launched, client: Client
) -> None:
    row = conversion(client)
    kept = page.data_dir / "jobs" / row["id"] / "result"
    before = {path: path.read_bytes() for path in kept.parent.rglob("*") if path.is_file()}
    assert before
    for link in [path for path in page.cache.rglob("*") if path.is_file()]:
        link.unlink()  # as Gradio does with what is a day old
    assert {path: path.read_bytes() for path in kept.parent.rglob("*") if path.is_file()} == before
    assert not alive(page, row["audio"]["path"])
    assert alive(page, client.predict(row["id"], api_name="/download_audio")["path"])
