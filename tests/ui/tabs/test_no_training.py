"""A server on which nobody trains: the machine is too small, or its owner does not want it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from gradio_client import handle_file  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from pipelines.store.records import Caller
from tests.ui.launched import VOICE_FILES, Launched, client_to, launched

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("no-training"), allow_training=False) as page:
        yield page


def test_trainings_are_refused_with_the_way_out(page: Launched) -> None:
    client = client_to(page)
    assert client.predict(api_name="/info")["training"] is False
    upload = client.predict([handle_file(VOICE_FILES[0])], api_name="/upload_training_audio")
    with pytest.raises(AppError, match="train elsewhere and import the voice"):
        client.predict(upload["job_id"], "Wren", {}, api_name="/start_training")
    with pytest.raises(AppError, match="train elsewhere and import the voice"):
        client.submit([handle_file(VOICE_FILES[0])], "Wren", {}, api_name="/train_voice").result()


def test_a_training_of_an_earlier_day_is_not_taken_up_again(page: Launched) -> None:
    caller = Caller("me")
    upload = page.jobs.upload(caller, [(VOICE_FILES[0], "a.ogg")], "training")
    row = page.jobs.submit(caller, "training", upload["id"], model_name="Wren")
    last = list(page.jobs.follow(caller, row["id"]))[-1]
    assert last["status"] == "failed"
    assert "train elsewhere" in last["error_message"]
    assert not last["dead_letter"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt install chromium)")
def test_the_page_begins_with_converting(page: Launched) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        tab = browser.new_page()
        tab.goto(page.url)
        tab.locator("#convert").wait_for(timeout=60_000)
        assert tab.get_by_role("tab", name="Clone").count() == 0
        tab.locator("#convert-voice input:checked").wait_for(timeout=60_000)
        browser.close()
