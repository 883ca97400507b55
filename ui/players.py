"""The page's players: the same for every recording, grey for a source and teal for a voice."""

from __future__ import annotations

import gradio as gr

from ui.services import Update
from ui.theme import WAVE_RESULT, WAVE_SOURCE


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
