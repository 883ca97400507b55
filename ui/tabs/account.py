"""What a person sees of their own account: who they are, personal tokens, what they use of the disk."""

from __future__ import annotations

from contextlib import suppress
from html import escape

import gradio as gr

from pipelines.store.records import ENDED, Caller, Row
from rvc.errors import NotAllowedError, RvcError
from ui.look.html import choice_list, hidden_button
from ui.look.wording import ago
from ui.server.identity import personal_token
from ui.server.services import QUIET, Answer, Services, as_gr_error, validate_id, warn_of

BAR = '<p class="tm-account">{who}<a href="logout">Log out</a></p>'
PROGRAM = """from gradio_client import Client, handle_file

token = "{token}"
client = Client("{url}", headers={{"Authorization": f"Bearer {{token}}"}})
voices = client.predict(api_name="/list_models")
job = client.submit(handle_file("speech.wav"), voices[0]["id"], api_name="/convert_voice")
print(job.result()["audio"])"""


def account_bar(page: gr.Blocks, services: Services) -> None:
    """Lay out at the head of the page who is logged in, and the way out; nothing where there is no login."""
    if services.callers.accounts is None:
        return

    def named(request: gr.Request) -> str:
        with as_gr_error():
            caller = services.caller(request)
        role = " (admin)" if caller.admin else ""
        return BAR.format(who=f"<span>{escape(caller.user_id)}{role}</span>")

    bar = gr.HTML(BAR.format(who=""), padding=False, elem_id="account-bar")
    page.load(named, None, bar, **QUIET)


class AccountPart:
    """A folded part of the Voices tab, and its listeners; every listener checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Accordion("Account, and use from Python", open=False, elem_id="account") as part:
            self._lay_out_jobs()
            self._lay_out_tokens()
        self.drawn = [self.used, self.tokens, self.revoke_button, self.clear_button]
        part.expand(self.show, None, self.drawn, **QUIET)
        for made in (self.create_button.click, self.name.submit):
            made(self.create, self.name, [self.code, self.name, *self.drawn], **QUIET)
        self.revoke_button.click(self.revoke, self.tokens, self.drawn, **QUIET)
        self.clear_button.click(lambda: gr.Column(visible=True), None, self.question, queue=False, **QUIET)
        self.keep_button.click(lambda: gr.Column(visible=False), None, self.question, queue=False, **QUIET)
        self.sure_button.click(self.clear, None, [self.question, *self.drawn], **QUIET)

    def _lay_out_jobs(self) -> None:
        self.used = gr.HTML(elem_id="account-used", padding=False)
        self.clear_button = hidden_button("Delete my jobs that have ended …", "account-clear", size="sm")
        with gr.Column(
            visible=False, elem_classes=["tm-danger"], elem_id="account-question"
        ) as self.question:
            gr.Markdown(
                "**Delete all your jobs that have ended, with their recordings and results?** Voices stay."
            )
            with gr.Row():
                self.keep_button = gr.Button("Keep them", elem_id="account-keep")
                self.sure_button = gr.Button("Delete for good", variant="stop", elem_id="account-sure")

    def _lay_out_tokens(self) -> None:
        gr.Markdown(
            "A program that sends one of your tokens is taken for you. A token is shown once, when it is "
            "made; revoke those that you no longer need."
        )
        self.name = gr.Textbox(
            label="Name of a new token", placeholder="My laptop", max_length=80, elem_id="token-name"
        )
        self.create_button = gr.Button("Create a token", variant="primary", size="sm", elem_id="token-create")
        self.code = gr.Code(
            language="python", label="Python", visible=False, interactive=False, elem_id="token-code"
        )
        self.tokens = choice_list("Your tokens", "tokens")
        self.revoke_button = hidden_button("Revoke the chosen token", "token-revoke", size="sm")

    def show(self, request: gr.Request) -> Answer:
        with as_gr_error():
            return self._draw(self._services.caller(request))

    def create(self, name: str, request: gr.Request) -> Answer:
        """Make a token and show it, this once, in the code that uses it."""
        if not (name or "").strip():
            warn_of("Give the token a name.")
            return gr.skip()
        with as_gr_error():
            caller = self._services.caller(request)
            token, _ = create_token(self._services, request, name)
            code = gr.Code(_program(request, token), visible=True)
            return {self.code: code, self.name: "", **self._draw(caller)}

    def revoke(self, token_id: str | None, request: gr.Request) -> Answer:
        if not token_id:
            warn_of("Choose a token.")
            return gr.skip()
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.callers.tokens.revoke(caller.user_id, validate_id(token_id, "token"))
            gr.Info(f"The token {row['name']} is revoked.")
            return self._draw(caller)

    def clear(self, request: gr.Request) -> Answer:
        """Delete the caller's jobs that have ended, the newest first, and uploads that nothing needs."""
        with as_gr_error():
            caller = self._services.caller(request)
            jobs = self._services.jobs
            for row in jobs.list(caller, user_id=caller.user_id):
                if row["status"] in ENDED or row["status"] == "uploaded":
                    with suppress(RvcError):  # something that runs needs it, or it went with another one
                        jobs.remove(caller, row["id"])
            return {self.question: gr.Column(visible=False), **self._draw(caller)}

    def _draw(self, caller: Caller) -> Answer:
        rows = self._services.callers.tokens.list(caller.user_id)
        jobs = self._services.jobs.list(caller, user_id=caller.user_id)
        used = self._services.jobs.quota.used(caller.user_id)
        quota_mb = self._services.settings.quota_mb_per_user
        of = f" of {quota_mb:g} MB" if quota_mb else ""
        return {
            self.used: (
                f"<p>You use {used.total / 1e6:.1f} MB{of}: recordings and jobs {used.jobs / 1e6:.1f} MB, "
                f"voices {used.voices / 1e6:.1f} MB.</p>"
            ),
            self.tokens: gr.Radio(
                choices=[(_line_of(row), row["id"]) for row in rows], value=None, visible=bool(rows)
            ),
            self.revoke_button: gr.Button(visible=bool(rows)),
            self.clear_button: gr.Button(visible=bool(jobs)),
        }


def create_token(services: Services, request: gr.Request, name: str) -> tuple[str, Row]:
    caller = services.caller(request)
    # A token could otherwise outlive its own revocation.
    if personal_token(request.headers):
        raise NotAllowedError("A token cannot make tokens; make one on the page.")
    services.jobs.limits.take("starts", caller)
    return services.callers.tokens.create(caller.user_id, "personal", name)


def _line_of(row: Row) -> str:
    used = f"used {ago(row['last_used_at'])}" if row["last_used_at"] else "never used"
    return f"{row['name']} · made {ago(row['created_at'])} · {used}"


def _program(request: gr.Request, token: str) -> str:
    host = str(request.headers.get("origin") or request.headers.get("host") or "http://127.0.0.1:7860")
    return PROGRAM.format(url=host if host.startswith("http") else f"http://{host}", token=token)
