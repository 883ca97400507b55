"""The player of two tracks on one clock: what was sent in and what came of it, or two takes.

A custom component of gr.HTML; how it works stands in player.js. Its value is what `tracks_of` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ui.look.language import tr

MOST_BUFFERED_S = 300.0  # longer recordings are not decoded in the browser's memory
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Track:
    name: str  # what the person calls it
    path: str  # a file that is published
    seconds: float


def two_track_player(elem_id: str) -> gr.HTML:
    """Return an empty player; it shows something when it is given a value."""
    return gr.HTML(
        None,
        html_template=(_FOLDER / "player.html").read_text(encoding="utf-8"),
        js_on_load=(_FOLDER / "player.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id=elem_id,
    )


def tracks_of(first: Track, second: Track, *, play: bool = False) -> dict[str, Any]:
    """Return what the player shows; the second track is the one that is chosen, and that can be downloaded.

    play: whether it comes into view, takes the focus and begins by itself, unless somebody types elsewhere.
    """
    texts = {
        "play": tr("Play"),
        "pause": tr("Pause"),
        "seek": tr("Position"),
        "level-text": tr("Same loudness"),
        "keys": tr("Keys: A and B switch, Space plays"),
        "download-text": tr("Download B"),
        "loading": tr("Loading the sound…"),
        "failed": tr("This browser cannot play one of the two; download it instead."),
    }
    return {
        "label": tr("Player: {first} and {second}", first=first.name, second=second.name),
        "tracks": [
            {
                "name": track.name,
                "seconds": track.seconds,
                "file": gr.FileData(path=track.path, orig_name=Path(track.path).name).model_dump(),
            }
            for track in (first, second)
        ],
        "chosen": 1,
        "play": play,
        "most_buffered_s": MOST_BUFFERED_S,
        "texts": texts,
    }
