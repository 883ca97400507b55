"""A meter of the microphone: while it records, a bar and in words whether it is too loud or too quiet."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from ui.look.language import tr

_JS = (Path(__file__).parent / "level.js").read_text(encoding="utf-8")


def level_meter(*, clipped: float, quiet_db: float) -> gr.HTML:
    """Return a meter for the recorder that stands in the same part of the page.

    clipped: of full scale, from which a sample is distorted; quiet_db: the level of speech below which it is
    too quiet.
    """
    states = {
        "loud": tr("Too loud: move away from the microphone."),
        "quiet": tr("Too quiet: come nearer to the microphone, or speak up."),
        "good": tr("Your voice is well heard."),
    }
    words = "".join(f'<span data-state="{state}">{escape(said)}</span>' for state, said in states.items())
    bar = f'<div class="tm-level" data-clipped="{clipped}" data-quiet="{quiet_db}" aria-hidden="true" hidden>'
    html = f'{bar}<i></i></div><p role="status"></p><div hidden>{words}</div>'
    return gr.HTML(html, js_on_load=_JS, padding=False, elem_id="clone-level")
