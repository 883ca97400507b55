"""The page's players: the same for every recording, grey for a source and teal for a voice.

Before and after as a picture, for the page.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from pipelines.spectrogram_picture import draw_conversion
from ui.look.theme import WAVE_RESULT, WAVE_SOURCE
from ui.server.services import Update


def player(label: str, elem_id: str, *, source: bool = False, download: bool = False) -> Update:
    """Return a player without a recording.

    Args:
        label: What is played.
        elem_id: Its id on the page.
        source: Whether it plays what a person sent in, and not what a voice says.
        download: Whether it offers a download.
    """
    return gr.Audio(
        label=label,
        type="filepath",
        interactive=False,
        buttons=["download"] if download else [],
        waveform_options=waveform(source=source),
        elem_id=elem_id,
    )


def waveform(*, source: bool) -> Update:
    """Return how a waveform is drawn."""
    return gr.WaveformOptions(waveform_progress_color=WAVE_SOURCE if source else WAVE_RESULT)


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
