"""What can be heard before anything is computed, as buttons at the top of the Convert tab."""

from __future__ import annotations

from html import escape

import gradio as gr

from pipelines.store.records import Rows
from ui.look.language import tr
from ui.look.voice_cards import play_button
from ui.server.heard_examples import NAMES, example_files
from ui.server.published import publish_once


def hear_now() -> gr.HTML:
    """Return the part of the page, still without its buttons."""
    return gr.HTML(elem_id="hear-now", padding=False, apply_default_css=False)


def heard(voices: Rows) -> str:
    """Return play buttons for each example: the recording, and what each voice that ships made of it."""
    titles = (tr("Speech"), tr("A sung line"), tr("A whisper"))
    examples = "".join(_example(name, title, voices) for name, title in zip(NAMES, titles, strict=True))
    said = tr("Made before with the voices that come with Timbre, so they play at once.")
    return (
        f'<h2>{escape(tr("Hear it now"))}</h2><p class="tm-quiet">{escape(said)}</p>'
        f'<div class="tm-heard">{examples}</div>'
    )


def _example(name: str, title: str, voices: Rows) -> str:
    buttons = []
    for row, path in example_files(name, voices):
        if row is None:
            text, told = tr("Recording"), tr("Hear the recording: {example}", example=title)
        else:
            text = str(row["model_name"])
            told = tr("Hear it as {name}: {example}", name=text, example=title)
        buttons.append(play_button(publish_once(path, path.stem), told, text=text))
    return f"<div><h3>{escape(title)}</h3>{''.join(buttons)}</div>" if buttons else ""
