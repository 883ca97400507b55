"""The Admin page: everybody's jobs, what was given up, the disk by user, clean-up, limits, health.

Who may see it: with a login, its admins. Without one, who sits at the machine: requests from this machine
that nobody passed on, and nobody while the page is shared by a public link.
A page that is not linked to hides nothing, so every listener checks its caller itself.
"""

from __future__ import annotations

import gradio as gr

from pipelines.store.records import STATUSES, Caller, Rows
from rvc.errors import RvcError
from ui.look.html import BUTTONS_JS, card, hidden_button, job_card, log_part, paragraph
from ui.look.language import tr
from ui.server.monitoring import health_of
from ui.server.services import (
    ACTIVE,
    QUIET,
    Answer,
    Services,
    admin_of,
    as_gr_error,
    error_message,
    pressed_job,
    validate_id,
)
from ui.tabs.admin_cards import (
    FILTER,
    clean_up_card,
    health_card,
    jobs_table,
    limits_card,
    no_jobs_card,
    shares_card,
    short_user,
)
from ui.tabs.admin_nodes import NodesPart
from ui.tabs.jobs import details_of, job_buttons, offered_by, title_of

PATH = "admin"  # of the page
SHOWN = 200  # jobs
EVERYTHING, ACTIVE_ONES, FAILED, GIVEN_UP = "all", "active", "failed", "given up"
FILTERS = [
    ("All", EVERYTHING),
    ("Waiting and running", ACTIVE_ONES),
    ("Failed", FAILED),
    ("Given up", GIVEN_UP),
]


class AdminLink:
    """The way to the Admin page, in the head of the other one; there for admins alone."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.link = gr.HTML(visible=False, padding=False, elem_id="admin-link")

    def wire(self, page: gr.Blocks) -> None:
        page.load(self.show, None, self.link, **QUIET)

    def show(self, request: gr.Request) -> gr.HTML:
        try:
            admin_of(self._services, request)
        except RvcError:
            return gr.HTML(visible=False)
        return gr.HTML(f'<a href="{PATH}">{tr("Admin")}</a>', visible=True)


class AdminPage:
    """The page's components and their listeners; every listener checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs
        self.chosen = gr.State(None)  # id of a job
        self.refused = gr.HTML(visible=False, padding=False, elem_id="admin-refused")
        with gr.Column(visible=False, elem_id="admin") as self.column:
            self._lay_out_jobs()
            self._lay_out_server()
        self._listen()

    def _lay_out_jobs(self) -> None:
        gr.HTML('<h2 class="tm-group">Jobs</h2>', padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self.filter = gr.Radio(
                    FILTERS, value=EVERYTHING, label="Jobs of all users", elem_id="admin-filter"
                )
                self.list = gr.HTML(js_on_load=BUTTONS_JS + FILTER, padding=False, elem_id="admin-jobs")
            with gr.Column(scale=5, min_width=320):
                self.details = gr.HTML(elem_id="admin-details", padding=False)
                with gr.Row():
                    self.buttons = job_buttons("admin")
                self.log = gr.HTML(visible=False, elem_id="admin-log", padding=False)

    def _lay_out_server(self) -> None:
        gr.HTML('<h2 class="tm-group">Server</h2>', padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.health = gr.HTML(elem_id="admin-health", padding=False)
                self.nodes = NodesPart(self._services)
                self.limits = gr.HTML(padding=False)
            with gr.Column(scale=6, min_width=320):
                self.shares = gr.HTML(js_on_load=FILTER, elem_id="admin-shares", padding=False)
                self.look_button = gr.Button("What would a clean-up remove?", elem_id="admin-look")
                self.found = gr.HTML(visible=False, elem_id="admin-found", padding=False)
                self.remove_button = hidden_button("Remove it", "admin-remove", variant="stop")
                self.refresh_button = gr.Button("Look again", elem_id="admin-refresh")

    def _listen(self) -> None:
        which = [self.filter, self.chosen]
        jobs = [self.chosen, self.list, self.details, *self.buttons, self.log]
        server = [self.health, *self.nodes.drawn, self.limits, self.shares, self.found, self.remove_button]
        self.drawn = [self.column, self.refused, *jobs, *server]
        self.filter.input(self.choose, which, jobs, **QUIET)
        self.list.choose(self.pick, self.filter, jobs, **QUIET)
        for button, act in zip(self.buttons, (self.cancel, self.resume, self.retry), strict=True):
            button.click(act, which, jobs, **QUIET)
        self.look_button.click(self.look, None, [self.found, self.remove_button], **QUIET)
        self.refresh_button.click(self.open, which, self.drawn, **QUIET)
        self.remove_button.click(self.remove, None, [self.found, self.remove_button, self.shares], **QUIET)

    def wire(self, page: gr.Blocks) -> None:
        page.load(self.open, [self.filter, self.chosen], self.drawn, **QUIET)

    def open(self, shown: str, job_id: str | None, request: gr.Request) -> Answer:
        """Show everything to an admin, and to anybody else in a sentence whose page it is."""
        try:
            admin = admin_of(self._services, request)
        except RvcError as error:
            refused = card(tr("Admin"), paragraph(error_message(error)), tone="warn")
            return {self.refused: gr.HTML(refused, visible=True), self.column: gr.Column(visible=False)}
        with as_gr_error():
            return self._draw(admin, shown, job_id) | {
                self.column: gr.Column(visible=True),
                self.refused: gr.HTML(visible=False),
                self.health: health_card(health_of(self._services)),
                **self.nodes.show(),
                self.limits: limits_card(self._services.settings),
                self.shares: shares_card(self._jobs.shares(admin)),
                self.found: gr.HTML(visible=False),
                self.remove_button: gr.Button(visible=False),
            }

    def choose(self, shown: str, job_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            return self._draw(admin_of(self._services, request), shown, job_id)

    def pick(self, shown: str, event: gr.EventData, request: gr.Request) -> Answer:
        with as_gr_error():
            admin = admin_of(self._services, request)
            return self._draw(admin, shown, pressed_job(event))

    def cancel(self, shown: str, job_id: str | None, request: gr.Request) -> Answer:
        return self._act("cancel", shown, job_id, request)

    def resume(self, shown: str, job_id: str | None, request: gr.Request) -> Answer:
        return self._act("resume", shown, job_id, request)

    def retry(self, shown: str, job_id: str | None, request: gr.Request) -> Answer:
        return self._act("retry", shown, job_id, request)

    def look(self, request: gr.Request) -> Answer:
        """Tell what a clean-up would remove."""
        with as_gr_error():
            found = self._jobs.clean_up(admin_of(self._services, request), dry_run=True)
        return {
            self.found: gr.HTML(clean_up_card(found, done=False), visible=True),
            self.remove_button: gr.Button(visible=not found.empty),
        }

    def remove(self, request: gr.Request) -> Answer:
        with as_gr_error():
            admin = admin_of(self._services, request)
            gone = self._jobs.clean_up(admin, dry_run=False)
            shares = shares_card(self._jobs.shares(admin))
        return {
            self.found: gr.HTML(clean_up_card(gone, done=True), visible=True),
            self.remove_button: gr.Button(visible=False),
            self.shares: shares,
        }

    def _act(self, action: str, shown: str, job_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            admin = admin_of(self._services, request)
            getattr(self._jobs, action)(admin, validate_id(job_id, "job"))
            return self._draw(admin, shown, job_id)

    def _listed(self, admin: Caller, shown: str) -> Rows:
        if shown == GIVEN_UP:
            return self._jobs.dead_letters(admin, most=SHOWN)
        some = {ACTIVE_ONES: ACTIVE, FAILED: ("failed",)}
        wanted = some.get(shown, tuple(STATUSES - {"uploaded"}))
        return self._jobs.list(admin, where=lambda row: row["status"] in wanted, most=SHOWN)

    def _draw(self, admin: Caller, shown: str, job_id: str | None) -> Answer:
        rows = self._listed(admin, shown)
        if not rows:
            return {
                self.chosen: None,
                self.list: no_jobs_card(given_up=shown == GIVEN_UP, all_jobs=shown == EVERYTHING),
                self.details: "",
                **{button: gr.Button(visible=False) for button in self.buttons},
                self.log: gr.HTML(visible=False),
            }
        chosen = next((row for row in rows if row["id"] == job_id), rows[0])
        user = chosen["user_id"]
        owner = paragraph(tr("Of {name} ({user})", name=short_user(user), user=user), quiet=True)
        log = self._jobs.files.log(admin, chosen["id"])
        return {
            self.chosen: chosen["id"],
            self.list: jobs_table(rows, chosen["id"]),
            self.details: job_card(chosen, title=title_of(chosen), linked=False) + owner + details_of(chosen),
            **offered_by(self.buttons, chosen),
            self.log: gr.HTML(log_part(log, open_it=chosen["status"] == "failed"), visible=bool(log)),
        }
