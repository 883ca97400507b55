"""The examples that can be heard before anything is computed, made by `pipelines.examples`."""

from __future__ import annotations

from pathlib import Path

from pipelines.store.records import Row, Rows
from pipelines.voices.library import BUILTIN_PREFIX
from ui.server.services import EXAMPLES

HEARD = EXAMPLES / "heard"
NAMES = ("speech", "song", "whisper")


def example_files(name: str, voices: Rows) -> list[tuple[Row | None, Path]]:
    """Return an example's recording (of no voice), and what each voice that ships made of it."""
    found: list[tuple[Row | None, Path]] = [(None, HEARD / f"{name}.mp3")]
    for row in voices:
        model_id = str(row["id"])
        if model_id.startswith(BUILTIN_PREFIX):
            found.append((row, HEARD / f"{name}-{model_id.removeprefix(BUILTIN_PREFIX)}.mp3"))
    return [(row, path) for row, path in found if path.is_file()]
