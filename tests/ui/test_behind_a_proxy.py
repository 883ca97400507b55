"""Nothing that the page or a client needs is refused behind a proxy: under a prefix, through a tunnel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from tests.browsers import MARKS, chromium, context
from tests.ui.launched import EXAMPLES, RECORDING, launched
from tests.ui.proxied import proxied
from tests.ui.strangers import things_of

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

__all__ = ["chromium", "context"]
PREFIX = "/voices"


@pytest.fixture(scope="module", params=["taken off", "passed on", "a tunnel"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page under a prefix that the proxy takes off or leaves, or through a tunnel."""
    prefix = "" if request.param == "a tunnel" else PREFIX
    added = {} if prefix else {"x-forwarded-for": "192.0.2.7"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ROOT_PATH", prefix)
        with (
            launched(tmp_path_factory.mktemp("behind"), steps=2) as page,
            proxied(page.url, prefix, strip=request.param != "passed on", **added) as url,
        ):
            yield url


def test_a_client_sends_converts_follows_and_downloads(address: str, tmp_path: Path) -> None:
    client = Client(address, verbose=False, download_files=tmp_path)
    voice = things_of(client)["model_id"]
    row = client.submit(handle_file(RECORDING), voice, api_name="/convert_voice").result()
    assert row["status"] == "completed"
    assert Path(row["audio"]).stat().st_size > 1_000


@pytest.mark.parametrize("mark", [pytest.param(0, marks=MARKS)])
def test_a_browser_sends_a_recording_and_asks_nobody_else(
    context: BrowserContext, address: str, mark: int
) -> None:
    page = context.new_page()
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    page.goto(address)
    page.get_by_role("tab", name="Convert").click()
    page.locator("#convert-source input[type=file]").set_input_files(
        sorted((EXAMPLES / "recordings").glob("*.flac"))[0]
    )
    page.locator("#convert-source").get_by_role("button", name="Play").first.wait_for()
    assert failed == []
