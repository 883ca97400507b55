"""What the Admin tab shows, as HTML: the server's health, the disk by user, a clean-up, the limits."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ui.jobs import line_of
from ui.panels import bullets, card, chip, facts, paragraph
from ui.wording import ago, duration, size

if TYPE_CHECKING:
    from pipelines.administration import Share
    from pipelines.cleanup import CleanUp
    from pipelines.settings import Settings

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
