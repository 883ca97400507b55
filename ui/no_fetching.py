"""Nothing is fetched from elsewhere on a visitor's word.

Gradio takes an address in a file's place: it then loads what lies there, however large, into this process
and into its cache, past the upload gate, every limit and every quota. And it passes on to a browser whatever
lies at the address in /gradio_api/file=ADDRESS. Here files are sent, and addresses are refused.
"""

from __future__ import annotations

from typing import NoReturn

import gradio as gr
from gradio import processing_utils

PASSED_ON = ("/gradio_api/file=http:", "/gradio_api/file=https:")
"""How the paths begin that ask for what lies at an address."""
REFUSAL = "This server fetches nothing from addresses; download the file and send it itself."


def fetch_nothing() -> None:
    """Have Gradio refuse addresses in the place of files; for the whole process."""
    processing_utils.async_ssrf_protected_download = _refuse


async def _refuse(*_: object, **__: object) -> NoReturn:
    raise gr.Error(REFUSAL, print_exception=False)
