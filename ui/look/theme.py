"""Colours, type and the few rules of CSS that Gradio's own components leave to us.

System fonts only: the page asks nothing of any server but its own.
Contrast: text on its ground is 4.5:1 or better in the light and in the dark scheme.
"""

from __future__ import annotations

import gradio as gr

WAVE_SOURCE = "#8a8f98"
WAVE_RESULT = "#0f766e"
CURVE_COLOURS = {"training": "#d97706", "held-out": "#0f766e"}


def theme() -> gr.themes.Base:
    """Return the theme: teal for what to press, stone for everything else."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    return gr.themes.Default(
        primary_hue="teal", secondary_hue="stone", neutral_hue="stone", font=sans, font_mono=mono
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_dark="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_hover_dark="#991b1b",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
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


CSS = """
.gradio-container { max-width: 1180px !important; width: 100%; margin: 0 auto !important; }
button[role="tab"][aria-selected="true"] { color: #0f766e !important; font-weight: 600; }
.dark button[role="tab"][aria-selected="true"] { color: #2dd4bf !important; }
footer .divider:last-child, footer > .divider { display: none !important; }
.tm-list .wrap { flex-direction: column; align-items: stretch; flex-wrap: nowrap; max-height: 32rem;
  overflow-y: auto; }
.tm-list label { overflow-wrap: anywhere; }
.gradio-container .html-container { padding: 0; }
.tm-head h1 { font-size: 1.7rem; margin: .2rem 0 0; letter-spacing: -.01em; }
.tm-head p { margin: .1rem 0 .4rem; color: var(--body-text-color-subdued); }
.tm-account { display: flex; gap: .9rem; justify-content: flex-end; align-items: baseline; margin: 0;
  overflow-wrap: anywhere; }
.gradio-container .tm-account a { color: var(--body-text-color); padding: 0; }
.tm-step { font-weight: 600; font-size: 1.02rem; margin: .2rem 0 0; }
.tm-card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: .8rem 1rem;
  background: var(--block-background-fill); overflow-wrap: anywhere; }
.tm-card h3 { margin: 0 0 .35rem; font-size: 1.02rem; }
.tm-card p { margin: .25rem 0; }
.tm-card ul, .tm-card ol { margin: .3rem 0 .3rem 1.1rem; padding: 0; }
.tm-card li { margin: .2rem 0; }
.timestamps time { color: var(--body-text-color-subdued) !important; }
.file-preview td, .file-preview td.download a { color: var(--body-text-color) !important; }
[data-testid="waveform-controls"] button.icon, [data-testid="source-select"] button.icon:not(.selected) {
  color: var(--body-text-color-subdued) !important; border-color: currentColor; }
.tm-quiet { color: var(--body-text-color-subdued); }
.tm-empty { border-style: dashed; }
.tm-good { border-left: 5px solid #0f766e; }
.tm-warn { border-left: 5px solid #b45309; }
.tm-bad { border-left: 5px solid #b91c1c; }
.tm-bar { height: .6rem; border-radius: .3rem; background: var(--neutral-200); overflow: hidden;
  margin: .5rem 0; }
.dark .tm-bar { background: var(--neutral-700); }
.tm-bar > div { height: 100%; background: #0f766e; transition: width .4s; }
.dark .tm-bar > div { background: #14b8a6; }
.tm-bar.tm-stopped > div { background: var(--neutral-400); }
.tm-row { display: flex; justify-content: space-between; gap: .8rem; flex-wrap: wrap; }
.tm-chip { display: inline-block; align-self: flex-start; border-radius: 1rem; padding: 0 .55rem;
  font-size: .82rem; font-weight: 600; white-space: nowrap; background: #e7e5e4; color: #292524; }
.tm-chip.good { background: #ccfbf1; color: #115e59; }
.tm-chip.warn { background: #fef3c7; color: #92400e; }
.tm-chip.bad { background: #fee2e2; color: #991b1b; }
.tm-facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem .9rem; margin: .4rem 0; }
.tm-facts dt { color: var(--body-text-color-subdued); }
.tm-facts dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
.tm-log { max-height: 16rem; overflow: auto; font: .82rem/1.4 var(--font-mono); white-space: pre-wrap;
  background: var(--background-fill-secondary); border-radius: 6px; padding: .6rem; margin: .4rem 0 0; }
.tm-card ul.tm-files { list-style: none; margin: .5rem 0 0; }
.tm-files li { border-top: 1px solid var(--border-color-primary); padding: .45rem 0; margin: 0; }
.tm-card + .tm-card, .tm-facts + .tm-card { margin-top: .6rem; }
.gradio-container .tm-card table.tm-table { width: 100%; border-collapse: collapse; border: 0; }
.gradio-container .tm-card .tm-table :is(th, td) { border: 0; padding: .4rem .8rem .4rem 0; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; color: inherit; }
.gradio-container .tm-card .tm-table :is(th, td) + :is(th, td) { white-space: nowrap; }
.gradio-container .tm-card .tm-table :is(th, td):last-child { padding-right: 0; width: 1%; }
.gradio-container .tm-card .tm-table :is(thead, tbody, tr) { border: 0; }
.gradio-container .tm-card .tm-table td { border-top: 1px solid var(--border-color-primary); }
.tm-card summary { cursor: pointer; margin-top: .5rem; font-weight: 600; }
.tm-table { width: 100%; border-collapse: collapse; }
.tm-table, .tm-table :is(th, td, tr) { border: 0 !important; }
.tm-table th, .tm-table td { text-align: left; padding: .3rem .5rem .3rem 0; font-weight: 400;
  overflow-wrap: anywhere; }
.tm-table tbody :is(th, td) { border-top: 1px solid var(--border-color-primary) !important; }
.tm-table thead th { color: var(--body-text-color-subdued); }
.tm-danger { border: 1px solid #b91c1c !important; border-radius: 10px; padding: .8rem !important; }
@media (max-width: 640px) {
  .gradio-container { padding: .5rem !important; }
  .tm-card { padding: .7rem .8rem; }
  .tab-wrapper .tab-container button { padding: 0 .4rem !important; font-size: .9rem !important; }
}
"""
