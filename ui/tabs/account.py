"""What a person sees of their own account: who they are, personal tokens, what they use of the disk."""

from __future__ import annotations

from contextlib import suppress
from html import escape

import gradio as gr

from pipelines.store.records import ENDED, Caller, Row, Rows
from rvc.errors import NotAllowedError, RvcError
from ui.look.html import choice_list, hidden_button, paragraph
from ui.look.language import tr
from ui.look.wording import ago, decimal
from ui.server.identity import personal_token
from ui.server.services import QUIET, Answer, Services, as_gr_error, inform, validate_id, warn_of

LOG_OUT = '<form class="tm-account" method="post" action="logout"><button>{text}</button></form>'
PROGRAM = """from gradio_client import Client, handle_file

token = "{token}"
client = Client("{url}", headers={{"Authorization": f"Bearer {{token}}"}})
voices = client.predict(api_name="/list_models")
job = client.submit(handle_file("speech.wav"), voices[0]["id"], api_name="/convert_voice")
print(job.result()["audio"])"""

# The dialog takes the focus when it opens, and gives it back; for who does not see where it stands.
OPENED = """() => {
    const box = document.getElementById("account");
    box?.setAttribute("role", "dialog");
    box?.setAttribute("aria-labelledby", "account-who");
    window.timbre.focus("#account-close");
}"""
CLOSED = """() => { window.timbre.focus("#account-open"); }"""


class AccountPart:
    """A button in the head of the page with the user's name, and the dialog that it opens.

    Every listener checks who calls.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._has_login = services.callers.accounts is not None
        self.open_button = gr.Button("Account", size="sm", elem_id="account-open", min_width=80)
        self.log_out = gr.HTML(
            LOG_OUT.format(text="Log out"), visible=self._has_login, padding=False, elem_id="log-out"
        )
        with gr.Column(visible=False, elem_id="account", elem_classes=["tm-dialog"]) as self.dialog:
            self.who = gr.HTML(elem_id="account-who", padding=False)
            self._lay_out_jobs()
            self._lay_out_tokens()
            self.close_button = gr.Button("Close", elem_id="account-close", elem_classes=["tm-close"])
        self.drawn = [self.who, self.used, self.tokens, self.revoke_button, self.clear_button]
        self._listen()

    def _listen(self) -> None:
        shown = [self.dialog, self.question, self.code, *self.drawn]
        opened = self.open_button.click(self.show, None, shown, **QUIET)
        opened.success(None, js=OPENED, **QUIET)
        self.close_button.click(
            lambda: gr.Column(visible=False), None, self.dialog, js=CLOSED, queue=False, **QUIET
        )
        for made in (self.create_button.click, self.name.submit):
            made(self.create, self.name, [self.code, self.name, *self.drawn], **QUIET)
        self.revoke_button.click(self.revoke, self.tokens, self.drawn, **QUIET)
        self.clear_button.click(lambda: gr.Column(visible=True), None, self.question, queue=False, **QUIET)
        self.keep_button.click(lambda: gr.Column(visible=False), None, self.question, queue=False, **QUIET)
        self.sure_button.click(self.clear, None, [self.question, *self.drawn], **QUIET)

    def wire(self, page: gr.Blocks) -> None:
        """Where there is a login, name who is logged in."""
        if self._has_login:
            page.load(self.named, None, [self.open_button, self.log_out], **QUIET)

    def named(self, request: gr.Request) -> Answer:
        with as_gr_error():
            caller = self._services.caller(request)
        return {
            self.open_button: gr.Button(_name_of(caller)),
            self.log_out: LOG_OUT.format(text=escape(tr("Log out"))),
        }

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
        """Open the dialog; a token that was shown in it is not shown again."""
        with as_gr_error():
            caller = self._services.caller(request)
            return {
                self.dialog: gr.Column(visible=True),
                self.question: gr.Column(visible=False),
                self.code: gr.Code(visible=False),
                **self._draw(caller),
            }

    def create(self, name: str, request: gr.Request) -> Answer:
        """Make a token and show it, this once, in the code that uses it."""
        if not (name or "").strip():
            warn_of(tr("Give the token a name."))
            return gr.skip()
        with as_gr_error():
            caller = self._services.caller(request)
            token, _ = create_token(self._services, request, name)
            code = gr.Code(_program(request, token), visible=True)
            return {self.code: code, self.name: "", **self._draw(caller)}

    def revoke(self, token_id: str | None, request: gr.Request) -> Answer:
        if not token_id:
            warn_of(tr("Choose a token."))
            return gr.skip()
        with as_gr_error():
            caller = self._services.caller(request)
            row = self._services.callers.tokens.revoke(caller.user_id, validate_id(token_id, "token"))
            inform(tr("The token {name} is revoked.", name=row["name"]))
            return self._draw(caller)

    def clear(self, request: gr.Request) -> Answer:
        """Delete the caller's jobs that have ended, the newest first, and uploads that nothing needs."""
        with as_gr_error():
            caller = self._services.caller(request)
            jobs = self._services.jobs
            for row in self._jobs_of(caller):
                if row["status"] in ENDED or row["status"] == "uploaded":
                    with suppress(RvcError):  # something that runs needs it, or it went with another one
                        jobs.remove(caller, row["id"], purge=True)
            return {self.question: gr.Column(visible=False), **self._draw(caller)}

    def _jobs_of(self, caller: Caller) -> Rows:
        """Return what the caller has, also in the trash."""
        jobs, own = self._services.jobs, caller.user_id
        return [row for gone in (False, True) for row in jobs.list(caller, user_id=own, deleted=gone)]

    def _draw(self, caller: Caller) -> Answer:
        rows = self._services.callers.tokens.list(caller.user_id)
        jobs = self._jobs_of(caller)
        used = self._services.jobs.quota.used(caller.user_id)
        quota_mb = self._services.settings.quota_mb_per_user
        sizes = {"total": decimal(used.total / 1e6), "jobs": decimal(used.jobs / 1e6)}
        sizes |= {"voices": decimal(used.voices / 1e6), "quota": f"{quota_mb:g}"}
        if quota_mb:
            said = tr(
                "You use {total} MB of {quota} MB: recordings and jobs {jobs} MB, voices {voices} MB.",
                **sizes,
            )
        else:
            said = tr("You use {total} MB: recordings and jobs {jobs} MB, voices {voices} MB.", **sizes)
        who = tr("You are a visitor: what you make belongs to this browser, and is found again in it alone.")
        if self._has_login:
            who = tr("You are logged in as {name}.", name=_name_of(caller))
        return {
            self.who: f"<h2>{escape(tr('Account'))}</h2>{paragraph(who)}",
            self.used: paragraph(said),
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
    account = services.callers.account(request)
    account_id = account.id if account else ""
    return services.callers.tokens.create(caller.user_id, "personal", name, account=account_id)


def _name_of(caller: Caller) -> str:
    return tr("{name} (admin)", name=caller.user_id) if caller.admin else caller.user_id


def _line_of(row: Row) -> str:
    made, used = ago(row["created_at"]), row["last_used_at"]
    if not used:
        return tr("{name} · made {made} · never used", name=row["name"], made=made)
    return tr("{name} · made {made} · used {used}", name=row["name"], made=made, used=ago(used))


def _program(request: gr.Request, token: str) -> str:
    host = str(request.headers.get("origin") or request.headers.get("host") or "http://127.0.0.1:7860")
    return PROGRAM.format(url=host if host.startswith("http") else f"http://{host}", token=token)
