"""What a person sees of their own account: who they are, personal tokens, what they use of the disk.

account_bar    at the head of the page, where there is a login: the name, and the way out
account_part   a folded part of the Voices tab
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.store.records import ENDED
from rvc.errors import NotAllowedError, RvcError
from ui.look.wording import ago
from ui.server.identity import personal_token
from ui.server.services import Services, Update, plain_errors, plain_id, remind

if TYPE_CHECKING:
    from pipelines.store.records import Caller, Row

BAR = '<p class="tm-account">{who}<a href="logout">Log out</a></p>'
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def account_bar(page: gr.Blocks, services: Services) -> None:
    """Lay out who is logged in, and the link that logs out; nothing where there is no login."""
    if services.callers.accounts is None:
        return

    def named(request: gr.Request) -> str:
        with plain_errors():
            caller = services.caller(request)
        role = " (admin)" if caller.admin else ""
        return BAR.format(who=f"<span>{escape(caller.user_id)}{role}</span>")

    bar = gr.HTML(BAR.format(who=""), padding=False, elem_id="account-bar")
    page.load(named, None, bar, **QUIET)


@dataclass(frozen=True, kw_only=True)
class AccountPart:
    """Components of the part that its listeners draw."""

    used: gr.HTML
    tokens: gr.Radio
    revoke: gr.Button
    clear: gr.Button

    @property
    def drawn(self) -> list[Any]:
        """Components in the order in which `_Listeners.show` returns their values."""
        return [self.used, self.tokens, self.revoke, self.clear]


def account_part(services: Services) -> None:
    """Lay out the part and wire it."""
    with gr.Accordion("Account, and use from Python", open=False, elem_id="account") as part:
        used = gr.HTML(elem_id="account-used", padding=False)
        clear = gr.Button(
            "Delete my jobs that have ended …", size="sm", visible=False, elem_id="account-clear"
        )
        with gr.Column(visible=False, elem_classes=["tm-danger"], elem_id="account-question") as question:
            gr.Markdown(
                "**Delete all your jobs that have ended, with their recordings and results?** Voices stay."
            )
            with gr.Row():
                keep = gr.Button("Keep them", elem_id="account-keep")
                sure = gr.Button("Delete for good", variant="stop", elem_id="account-sure")
        gr.Markdown(
            "A program that sends one of your tokens is taken for you. A token is shown once, when it is "
            "made; revoke those that you no longer need."
        )
        name = gr.Textbox(
            label="Name of a new token", placeholder="My laptop", max_length=80, elem_id="token-name"
        )
        create = gr.Button("Create a token", variant="primary", size="sm", elem_id="token-create")
        code = gr.Code(
            language="python", label="Python", visible=False, interactive=False, elem_id="token-code"
        )
        tokens = gr.Radio(
            label="Your tokens", choices=[], visible=False, elem_id="tokens", elem_classes=["tm-list"]
        )
        revoke = gr.Button("Revoke the chosen token", size="sm", visible=False, elem_id="token-revoke")
    drawn = AccountPart(used=used, tokens=tokens, revoke=revoke, clear=clear).drawn
    listeners = _Listeners(services)
    part.expand(listeners.show, None, drawn, **QUIET)
    for made in (create.click, name.submit):
        made(listeners.create, [name], [code, name, *drawn], **QUIET)
    revoke.click(listeners.revoke, [tokens], drawn, **QUIET)
    clear.click(lambda: gr.Column(visible=True), None, question, queue=False, **QUIET)
    keep.click(lambda: gr.Column(visible=False), None, question, queue=False, **QUIET)
    sure.click(listeners.clear, None, [question, *drawn], **QUIET)


def create_token(services: Services, request: gr.Request, name: str) -> tuple[str, Row]:
    """Make a personal token of the caller's and return it with its row.

    Raises:
        NotAllowedError: The request itself comes by a personal token, which could otherwise outlive its own
            revocation; or there are too many.
        ConfigError: The name cannot be used.
        LimitError: The caller has started too much within an hour.
    """
    caller = services.caller(request)
    if personal_token(request.headers):
        raise NotAllowedError("A token cannot make tokens; make one on the page.")
    services.jobs.limits.take("starts", caller)
    return services.callers.tokens.create(caller.user_id, "personal", name)


class _Listeners:
    """What happens at each event; every one checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def show(self, request: gr.Request) -> tuple[Any, ...]:
        """Draw what is used and the tokens."""
        with plain_errors():
            return self._drawn(self._services.caller(request))

    def create(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        """Make a token and show it, this once, in the code that uses it."""
        if not (name or "").strip():
            remind("Give the token a name.")
            return (gr.skip(),) * 6
        with plain_errors():
            caller = self._services.caller(request)
            token, _ = create_token(self._services, request, name)
            return gr.Code(_code(request, token), visible=True), "", *self._drawn(caller)

    def revoke(self, token_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """End a token."""
        if not token_id:
            remind("Choose a token.")
            return (gr.skip(),) * 4
        with plain_errors():
            caller = self._services.caller(request)
            row = self._services.callers.tokens.revoke(caller.user_id, plain_id(token_id, "token"))
            gr.Info(f"The token {row['name']} is revoked.")
            return self._drawn(caller)

    def clear(self, request: gr.Request) -> tuple[Any, ...]:
        """Delete the caller's jobs that have ended, the newest first, and uploads that nothing needs."""
        with plain_errors():
            caller = self._services.caller(request)
            jobs = self._services.jobs
            for row in jobs.list(caller, user_id=caller.user_id):
                if row["status"] in ENDED or row["status"] == "uploaded":
                    try:
                        jobs.remove(caller, row["id"])
                    except RvcError:
                        continue  # something that runs needs it, or it went with another one
            return gr.Column(visible=False), *self._drawn(caller)

    def _drawn(self, caller: Caller) -> tuple[Update, Update, Update, Update]:
        rows = self._services.callers.tokens.list(caller.user_id)
        choices = [(_line_of(row), row["id"]) for row in rows]
        return (
            self._used(caller),
            gr.Radio(choices=choices, value=None, visible=bool(rows)),
            gr.Button(visible=bool(rows)),
            gr.Button(visible=bool(self._services.jobs.list(caller, user_id=caller.user_id))),
        )

    def _used(self, caller: Caller) -> str:
        used, quota_mb = (
            self._services.jobs.quota.used(caller.user_id),
            self._services.settings.quota_mb_per_user,
        )
        of = f" of {quota_mb:g} MB" if quota_mb else ""
        return (
            f"<p>You use {used.total / 1e6:.1f} MB{of}: recordings and jobs {used.jobs / 1e6:.1f} MB, "
            f"voices {used.voices / 1e6:.1f} MB.</p>"
        )


def _line_of(row: Row) -> str:
    used = f"used {ago(row['last_used_at'])}" if row["last_used_at"] else "never used"
    return f"{row['name']} · made {ago(row['created_at'])} · {used}"


def _code(request: gr.Request, token: str) -> str:
    host = str(request.headers.get("origin") or request.headers.get("host") or "http://127.0.0.1:7860")
    url = host if host.startswith("http") else f"http://{host}"
    lines = [
        "from gradio_client import Client, handle_file",
        "",
        f'token = "{token}"',
        f'client = Client("{url}", headers={{"Authorization": f"Bearer {{token}}"}})',
        'voices = client.predict(api_name="/list_models")',
        'job = client.submit(handle_file("speech.wav"), voices[0]["id"], api_name="/convert_voice")',
        'print(job.result()["audio"])',
    ]
    return "\n".join(lines)
