"""An address is no file: the server goes nowhere for a visitor."""

from __future__ import annotations

import pytest
import safehttpx  # type: ignore[import-untyped]
from gradio_client import Client  # type: ignore[import-untyped]

from tests.ui.launched import Launched
from tests.ui.raw_http import ask
from tests.ui.strangers import refusal

ADDRESS = "https://192.0.2.1/a.wav"


def test_nothing_is_fetched_from_an_address(page: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def noted(host: str, *_: object) -> str:
        asked.append(host)
        raise ValueError(host)

    async def noted_get(url: str, *_: object, **__: object) -> None:
        asked.append(url)
        raise ValueError(url)

    monkeypatch.setattr(safehttpx, "async_validate_url", noted)
    monkeypatch.setattr(safehttpx, "get", noted_get)
    before = sorted((page.data_dir / "jobs").iterdir())
    client = Client(page.url, verbose=False)
    file = {"path": ADDRESS, "orig_name": "a.wav", "meta": {"_type": "gradio.FileData"}}
    assert "send it itself" in refusal(client, file, api_name="/upload_target_audio")
    for address in (ADDRESS, ADDRESS.upper(), "//192.0.2.1/a.wav", "ftp://192.0.2.1/a.wav"):
        for way in ("file=", "file/", "proxy="):
            assert ask(page.url, f"/gradio_api/{way}{address}").status == 404
    assert sorted((page.data_dir / "jobs").iterdir()) == before
    assert asked == []
