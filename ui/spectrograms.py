"""Before and after as a picture, for the page."""

from __future__ import annotations

import secrets
from pathlib import Path

from gradio.utils import get_upload_folder

from pipelines.spectrogram_picture import draw_conversion


def picture_of(before: Path, after: Path, name: str) -> str:
    """Draw the spectrograms of two recordings, one above the other.

    Args:
        before: The recording.
        after: The converted one.
        name: What the voice is called.

    Returns:
        Path of a PNG where Gradio may serve it.
    """
    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    picture = folder / "spectrograms.png"
    draw_conversion(before, after, picture, name=name)
    return str(picture)
