"""The page: five tabs, the Admin page, the named endpoints, how it looks, and how to launch it.

System fonts only: the page asks nothing of any server but its own.
Contrast: text on its ground is 4.5:1 or better in the light and in the dark scheme.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ui.endpoints import add_endpoints
from ui.look.language import language_menu
from ui.server import appearance
from ui.server.admission import AdmissionMiddleware
from ui.server.appearance import ABOUT, NAME
from ui.server.gate import install_gate
from ui.server.gradio_changes import adapt_gradio
from ui.server.identity import CallerCookie, trust_proxies
from ui.server.languages import translate_gradio
from ui.server.live_socket import LiveSocket
from ui.server.login import Login, LoginMiddleware, user_of
from ui.server.monitoring import routes
from ui.server.published import ServedFiles, begin_links
from ui.server.services import FOLLOWED, QUIET, Answer, Services, as_gr_error
from ui.server.uploads import Uploads
from ui.tabs.account import AccountPart
from ui.tabs.admin import PATH, AdminLink, AdminPage
from ui.tabs.clone import CloneState, CloneTab
from ui.tabs.convert import ConvertTab
from ui.tabs.jobs import JobsTab
from ui.tabs.live import LiveTab
from ui.tabs.marks_part import MarksPart
from ui.tabs.remembered import note, remember_tab
from ui.tabs.running import RunningJobs
from ui.tabs.voices import VoicesTab

HEAD = f'<header class="tm-head"><h1>{NAME}</h1><p>{ABOUT}</p></header>'
BACK = '<a href="./">Back to clone and convert</a>'
ADMIN_HEAD = f'<header class="tm-head"><h1>{NAME}: admin</h1><p>{BACK}</p></header>'
LOST = (
    '<div id="tm-lost" role="alert" hidden>The server does not answer. Your jobs are kept and what you typed '
    "stays; the page goes on by itself as soon as the server is back.</div>"
)
TOLD = '<div id="tm-told" class="tm-unseen" role="status"></div>'
LOOK = Path(__file__).parent / "look"
CSS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(LOOK.glob("*.css")))
# In the page from the start, before what Gradio's scripts bring. Gradio's template is written for Jinja.
STYLE = (
    "<style>.gradio-container { max-width: 1180px !important; width: 100%; margin: 0 auto !important; }\n"
    ".nav-holder { display: none !important; }\n"
    "@media (max-width: 640px) { .gradio-container > .main { padding: .75rem !important; }\n"
    "  .toast-close { min-width: 44px; min-height: 44px; } }\n"
    ".tm-arriving .main > [data-testid=status-tracker] > * { visibility: hidden; }\n"
    ".tm-arriving :is(#tabs, #marks, footer, #running) { visibility: hidden; }</style>"
)
SCRIPT = f"<script>{{% raw %}}{(LOOK / 'everywhere.js').read_text(encoding='utf-8')}{{% endraw %}}</script>"
BUTTONS = {  # the same in the light and in the dark scheme
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_text_color": "white",
    "button_cancel_background_fill": "#b91c1c",
    "button_cancel_background_fill_hover": "#991b1b",
    "button_cancel_text_color": "white",
}
CLEAN_EVERY_S, CLEAN_AFTER_S = 3_600, 86_400
# One address may have 300 calls under way: the queue and its threads are enough for others beside it.
MAX_WAITING = 700
PER_FUNCTION = 64  # more than one user may have under way
THREADS = FOLLOWED + 40  # those that follow a job, each in a thread of its own, and all else


def build_page(services: Services) -> gr.Blocks:
    """Lay out the page, wire it and set up its queue; starts nothing."""
    page = gr.Blocks(title=NAME, delete_cache=(CLEAN_EVERY_S, CLEAN_AFTER_S))
    with page:
        with gr.Row(elem_id="head"):
            gr.HTML(HEAD, padding=False)
            with gr.Row(elem_id="account-bar", equal_height=True):
                gr.HTML(language_menu(), padding=False)
                admin_link = AdminLink(services)
                account = AccountPart(services)
        gr.HTML(LOST + TOLD, padding=False, elem_id="lost")
        running = RunningJobs(services)
        trains = services.settings.allow_training
        with gr.Tabs(selected="convert", elem_id="tabs") as tabs:
            with gr.Tab("Convert", id="convert") as convert_opened:
                convert = ConvertTab(services)
            with gr.Tab("Clone", id="clone", visible=trains) as clone_opened:
                clone = CloneTab(services)
            with gr.Tab("Live", id="live") as live_opened:
                live = LiveTab(services)
            with gr.Tab("Voices", id="voices") as voices_opened:
                voices = VoicesTab(services)
            with gr.Tab("Jobs", id="jobs") as jobs_opened:
                jobs = JobsTab(services)
        MarksPart(services)
        clone.wire(page)
        convert.wire(page, convert_opened)
        live.wire(page, live_opened)
        voices.wire(voices_opened)
        jobs.wire(jobs_opened)
        admin_link.wire(page)
        account.wire(page)
        running.wire(page)
        opened = {
            "convert": convert_opened,
            "live": live_opened,
            "voices": voices_opened,
            "jobs": jobs_opened,
        }
        remember_tab(page, opened | ({"clone": clone_opened} if trains else {}))
        note(convert.voice, "voice")
        note(convert.expert.preset, "preset")
        _wire_next_steps(tabs, clone, convert, voices, services)
        add_endpoints(services)
    with page.route("Admin", f"/{PATH}", show_in_navbar=False):
        gr.HTML(ADMIN_HEAD, padding=False)
        gr.HTML(LOST, padding=False)
        AdminPage(services).wire(page)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=PER_FUNCTION)
    return page


def launch_options(services: Services, page: gr.Blocks) -> dict[str, Any]:
    """Return the arguments of `Blocks.launch`; this process then believes the trusted proxies alone."""
    settings = services.settings
    trust_proxies(settings, shared=services.shared)
    adapt_gradio(appearance.HEAD + STYLE + SCRIPT, translate_gradio)
    begin_links(settings.data_dir, services.is_deleted)
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
        "favicon_path": appearance.ICON,
        "app_kwargs": {
            "routes": [
                *routes(services),
                *appearance.routes(),
                *Uploads(services).routes(),
                *LiveSocket(services).routes(),
                *(Login(services, accounts).routes() if accounts else []),
            ],
            "middleware": [
                identity,
                Middleware(AdmissionMiddleware, services=services, page=page),
                Middleware(ServedFiles),
            ],
            "lifespan": install_gate(settings),
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

    def trained(
        state: CloneState, engine: str, automatic: bool, semitones: float | None, request: gr.Request
    ) -> Answer:
        with as_gr_error():
            caller = services.caller(request)
            row = services.jobs.get(caller, state.watched.job_id) if state.watched else {}
        return chosen(row.get("model_id"), engine, automatic, semitones, request)

    def chosen(
        model_id: str | None, engine: str, automatic: bool, semitones: float | None, request: gr.Request
    ) -> Answer:
        offered = convert.voices(model_id, engine, automatic, semitones, request)
        return {tabs: gr.Tabs(selected="convert"), **offered}

    _, *now = convert.choice
    clone.view.next_step.click(trained, [clone.state, *now], [tabs, *convert.offered], **QUIET)
    voices.use.click(chosen, [voices.choice, *now], [tabs, *convert.offered], **QUIET)
