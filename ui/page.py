"""The page: five tabs, the named endpoints, and how to launch them."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ui.api import GPU, WATCH, AccountEndpoints, BatchEndpoints, Endpoints, ServerEndpoints, VoiceEndpoints
from ui.look.theme import CSS, theme
from ui.server.identity import CallerCookie, believe_proxies
from ui.server.login import Login, LoginGate, user_of
from ui.server.middleware import UploadGate, fetch_nothing, gated
from ui.server.monitoring import routes
from ui.server.services import Services, Update, plain_errors
from ui.tabs.account import account_bar
from ui.tabs.admin import admin_tab, wire_admin
from ui.tabs.clone import CloneState, CloneTab
from ui.tabs.convert import ConvertTab, convert_tab, voice_choices, wire_voices
from ui.tabs.jobs import JobsTab
from ui.tabs.voices import VoicesTab, voices_tab
from ui.tabs.voices import wire_refresh as refresh_voices

HEAD = (
    '<header class="tm-head"><h1>Timbre</h1>'
    "<p>Clone a voice from a few minutes of recordings, then convert any recording into it.</p></header>"
)
CLEAN_EVERY_S = 3_600
CLEAN_AFTER_S = 86_400
MAX_WAITING = 200
THREADS = 80
"""Enough for the followers (20 at most), a training that is followed, and everything else at once."""


def build_page(services: Services) -> gr.Blocks:
    """Lay out the page and wire it; starts nothing.

    Args:
        services: The collaborators.

    Returns:
        The page, with its queue set up.
    """
    page = gr.Blocks(title="Timbre", delete_cache=(CLEAN_EVERY_S, CLEAN_AFTER_S))
    with page:
        gr.HTML(HEAD, padding=False)
        account_bar(page, services)
        trains = services.settings.allow_training
        with gr.Tabs(selected="clone" if trains else "convert", elem_id="tabs") as tabs:
            with gr.Tab("Clone", id="clone", visible=trains):
                clone = CloneTab(services)
            with gr.Tab("Convert", id="convert") as convert_opened:
                convert = convert_tab(services)
            with gr.Tab("Voices", id="voices") as voices_opened:
                voices = voices_tab(services)
            with gr.Tab("Jobs", id="jobs") as jobs_opened:
                jobs = JobsTab(services)
            with gr.Tab("Admin", id="admin", visible=False) as admin_opened:
                admin = admin_tab(services)
        clone.wire(page)
        wire_voices(page, convert, convert_opened, services)
        refresh_voices(voices_opened.select, voices, services)
        jobs.wire(jobs_opened)
        wire_admin(page, admin_opened, admin, services)
        _wire_next_steps(tabs, (clone, convert, voices), services)
        _add_endpoints(services)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=8)
    return page


def launch_options(services: Services) -> dict[str, Any]:
    """Return the arguments of `Blocks.launch` that every launch of the page shares.

    The server that is then launched believes the forwarded headers of the trusted proxies alone.
    """
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
    """Leads to the Convert tab."""

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


def _add_endpoints(services: Services) -> None:
    account = AccountEndpoints(services)
    jobs, voices, server = Endpoints(services), VoiceEndpoints(services), ServerEndpoints(services)
    batch = BatchEndpoints(services)
    quick = [
        jobs.upload_training_audio,
        jobs.upload_target_audio,
        jobs.validate_audio,
        jobs.prepare_voice,
        jobs.dataset_report,
        jobs.start_training,
        jobs.start_conversion,
        batch.upload_batch_audio,
        batch.start_batch,
        jobs.job_status,
        jobs.list_jobs,
        jobs.cancel_job,
        jobs.retry_job,
        jobs.resume_job,
        jobs.download_audio,
        jobs.download_input,
        voices.list_models,
        voices.get_model,
        voices.rename_model,
        voices.delete_model,
        voices.model_stats,
        voices.import_model,
        voices.export_model,
        account.account,
        account.create_token,
        account.list_tokens,
        account.revoke_token,
        account.delete_job,
        server.health,
        server.info,
    ]
    for endpoint in quick:
        gr.api(endpoint, api_name=endpoint.__name__)
    for followed in (jobs.follow_job, jobs.follow_jobs, jobs.train_voice):
        gr.api(followed, api_name=followed.__name__, **WATCH)
    gr.api(jobs.convert_voice, api_name="convert_voice", **GPU)
