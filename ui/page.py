"""The page: five tabs, the named endpoints, and how to launch them."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ui.api import add_endpoints
from ui.look.theme import CSS, theme
from ui.server.identity import CallerCookie, believe_proxies
from ui.server.login import Login, LoginGate, user_of
from ui.server.middleware import UploadGate, fetch_nothing, gated
from ui.server.monitoring import routes
from ui.server.services import Services, Update, plain_errors
from ui.tabs.account import account_bar
from ui.tabs.admin import AdminTab
from ui.tabs.clone import CloneState, CloneTab
from ui.tabs.convert import ConvertTab, voice_choices
from ui.tabs.jobs import JobsTab
from ui.tabs.voices import VoicesTab

HEAD = (
    '<header class="tm-head"><h1>Timbre</h1>'
    "<p>Clone a voice from a few minutes of recordings, then convert any recording into it.</p></header>"
)
CLEAN_EVERY_S = 3_600
CLEAN_AFTER_S = 86_400
MAX_WAITING = 200
THREADS = 80  # enough for the followers (20 at most), a training that is followed, and all else at once


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
        _wire_next_steps(tabs, (clone, convert, voices), services)
        add_endpoints(services)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=8)
    return page


def launch_options(services: Services) -> dict[str, Any]:
    """Return the arguments of `Blocks.launch`; this process then believes the trusted proxies alone."""
    settings = services.settings
    believe_proxies(settings)
    fetch_nothing()
    accounts = services.callers.accounts
    identity = (
        Middleware(CallerCookie, callers=services.callers)
        if accounts is None
        else Middleware(LoginGate, services=services)
    )
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
            "middleware": [identity, Middleware(UploadGate, services=services)],
            "lifespan": gated(settings),
        },
        "auth_dependency": partial(user_of, services) if accounts else None,
    }


def _wire_next_steps(
    tabs: gr.Tabs, parts: tuple[CloneTab, ConvertTab, VoicesTab], services: Services
) -> None:
    """'Convert with this voice' leads to the Convert tab with the voice chosen."""
    clone, convert, voices = parts
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    convert_of = _NextStep(services)
    clone.view.next_step.click(convert_of.trained, clone.state, [tabs, convert.voice], **quiet)
    voices.use.click(convert_of.chosen, voices.choice, [tabs, convert.voice], **quiet)


class _NextStep:
    def __init__(self, services: Services) -> None:
        self._services = services

    def trained(self, state: CloneState, request: gr.Request) -> tuple[Update, Update]:
        """Choose the voice that the watched training made."""
        with plain_errors():
            caller = self._services.caller(request)
            row = self._services.jobs.get(caller, state.watched.job_id) if state.watched else {}
        return self.chosen(row.get("model_id"), request)

    def chosen(self, model_id: str | None, request: gr.Request) -> tuple[Update, Update]:
        """Choose a voice by its id."""
        with plain_errors():
            choices = voice_choices(self._services, request)
        return gr.Tabs(selected="convert"), gr.Dropdown(choices=choices, value=model_id)
