"""The recordings of a voice that come with the program, to try a training with."""

from __future__ import annotations

import filecmp

from rvc.errors import AudioError
from ui.server.published import publish_file
from ui.server.services import EXAMPLES, uploaded_files

EXAMPLE_FILES = sorted((EXAMPLES / "voice").glob("*.ogg"))
EXAMPLE_NAME, EXAMPLE_LANGUAGE = "Wren", "en"


def example_files() -> list[str]:
    """Put the example recordings where the page may read them; return where."""
    return [publish_file(path, path.stem) for path in EXAMPLE_FILES]


def is_example(files: list[str] | None) -> bool:
    """Whether files that were sent in are the example's recordings, all of them, and nothing else."""
    try:
        sent = [path for path, _ in uploaded_files(files)]
    except AudioError:
        return False
    if [path.name for path in sent] != [path.name for path in EXAMPLE_FILES]:
        return False
    return all(filecmp.cmp(one, own, shallow=False) for one, own in zip(sent, EXAMPLE_FILES, strict=True))
