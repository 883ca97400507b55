"""What tests of the command line share: toy work, and a call that tells how it ended."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import app
from tests.sounds import tone, write
from tests.ui.command_line.toy_program import with_toy_work


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def sentence(self) -> str:
        """What was said, which must be one sentence."""
        (line,) = self.err.splitlines()
        assert line.endswith("."), line
        return line


Call = Callable[..., Ended]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run a command as `python app.py` does, in this process, with toy work."""
    with_toy_work(monkeypatch)
    for name in ("TIMBRE_SERVER", "TIMBRE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Ended:
        capfd.readouterr()
        status = app.main([str(one) for one in arguments])
        told = capfd.readouterr()
        return Ended(status=status, out=told.out, err=told.err)

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write(tmp_path / "me.wav", "wav16", tone(1.0, 8_000), 8_000)


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
