"""The meter of the microphone in a browser: what it says while somebody records, and that it ends with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile as sf

from tests.browsers import CHROMIUM, MARKS, PATIENCE_MS
from tests.tiny import song
from tests.ui.launched import Launched, launched

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = MARKS
RATE_HZ = 16_000
METER = "#clone-level .tm-level"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("level"), steps=1) as page:
        yield page


@pytest.fixture
def tab(served: Launched, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """The Clone tab of somebody whose microphone hears a song with this peak."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    wav = song(6.0)
    sf.write(tmp_path / "heard.wav", np.clip(wav * request.param / np.abs(wav).max(), -1, 1), RATE_HZ)
    heard = f"--use-file-for-fake-audio-capture={tmp_path / 'heard.wav'}"
    devices = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", heard]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *devices]
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(served.url)
        page.get_by_role("tab", name="Clone").click()
        page.get_by_text("Record with the microphone").click()
        yield page
        browser.close()


@pytest.mark.parametrize(
    ("tab", "said"),
    [(4.0, "Too loud"), (0.003, "Too quiet"), (0.3, "well heard")],
    indirect=["tab"],
    ids=["loud", "quiet", "good"],
)
def test_who_records_is_told_of_the_level_at_once_and_no_more_afterwards(tab: Page, said: str) -> None:
    meter, status = tab.locator(METER), tab.locator("#clone-level [role=status]")
    assert not meter.is_visible()
    microphone = tab.locator("#clone-microphone")
    microphone.get_by_role("button", name="Record", exact=True).click()
    meter.wait_for()
    status.get_by_text(said).wait_for()
    microphone.get_by_role("button", name="Stop").first.click()
    meter.wait_for(state="hidden")
    assert status.inner_text() == ""
