"""The page: five tabs, the named endpoints, how it looks, and how to launch it.

System fonts only: the page asks nothing of any server but its own.
Contrast: text on its ground is 4.5:1 or better in the light and in the dark scheme.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ui.api import add_endpoints
from ui.server.identity import CallerCookie, trust_proxies
from ui.server.login import Login, LoginMiddleware, user_of
from ui.server.middleware import UploadMiddleware, forbid_fetching, install_middleware
from ui.server.monitoring import routes
from ui.server.services import QUIET, Answer, Services, as_gr_error
from ui.tabs.account import account_bar
from ui.tabs.admin import AdminTab
from ui.tabs.clone import CloneState, CloneTab
from ui.tabs.convert import ConvertTab
from ui.tabs.jobs import JobsTab
from ui.tabs.voices import VoicesTab

HEAD = (
    '<header class="tm-head"><h1>Timbre</h1>'
    "<p>Clone a voice from a few minutes of recordings, then convert any recording into it.</p></header>"
)
CSS = (Path(__file__).parent / "look" / "page.css").read_text(encoding="utf-8")
BUTTONS = {  # the same in the light and in the dark scheme
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_text_color": "white",
    "button_cancel_background_fill": "#b91c1c",
    "button_cancel_background_fill_hover": "#991b1b",
    "button_cancel_text_color": "white",
}
CLEAN_EVERY_S, CLEAN_AFTER_S = 3_600, 86_400
MAX_WAITING = 200
THREADS = (
    160  # enough for who starts a job and follows it (100), the other followers (20), and all else at once
)


def build_page(services: Services) -> gr.Blocks:
    """Lay out the page, wire it and set up its queue; starts nothing."""
    page = gr.Blocks(title="Timbre", delete_cache=(CLEAN_EVERY_S, CLEAN_AFTER_S))
    with page:
        gr.HTML(HEAD, padding=False)
        account_bar(page, services)
        trains = services.settings.allow_training
        with gr.Tabs(selected="clone" if trains else "convert", elem_id="tabs") as tabs:
            with gr.Tab("Clone", id="clone", visible=trains):
                clone = CloneTab(services)
            with gr.Tab("Convert", id="convert") as convert_opened:
                convert = ConvertTab(services)
            with gr.Tab("Voices", id="voices") as voices_opened:
                voices = VoicesTab(services)
            with gr.Tab("Jobs", id="jobs") as jobs_opened:
                jobs = JobsTab(services)
            with gr.Tab("Admin", id="admin", visible=False) as admin_opened:
                admin = AdminTab(services)
        clone.wire(page)
        convert.wire(page, convert_opened)
        voices.wire(voices_opened)
        jobs.wire(jobs_opened)
        admin.wire(page, admin_opened)
        _wire_next_steps(tabs, clone, convert, voices, services)
        add_endpoints(services)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=8)
    return page


def launch_options(services: Services) -> dict[str, Any]:
    """Return the arguments of `Blocks.launch`; this process then believes the trusted proxies alone."""
    settings = services.settings
    trust_proxies(settings)
    forbid_fetching()
    accounts = services.callers.accounts
    identity = Middleware(LoginMiddleware, services=services)
    if accounts is None:
        identity = Middleware(CallerCookie, callers=services.callers)
    return {
        "theme": theme(),
        "css": CSS,
        "max_file_size": settings.max_sent_bytes,
        "max_threads": THREADS,
        "show_error": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "run_history": False,
        "footer_links": ["api"],
        "app_kwargs": {
            "routes": [*routes(services), *(Login(services, accounts).routes() if accounts else [])],
            "middleware": [identity, Middleware(UploadMiddleware, services=services)],
            "lifespan": install_middleware(settings),
        },
        "auth_dependency": partial(user_of, services) if accounts else None,
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


def _wire_next_steps(
    tabs: gr.Tabs, clone: CloneTab, convert: ConvertTab, voices: VoicesTab, services: Services
) -> None:
    """'Convert with this voice' leads to the Convert tab with the voice chosen."""

    def trained(state: CloneState, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = services.caller(request)
            row = services.jobs.get(caller, state.watched.job_id) if state.watched else {}
        return chosen(row.get("model_id"), request)

    def chosen(model_id: str | None, request: gr.Request) -> Answer:
        return {tabs: gr.Tabs(selected="convert"), **convert.voices(model_id, request)}

    clone.view.next_step.click(trained, clone.state, [tabs, convert.voice], **QUIET)
    voices.use.click(chosen, voices.choice, [tabs, convert.voice], **QUIET)
