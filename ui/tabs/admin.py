"""The Admin tab: everybody's jobs, what was given up, the disk by user, clean-up, limits, health.

Who may see it: with a login, its admins. Without one, who sits at the machine: requests from this machine
that nobody passed on, and nobody while the page is shared by a public link.
A hidden tab hides nothing, so every listener checks its caller itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from pipelines.store.records import Caller, Row, Rows
from rvc.errors import RvcError
from ui.look.html import (
    bullets,
    card,
    chip,
    choice_list,
    empty_card,
    facts,
    hidden_button,
    job_card,
    log_part,
    paragraph,
)
from ui.look.wording import ago, duration, size
from ui.server.monitoring import health_of
from ui.server.services import ACTIVE, QUIET, Answer, Services, admin_of, as_gr_error, validate_id
from ui.tabs.jobs import details_of, job_buttons, line_of, offered_by, title_of

if TYPE_CHECKING:
    from pipelines.jobs.cleanup import CleanUp
    from pipelines.settings import Settings
    from pipelines.users.limits import Share

SHOWN = 200  # jobs
MOST_LINES = 30  # of a clean-up
EVERYTHING, ACTIVE_ONES, FAILED, GIVEN_UP = "All", "Waiting and running", "Failed", "Given up"
FILTERS = (EVERYTHING, ACTIVE_ONES, FAILED, GIVEN_UP)
NOTHING = empty_card("No jobs yet", "What anybody trains or converts is listed here.")
NONE_SUCH = empty_card("No such jobs", "Choose another list.")
NO_LETTERS = empty_card(
    "Nothing was given up",
    "Jobs that failed every time through a fault of the program or the machine are listed here.",
)
LIMITS = (  # settings, how their values are written, and what is said of one that is 0 or empty
    ("max_file_size_mb max_audio_seconds max_voice_file_mb max_batch_mb", "{:g}", "0"),
    ("max_files max_voice_files", "{}", "0"),
    ("uploads_per_hour files_per_hour starts_per_hour logins_per_hour", "{:.12g}", "no limit"),
    ("quota_mb_per_user", "{:.12g}", "no limit"),
    ("max_concurrent_jobs", "{}", "0"),
    ("job_timeout training_timeout", "{:g} s", "0"),
    ("cleanup_days", "{:g}", "0"),
    ("allow_training", "1", "0"),
    ("allowed_origins", "{}", "none but this page"),
    ("require_https", "1", "0"),
)


def short_user(user_id: object) -> str:
    """Return a user's name, or the beginning of the id that a visitor without a login has."""
    name = str(user_id)
    kind, dash, digits = name.partition("-")
    return f"{kind} {digits[:6]}" if dash and kind in ("visitor", "client") and len(digits) >= 32 else name


def line_with_user(row: Row) -> str:
    return f"{line_of(row)} · {short_user(row['user_id'])}"


def health_card(health: Row) -> str:
    """Return how the server is; `health` as the endpoint health() gives it."""
    device, memory, disk = health["device"], health["memory"], health["disk"]
    queue, worker, registry = health["queue"], health["worker"], health["registry"]
    good = health["status"] == "ok"
    state = chip("Works", "good") if good else chip("Degraded", "bad")
    converter = ", converter loaded" if worker["converter_loaded"] else ""
    gpus = ", ".join(_gpu(gpu) for gpu in device["gpus"])
    shown = facts(
        [
            ("Version", f"{health['version']}, up for {duration(health['uptime_s'])}"),
            ("Computes on", gpus or f"{device['cores']} processor cores"),
            ("Memory", _free(memory["available_bytes"], memory["total_bytes"]) if memory else ""),
            ("Disk", _free(disk["free_bytes"], disk["total_bytes"])),
            ("Queue", f"{queue['running'] or 0} running, {queue['waiting'] or 0} waiting"),
            ("Processes", f"{worker['processes'] or 0}{converter}"),
            ("Registry", f"jobs and uploads: {registry['jobs']}, voices: {registry['models']}"),
        ]
    )
    head = f'<div class="tm-row"><strong>The server</strong>{state}</div>'
    reason = "" if good else paragraph(health["reason"])
    return card("", head + reason + shown, tone="" if good else "bad")


def _free(free_bytes: float, total_bytes: float) -> str:
    return f"{size(free_bytes)} of {size(total_bytes)} free"


def _gpu(gpu: Row) -> str:
    if gpu["used_bytes"] is None or gpu["memory_bytes"] is None:
        return str(gpu["name"])
    return f"{gpu['name']}, {_free(gpu['memory_bytes'] - gpu['used_bytes'], gpu['memory_bytes'])}"


def shares_card(shares: Sequence[Share]) -> str:
    if not shares:
        return empty_card("Disk by user", "Nobody has anything here yet.")
    rows = "".join(
        f'<tr><th scope="row" title="{escape(share.user_id)}">{escape(short_user(share.user_id))}</th>'
        f"<td>{share.jobs}</td><td>{share.voices}</td><td>{size(share.size_bytes)}</td></tr>"
        for share in shares
    )
    columns = "".join(
        f"<th scope='col'>{name}</th>" for name in ("User", "Jobs and uploads", "Voices", "Disk")
    )
    table = f"<table class='tm-table'><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table>"
    return card("Disk by user", table)


def clean_up_card(found: CleanUp, *, done: bool) -> str:
    lines = [f"{line_with_user(row)}, last changed {ago(row['updated_at'])}" for row in found.jobs]
    lines += [f"Upload of {short_user(row['user_id'])}, {ago(row['created_at'])}" for row in found.uploads]
    for row in found.voices:
        lines.append(f"{row['model_name']} of {short_user(row['user_id'])}, deleted {ago(row['deleted_at'])}")
    lines += [f"{path.parent.name}/{path.name}" for path in found.orphans]
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    tone = "good" if done or found.empty else "warn"
    return card(found.sentence(done=done), bullets([*lines[:MOST_LINES], *more]), tone=tone)


def limits_card(settings: Settings) -> str:
    """Return the limits that the settings set; secrets are never shown."""
    pairs = [
        (name.upper(), written.format(value) if (value := getattr(settings, name)) else nothing)
        for names, written, nothing in LIMITS
        for name in names.split()
    ]
    said = paragraph("Set in the environment or in .env, read at start.", quiet=True)
    return card("Limits", said + facts(pairs))


class AdminTab:
    """The tab's components and their listeners; every listener checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs
        self._lay_out_jobs()
        self._lay_out_server()
        self._listen()

    def _lay_out_jobs(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.filter = gr.Radio(
                    FILTERS, value=EVERYTHING, label="Jobs of all users", elem_id="admin-filter"
                )
                self.choice = choice_list("Newest first", "admin-jobs")
            with gr.Column(scale=6, min_width=320):
                self.details = gr.HTML(elem_id="admin-details", padding=False)
                with gr.Row():
                    self.buttons = job_buttons("admin")
                self.log = gr.HTML(visible=False, elem_id="admin-log", padding=False)

    def _lay_out_server(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.health = gr.HTML(elem_id="admin-health", padding=False)
                gr.HTML(limits_card(self._services.settings), padding=False)
            with gr.Column(scale=6, min_width=320):
                self.shares = gr.HTML(elem_id="admin-shares", padding=False)
                self.look_button = gr.Button("What would a clean-up remove?", elem_id="admin-look")
                self.found = gr.HTML(visible=False, elem_id="admin-found", padding=False)
                self.remove_button = hidden_button("Remove it", "admin-remove", variant="stop")
                self.refresh_button = gr.Button("Look again", elem_id="admin-refresh")

    def _listen(self) -> None:
        which = [self.filter, self.choice]
        jobs = [self.choice, self.details, *self.buttons, self.log]
        self.drawn = [*jobs, self.health, self.shares, self.found, self.remove_button]
        self.filter.input(self.choose, which, jobs, **QUIET)
        self.choice.input(self.choose, which, jobs, **QUIET)
        for button, act in zip(self.buttons, (self.cancel, self.resume, self.retry), strict=True):
            button.click(act, which, jobs, **QUIET)
        self.look_button.click(self.look, None, [self.found, self.remove_button], **QUIET)
        self.refresh_button.click(self.open, which, self.drawn, **QUIET)
        self.remove_button.click(self.remove, None, [self.found, self.remove_button, self.shares], **QUIET)

    def wire(self, page: gr.Blocks, opened: gr.Tab) -> None:
        """Show the tab to admins, and fill it when it is opened."""
        page.load(self.show, None, opened, **QUIET)
        opened.select(self.open, [self.filter, self.choice], self.drawn, **QUIET)

    def show(self, request: gr.Request) -> gr.Tab:
        try:
            admin_of(self._services, request)
        except RvcError:
            return gr.Tab(visible=False)
        return gr.Tab(visible=True)

    def open(self, shown: str, job_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            admin = admin_of(self._services, request)
            return self._draw(admin, shown, job_id) | {
                self.health: health_card(health_of(self._services)),
                self.shares: shares_card(self._jobs.shares(admin)),
                self.found: gr.HTML(visible=False),
                self.remove_button: gr.Button(visible=False),
            }

    def choose(self, shown: str, job_id: str | None, request: gr.Request) -> Answer:
        with as_gr_error():
            return self._draw(admin_of(self._services, request), shown, job_id)

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
            return self._jobs.dead_letters(admin)
        rows = [row for row in self._jobs.list(admin) if row["status"] != "uploaded"]
        if shown == ACTIVE_ONES:
            return [row for row in rows if row["status"] in ACTIVE]
        return [row for row in rows if row["status"] == "failed"] if shown == FAILED else rows

    def _draw(self, admin: Caller, shown: str, job_id: str | None) -> Answer:
        rows = self._listed(admin, shown)[:SHOWN]
        if not rows:
            return {
                self.choice: gr.Radio(choices=[], value=None, visible=False),
                self.details: {GIVEN_UP: NO_LETTERS, EVERYTHING: NOTHING}.get(shown, NONE_SUCH),
                **{button: gr.Button(visible=False) for button in self.buttons},
                self.log: gr.HTML(visible=False),
            }
        chosen = next((row for row in rows if row["id"] == job_id), rows[0])
        choices = [(line_with_user(row), row["id"]) for row in rows]
        owner = paragraph(f"Of {short_user(chosen['user_id'])} ({chosen['user_id']})", quiet=True)
        log = self._jobs.files.log(admin, chosen["id"])
        return {
            self.choice: gr.Radio(choices=choices, value=chosen["id"], visible=True),
            self.details: job_card(chosen, title=title_of(chosen)) + owner + details_of(chosen),
            **offered_by(self.buttons, chosen),
            self.log: gr.HTML(log_part(log, open_it=chosen["status"] == "failed"), visible=bool(log)),
        }
