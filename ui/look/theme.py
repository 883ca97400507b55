"""Colours, type and the few rules of CSS that Gradio's own components leave to us.

System fonts only: the page asks nothing of any server but its own.
Contrast: text on its ground is 4.5:1 or better in the light and in the dark scheme.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

WAVE_SOURCE = "#8a8f98"
WAVE_RESULT = "#0f766e"
CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
BUTTONS = {  # the same in the light and in the dark scheme
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_text_color": "white",
    "button_cancel_background_fill": "#b91c1c",
    "button_cancel_background_fill_hover": "#991b1b",
    "button_cancel_text_color": "white",
}


def theme() -> gr.themes.Base:
    """Return the theme: teal for what to press, stone for everything else."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    return gr.themes.Default(
        primary_hue="teal", secondary_hue="stone", neutral_hue="stone", font=sans, font_mono=mono
    ).set(
        **{name + scheme: value for name, value in BUTTONS.items() for scheme in ("", "_dark")},
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
    )
