"""What a browser remembers of its visitor's last choices, so that a page that is opened again goes on there.

Kept by the browser itself (localStorage), by `timbre.get` and `timbre.set` of ui/look/everywhere.js. Not by
gr.BrowserState: its value goes to the server and back for every change and every visitor who opens the page,
and its secret stands in the page, so that it hides nothing.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ui.server.services import QUIET


def note(component: Any, key: str) -> None:  # noqa: ANN401
    """Note every value that a component takes."""
    saved = f"(value) => {{ window.timbre.set({json.dumps(key)}, value); }}"
    component.change(None, component, None, js=saved, **QUIET)


def recalled(key: str) -> str:
    """Return the JavaScript of a listener whose first input shall be what was noted, if anything was.

    For `page.load(fn, box, box, js=recalled(key))`; the server says of what is no choice that it is gone.
    """
    return f"""(value, ...others) => {{
        const kept = window.timbre.get({json.dumps(key)});
        return [kept !== null ? kept : value, ...others];
    }}"""


def remember_tab(page: gr.Blocks, tabs: dict[str, gr.Tab]) -> None:
    """Open the tab that was open last, if the page has it still."""
    for name, tab in tabs.items():
        tab.select(None, None, None, js=f"() => {{ window.timbre.set('tab', {json.dumps(name)}); }}", **QUIET)
    known = json.dumps(list(tabs))
    opened = f"""() => {{
        const kept = window.timbre.lastTab;
        if ({known}.includes(kept)) window.timbre.tab(kept);
    }}"""
    page.load(None, None, None, js=opened, **QUIET)
