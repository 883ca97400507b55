"""What is missing or wrong, said at its field: marked, announced, and gone when it is mended.

A note stands under its field in the layout. A listener sets it to a sentence (`said`), or to "" when all is
well; after a button was pressed, `FOCUS_MISSING` takes a person to the first field that is marked.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

_JS = (Path(__file__).parent / "fields.js").read_text(encoding="utf-8")
FOCUS_MISSING = """() => {
    const field = [...document.querySelectorAll(".tm-field-missing")].find((one) => one.checkVisibility());
    if (!field) return;
    field.scrollIntoView({block: "center"});
    const part = field.querySelector("input:checked, input:not([type=file]), textarea, button, [tabindex]");
    part?.focus({preventScroll: true});
}"""


def field_note(field_id: str) -> gr.HTML:
    """Return the empty note of the field that has this id."""
    return gr.HTML(
        "",
        html_template='<p class="tm-missing" role="alert">${value}</p>',
        js_on_load=_JS,
        apply_default_css=False,
        elem_id=f"{field_id}-note",
        field=field_id,
    )


def said(sentence: str) -> str:
    """Return the value of a note that says this; what a person typed may be in it."""
    return escape(sentence)
