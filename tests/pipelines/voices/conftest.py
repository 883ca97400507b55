"""A library of voices, one of them built in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from tests.toy_worker import write_voice


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    registry = Registry(tmp_path / "data")
    write_voice(tmp_path / "builtin" / "alto", "Alto")
    yield Library(tmp_path / "data", registry, builtin_dir=tmp_path / "builtin")
    registry.close()
