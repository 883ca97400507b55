"""What the tests of the page share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.visitor import services_at
from ui.server.services import Services


@pytest.fixture
def page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Gradio keeps its copies, here instead of where the whole machine has them."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.fixture
def services(data_dir: Path, page_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """A page that is not served, on toy work of a moment."""
    monkeypatch.setenv("TOY_STEP_S", "0.02")
    with services_at(data_dir) as services:
        yield services
