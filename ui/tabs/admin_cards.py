"""What the Admin page shows as HTML: everybody's jobs, the server, the disk by user, limits, a clean-up."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.store.records import Row, Rows
from ui.look.html import bullets, card, chip, empty_card, facts, paragraph
from ui.look.job_rows import choosing
from ui.look.job_state import how_far, state_of
from ui.look.language import retold, tr, tr_later, tr_n
from ui.look.wording import ago, duration, size
from ui.tabs.jobs import line_of, title_of

if TYPE_CHECKING:
    from pipelines.jobs.cleanup import CleanUp
    from pipelines.settings import Settings
    from pipelines.users.limits import Share

MOST_LINES = 30  # of a clean-up
# Shows of a table's rows those that hold what is typed into the field above it.
FILTER = (Path(__file__).parents[1] / "look" / "filter.js").read_text(encoding="utf-8")
LIMITS = (  # settings, how their values are written, and what is said of one that is 0 or empty
    ("max_file_size_mb max_audio_seconds max_voice_file_mb max_batch_mb", "{:g}", "0"),
    ("max_files max_voice_files", "{}", "0"),
    ("uploads_per_hour files_per_hour starts_per_hour logins_per_hour", "{:.12g}", tr_later("no limit")),
    ("quota_mb_per_user", "{:.12g}", tr_later("no limit")),
    ("max_concurrent_jobs", "{}", "0"),
    ("job_timeout training_timeout", "{:g} s", "0"),
    ("cleanup_days", "{:g}", "0"),
    ("allow_training", "1", "0"),
    ("allowed_origins", "{}", tr_later("none but this page")),
    ("require_https", "1", "0"),
)


def short_user(user_id: object) -> str:
    """Return a user's name, or the beginning of the id that a visitor without a login has."""
    name = str(user_id)
    kind, dash, digits = name.partition("-")
    return f"{kind} {digits[:6]}" if dash and kind in ("visitor", "client") and len(digits) >= 32 else name


def line_with_user(row: Row) -> str:
    return f"{line_of(row)} · {short_user(row['user_id'])}"


def no_jobs_card(*, given_up: bool, all_jobs: bool) -> str:
    if given_up:
        return empty_card(
            tr("Nothing was given up"),
            tr("Jobs that failed every time through a fault of the program or the machine are listed here."),
        )
    if all_jobs:
        return empty_card(tr("No jobs yet"), tr("What anybody trains or converts is listed here."))
    return empty_card(tr("No such jobs"), tr("Choose another list."))


def searchable(table_id: str, title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table with a field above it, which FILTER makes search it; rows are HTML."""
    label, found = tr("Search: {title}", title=title), tr("{count} found", count="{count}")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    return (
        f'<input type="search" class="tm-filter" id="{table_id}-search" autocomplete="off" '
        f'placeholder="{escape(tr("Search"))}" aria-label="{escape(label)}">'
        f'<p class="tm-quiet" role="status" data-found="{escape(found)}"></p>'
        f'<div class="tm-scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<table class="tm-table"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def jobs_table(rows: Rows, chosen: str) -> str:
    """Return jobs of all users as a table that is searched; the first cell of each chooses it."""
    columns = (tr("Job"), tr("User"), tr("State"), tr("When"))
    return searchable(
        "admin-jobs", tr("Jobs of all users"), columns, [_job_line(row, row["id"] == chosen) for row in rows]
    )


def _job_line(row: Row, is_chosen: bool) -> str:
    (state, tone), user = state_of(row), row["user_id"]
    return (
        f'<tr title="{escape(row["id"])} {escape(user)}">'
        f'<th scope="row">{choosing(row, chosen=is_chosen)}{escape(title_of(row))}</button>'
        f"</th><td>{escape(short_user(user))}</td><td>{chip(state, tone)}</td>"
        f"<td>{escape(how_far(row))}</td></tr>"
    )


def health_card(health: Row) -> str:
    """Return how the server is; `health` as the endpoint health() gives it."""
    device, memory, disk = health["device"], health["memory"], health["disk"]
    queue, worker, registry = health["queue"], health["worker"], health["registry"]
    good = health["status"] == "ok"
    state = chip(tr("Works"), "good") if good else chip(tr("Degraded"), "bad")
    processes = str(worker["processes"] or 0)
    if worker["converter_loaded"]:
        processes = tr("{count}, converter loaded", count=processes)
    gpus = ", ".join(_gpu(gpu) for gpu in device["gpus"])
    cores = tr_n("{count} processor core", "{count} processor cores", count=device["cores"])
    waiting = {"running": queue["running"] or 0, "waiting": queue["waiting"] or 0}
    kept = {"jobs": registry["jobs"], "voices": registry["models"]}
    up = {"version": health["version"], "time": duration(health["uptime_s"])}
    shown = facts(
        [
            (tr("Version"), tr("{version}, up for {time}", **up)),
            (tr("Computes on"), gpus or cores),
            (tr("Memory"), _free(memory["available_bytes"], memory["total_bytes"]) if memory else ""),
            (tr("Disk"), _free(disk["free_bytes"], disk["total_bytes"])),
            (tr("Queue"), tr("{running} running, {waiting} waiting", **waiting)),
            (tr("Processes"), processes),
            (tr("Registry"), tr("jobs and uploads: {jobs}, voices: {voices}", **kept)),
        ]
    )
    head = f'<div class="tm-row"><h3>{escape(tr("The server"))}</h3>{state}</div>'
    reason = "" if good else paragraph(retold(health["reason"]))
    return card("", head + reason + shown, tone="" if good else "bad")


def _free(free_bytes: float, total_bytes: float) -> str:
    return tr("{free} of {total} free", free=size(free_bytes), total=size(total_bytes))


def _gpu(gpu: Row) -> str:
    if gpu["used_bytes"] is None or gpu["memory_bytes"] is None:
        return str(gpu["name"])
    return f"{gpu['name']}, {_free(gpu['memory_bytes'] - gpu['used_bytes'], gpu['memory_bytes'])}"


def shares_card(shares: Sequence[Share]) -> str:
    title = tr("Disk by user")
    if not shares:
        return empty_card(title, tr("Nobody has anything here yet."))
    rows = [
        f'<tr title="{escape(share.user_id)}"><th scope="row">{escape(short_user(share.user_id))}</th>'
        f"<td>{share.jobs}</td><td>{share.voices}</td><td>{size(share.size_bytes)}</td></tr>"
        for share in shares
    ]
    columns = (tr("User"), tr("Jobs and uploads"), tr("Voices"), tr("Disk"))
    return card(title, searchable("admin-shares", title, columns, rows))


def clean_up_card(found: CleanUp, *, done: bool) -> str:
    lines = [
        tr("{job}, last changed {when}", job=line_with_user(row), when=ago(row["updated_at"]))
        for row in found.jobs
    ]
    lines += [
        tr("Upload of {user}, {when}", user=short_user(row["user_id"]), when=ago(row["created_at"]))
        for row in found.uploads
    ]
    for row in found.voices:
        facts_of = {"voice": row["model_name"], "user": short_user(row["user_id"])}
        lines.append(tr("{voice} of {user}, deleted {when}", **facts_of, when=ago(row["deleted_at"])))
    lines += [
        tr("{job}, deleted {when}", job=line_with_user(row), when=ago(row["deleted_at"]))
        for row in found.deleted
    ]
    lines += [
        tr("Preset {name} of {user}", name=row["name"], user=short_user(row["user_id"]))
        for row in found.presets
    ]
    lines += [f"{path.parent.name}/{path.name}" for path in found.orphans]
    left = len(lines) - MOST_LINES
    more = [tr_n("and {count} more", "and {count} more", count=left)] if left > 0 else []
    tone = "good" if done or found.empty else "warn"
    if found.empty:
        title = retold(found.sentence(done=done))
    else:
        told = tr("Removed: {size}") if done else tr("A clean-up would remove {size}")
        title = told.format(size=size(found.size_bytes))
    return card(title, bullets([*lines[:MOST_LINES], *more]), tone=tone)


def limits_card(settings: Settings) -> str:
    """Return the limits that the settings set; secrets are never shown."""
    pairs = [
        (name.upper(), written.format(value) if (value := getattr(settings, name)) else retold(nothing))
        for names, written, nothing in LIMITS
        for name in names.split()
    ]
    said = paragraph(tr("Set in the environment or in .env, read at start."), quiet=True)
    return card(tr("Limits"), said + facts(pairs))
