"""What the browser remembers: asked of nobody, and never a choice that there is not."""

from __future__ import annotations

import json

import gradio as gr

from ui.tabs.remembered import note, recalled, remember_tab


def test_a_choice_is_kept_in_the_browser_and_nothing_is_asked_of_the_server() -> None:
    with gr.Blocks() as page:
        note(gr.Radio([("Speech", "speech"), ("Song", "song")]), "preset")
    (saved,) = page.fns.values()
    assert saved.fn is None
    assert 'timbre.set("preset"' in str(saved.js)
    assert 'timbre.get("preset")' in recalled("preset")


def test_no_tab_is_opened_that_the_page_does_not_have() -> None:
    with gr.Blocks() as page, gr.Tabs():
        with gr.Tab("Convert") as convert:
            pass
        remember_tab(page, {"convert": convert})
    opened = str(list(page.fns.values())[-1].js)
    assert json.dumps(["convert"]) + ".includes(kept)" in opened
