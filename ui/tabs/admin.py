"""The Admin tab: everybody's jobs, what was given up, the disk by user, clean-up, limits, health.

Who may see it: with a login, its admins. Without one, who sits at the machine: requests from this machine
that nobody passed on, and nobody while the page is shared by a public link.
A hidden tab hides nothing, so every listener checks its caller itself.

What the Admin tab shows, as HTML: the server's health, the disk by user, a clean-up, the limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.store.records import Caller
from rvc.errors import RvcError
from ui.look.html import bullets, card, chip, facts, job_card, log_part, paragraph
from ui.look.wording import ago, duration, size
from ui.server.monitoring import health_of
from ui.server.services import ACTIVE, Services, Update, admin_of, plain_errors, plain_id
from ui.tabs.jobs import batch_of, details_of, line_of, offered, title_of

if TYPE_CHECKING:
    from pipelines.jobs.cleanup import CleanUp
    from pipelines.settings import Settings
    from pipelines.store.records import Rows
    from pipelines.users.quota import Share


Row = dict[str, Any]
MOST_LINES = 30


def short_user(user_id: object) -> str:
    """Return a user's name, or the beginning of the id that a visitor without a login has."""
    name = str(user_id)
    kind, dash, digits = name.partition("-")
    return f"{kind} {digits[:6]}" if dash and kind in ("visitor", "client") and len(digits) >= 32 else name


def line_with_user(row: Row) -> str:
    """Return a job in one line, with whose it is."""
    return f"{line_of(row)} · {short_user(row['user_id'])}"


def health_card(health: Row) -> str:
    """Return how the server is.

    Args:
        health: As the endpoint health() gives it.
    """
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
    """Return who takes how much of the disk, as a table."""
    if not shares:
        return card("Disk by user", paragraph("Nobody has anything here yet."), tone="empty")
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
    """Return what a clean-up removed, or would.

    Args:
        found: What it was.
        done: Whether it is gone.
    """
    lines = [f"{line_with_user(row)}, last changed {ago(row['updated_at'])}" for row in found.jobs]
    lines += [f"Upload of {short_user(row['user_id'])}, {ago(row['created_at'])}" for row in found.uploads]
    lines += [f"{path.parent.name}/{path.name}" for path in found.orphans]
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    tone = "good" if done or found.empty else "warn"
    return card(found.sentence(done=done), bullets([*lines[:MOST_LINES], *more]), tone=tone)


def limits_card(settings: Settings) -> str:
    """Return the limits that the settings set; secrets are never shown."""
    shown = facts(
        [
            ("MAX_FILE_SIZE_MB", f"{settings.max_file_size_mb:g}"),
            ("MAX_AUDIO_SECONDS", f"{settings.max_audio_seconds:g}"),
            ("MAX_VOICE_FILE_MB", f"{settings.max_voice_file_mb:g}"),
            ("MAX_BATCH_MB", f"{settings.max_batch_mb:g}"),
            ("MAX_FILES", str(settings.max_files)),
            ("UPLOADS_PER_HOUR", _most(settings.uploads_per_hour)),
            ("FILES_PER_HOUR", _most(settings.files_per_hour)),
            ("STARTS_PER_HOUR", _most(settings.starts_per_hour)),
            ("LOGINS_PER_HOUR", _most(settings.logins_per_hour)),
            ("QUOTA_MB_PER_USER", _most(settings.quota_mb_per_user)),
            ("MAX_CONCURRENT_JOBS", str(settings.max_concurrent_jobs)),
            ("JOB_TIMEOUT", f"{settings.job_timeout:g} s"),
            ("TRAINING_TIMEOUT", f"{settings.training_timeout:g} s"),
            ("CLEANUP_DAYS", f"{settings.cleanup_days:g}"),
            ("ALLOW_TRAINING", "1" if settings.allow_training else "0"),
            ("ALLOWED_ORIGINS", settings.allowed_origins or "none but this page"),
            ("REQUIRE_HTTPS", "1" if settings.require_https else "0"),
        ]
    )
    return card("Limits", paragraph("Set in the environment or in .env, read at start.", quiet=True) + shown)


def _most(limit: float) -> str:
    """Return a limit of which 0 means that there is none."""
    return f"{limit:.12g}" if limit else "no limit"


SHOWN = 200
EVERYTHING, ACTIVE_ONES, FAILED, GIVEN_UP = "All", "Waiting and running", "Failed", "Given up"
FILTERS = (EVERYTHING, ACTIVE_ONES, FAILED, GIVEN_UP)
NOTHING = card("No jobs yet", paragraph("What anybody trains or converts is listed here."), tone="empty")
NONE_SUCH = card("No such jobs", paragraph("Choose another list."), tone="empty")
NO_LETTERS = card(
    "Nothing was given up",
    paragraph("Jobs that failed every time through a fault of the program or the machine are listed here."),
    tone="empty",
)


@dataclass(frozen=True, kw_only=True)
class _Steering:
    """The buttons."""

    cancel: gr.Button
    resume: gr.Button
    retry: gr.Button
    look: gr.Button
    refresh: gr.Button


@dataclass(frozen=True, kw_only=True)
class AdminTab:
    """Components that the listeners refer to."""

    shown: gr.Radio
    choice: gr.Radio
    details: gr.HTML
    steering: _Steering
    log: gr.HTML
    health: gr.HTML
    shares: gr.HTML
    found: gr.HTML
    remove: gr.Button

    @property
    def drawn(self) -> list[Any]:
        """What shows jobs, in the order in which the listeners return it."""
        buttons = [self.steering.cancel, self.steering.resume, self.steering.retry]
        return [self.choice, self.details, *buttons, self.log]

    @property
    def all(self) -> list[Any]:
        """Everything that opening the tab draws."""
        return [*self.drawn, self.health, self.shares, self.found, self.remove]


def admin_tab(services: Services) -> AdminTab:
    """Lay out the tab and wire it; its contents come when it is opened."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            shown = gr.Radio(FILTERS, value=EVERYTHING, label="Jobs of all users", elem_id="admin-filter")
            choice = gr.Radio([], label="Newest first", visible=False, elem_id="admin-jobs")
            choice.elem_classes = ["tm-list"]
        with gr.Column(scale=6, min_width=320):
            details = gr.HTML(elem_id="admin-details", padding=False)
            with gr.Row():
                cancel = gr.Button("Stop", variant="stop", visible=False, elem_id="admin-cancel")
                resume = gr.Button("Resume", variant="primary", visible=False, elem_id="admin-resume")
                retry = gr.Button("Start again", visible=False, elem_id="admin-retry")
            log = gr.HTML(visible=False, elem_id="admin-log", padding=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            health = gr.HTML(elem_id="admin-health", padding=False)
            gr.HTML(limits_card(services.settings), padding=False)
        with gr.Column(scale=6, min_width=320):
            shares = gr.HTML(elem_id="admin-shares", padding=False)
            look = gr.Button("What would a clean-up remove?", elem_id="admin-look")
            found = gr.HTML(visible=False, elem_id="admin-found", padding=False)
            remove = gr.Button("Remove it", variant="stop", visible=False, elem_id="admin-remove")
            refresh = gr.Button("Look again", elem_id="admin-refresh")
    steering = _Steering(cancel=cancel, resume=resume, retry=retry, look=look, refresh=refresh)
    tab = AdminTab(
        shown=shown,
        choice=choice,
        details=details,
        steering=steering,
        log=log,
        health=health,
        shares=shares,
        found=found,
        remove=remove,
    )
    _wire(tab, _Listeners(services))
    return tab


def _wire(tab: AdminTab, listeners: _Listeners) -> None:
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    which, steering = [tab.shown, tab.choice], tab.steering
    tab.shown.input(listeners.choose, which, tab.drawn, **quiet)
    tab.choice.input(listeners.choose, which, tab.drawn, **quiet)
    steering.cancel.click(listeners.cancel, which, tab.drawn, **quiet)
    steering.resume.click(listeners.resume, which, tab.drawn, **quiet)
    steering.retry.click(listeners.retry, which, tab.drawn, **quiet)
    steering.look.click(listeners.look, None, [tab.found, tab.remove], **quiet)
    steering.refresh.click(listeners.open, which, tab.all, **quiet)
    tab.remove.click(listeners.remove, None, [tab.found, tab.remove, tab.shares], **quiet)


def wire_admin(page: gr.Blocks, opened: gr.Tab, tab: AdminTab, services: Services) -> None:
    """Show the tab to admins, and fill it when it is opened."""
    listeners = _Listeners(services)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    page.load(listeners.show, None, opened, **quiet)
    opened.select(listeners.open, [tab.shown, tab.choice], tab.all, **quiet)


class _Listeners:
    """What happens at each event; every one checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs

    def show(self, request: gr.Request) -> Update:
        """Show the tab to an admin."""
        try:
            admin_of(self._services, request)
        except RvcError:
            return gr.Tab(visible=False)
        return gr.Tab(visible=True)

    def open(self, shown: str, job_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Draw everything."""
        with plain_errors():
            admin = admin_of(self._services, request)
            shares = shares_card(self._jobs.shares(admin))
            health = health_card(health_of(self._services))
            nothing = gr.HTML(visible=False), gr.Button(visible=False)
            return *self._draw(admin, shown, job_id), health, shares, *nothing

    def choose(self, shown: str, job_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Show another list, or another job."""
        with plain_errors():
            return self._draw(admin_of(self._services, request), shown, job_id)

    def cancel(self, shown: str, job_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Stop the chosen job."""
        return self._act("cancel", shown, job_id, request)

    def resume(self, shown: str, job_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Go on with the chosen job where it was last saved."""
        return self._act("resume", shown, job_id, request)

    def retry(self, shown: str, job_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Run the chosen job again from its start."""
        return self._act("retry", shown, job_id, request)

    def look(self, request: gr.Request) -> tuple[Update, Update]:
        """Tell what a clean-up would remove."""
        with plain_errors():
            admin = admin_of(self._services, request)
            found = self._jobs.clean_up(admin, dry_run=True)
        return gr.HTML(clean_up_card(found, done=False), visible=True), gr.Button(visible=not found.empty)

    def remove(self, request: gr.Request) -> tuple[Update, Update, Update]:
        """Clean up."""
        with plain_errors():
            admin = admin_of(self._services, request)
            gone = self._jobs.clean_up(admin, dry_run=False)
            shares = shares_card(self._jobs.shares(admin))
        return gr.HTML(clean_up_card(gone, done=True), visible=True), gr.Button(visible=False), shares

    def _act(self, action: str, shown: str, job_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        with plain_errors():
            admin = admin_of(self._services, request)
            getattr(self._jobs, action)(admin, plain_id(job_id, "job"))
            return self._draw(admin, shown, job_id)

    def _listed(self, admin: Caller, shown: str) -> Rows:
        if shown == GIVEN_UP:
            return self._jobs.dead_letters(admin)
        rows = [row for row in self._jobs.list(admin) if row["status"] != "uploaded"]
        if shown == ACTIVE_ONES:
            return [row for row in rows if row["status"] in ACTIVE]
        return [row for row in rows if row["status"] == "failed"] if shown == FAILED else rows

    def _draw(self, admin: Caller, shown: str, job_id: str | None) -> tuple[Any, ...]:
        rows = self._listed(admin, shown)[:SHOWN]
        if not rows:
            empty = {GIVEN_UP: NO_LETTERS, EVERYTHING: NOTHING}.get(shown, NONE_SUCH)
            hidden = (gr.Button(visible=False),) * 3
            return gr.Radio(choices=[], value=None, visible=False), empty, *hidden, gr.HTML(visible=False)
        chosen = next((row for row in rows if row["id"] == job_id), rows[0])
        stop, resume, again = offered(chosen)
        log = self._jobs.files.log(admin, chosen["id"])
        owner = paragraph(f"Of {short_user(chosen['user_id'])} ({chosen['user_id']})", quiet=True)
        return (
            gr.Radio(
                choices=[(line_with_user(row), row["id"]) for row in rows], value=chosen["id"], visible=True
            ),
            job_card(chosen, title=title_of(chosen)) + owner + details_of(chosen) + batch_of(chosen),
            gr.Button(visible=stop),
            gr.Button(visible=resume),
            gr.Button(visible=again),
            gr.HTML(log_part(log, open_it=chosen["status"] == "failed"), visible=bool(log)),
        )
