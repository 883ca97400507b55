"""What a case is, and the app that it is put to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]
from numpy.typing import NDArray

PATIENCE_S = 300.0
ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    kind: str
    name: str
    expected: str
    got: str
    right: bool


def judged(kind: str, name: str, expected: str, measure: Callable[[], tuple[str, bool]]) -> Row:
    """Make a row of what was got and whether it is right; a refusal or a failure is a wrong row."""
    try:
        got, right = measure()
    except Exception as error:  # noqa: BLE001 -- whatever comes stands in the table
        got, right = str(error), False
    return Row(kind, name, expected, got, right)


@dataclass
class App:
    """A launched app, as a program calls it."""

    client: Client
    voices: dict[str, str] = field(default_factory=dict)  # name of a built-in voice -> its id

    def ask(self, endpoint: str, *arguments: object, **named: object) -> Any:  # noqa: ANN401 -- as the endpoint answers
        return self.client.predict(*arguments, api_name=f"/{endpoint}", **named)

    def refusal(self, endpoint: str, *arguments: object, **named: object) -> str:
        """Say how something is refused; empty if it is not."""
        try:
            self.ask(endpoint, *arguments, **named)
        except Exception as error:  # noqa: BLE001 -- whatever comes is what the caller gets
            return str(error)
        return ""

    def file(self, path: Path) -> Any:  # noqa: ANN401 -- the client has no type for it
        return handle_file(path)

    def upload(self, path: Path) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask("upload_target_audio", self.file(path))
        return answer

    def finished(self, job_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while (row := self.ask("job_status", job_id))["status"] not in ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is still {row['status']}")
            time.sleep(0.1)
        return dict(row)

    def converted(self, path: Path, voice: str, **settings: object) -> tuple[NDArray[np.float64], int]:
        """Convert a recording; the samples and their rate."""
        upload = self.upload(path)
        job = self.ask("start_conversion", upload["job_id"], self.voices[voice], settings)
        row = self.finished(job["id"])
        if row["status"] != "completed":
            raise RuntimeError(row["error_message"])
        wav, rate_hz = sf.read(self.ask("download_audio", row["id"]))
        return wav, rate_hz
