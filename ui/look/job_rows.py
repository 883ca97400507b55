"""Lists of jobs as HTML: one line each, in groups, with buttons whose press is "choose" or "cancel"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape

from pipelines.store.records import ENDED, Row
from ui.look.html import action, bar, chip, pressed_as
from ui.look.job_state import how_far, state_of
from ui.look.language import retold, tr


def running_list(rows: Sequence[Row], title_of: Callable[[Row], str]) -> str:
    """Return the jobs that wait or run, each with its bar, the time left and a button that stops it."""
    items = []
    for row in rows:
        title, (state, tone) = title_of(row), state_of(row)
        stop = action("cancel", tr("Stop"), tr("Stop: {title}", title=title), look="tm-small", job=row["id"])
        said = escape(retold(str(row.get("message") or "")))
        items.append(
            f'<li class="tm-job">'
            f'<div class="tm-row"><strong>{escape(title)}</strong>{chip(state, tone)}</div>'
            f"{bar(float(row['progress'] or 0), title)}"
            f'<div class="tm-row tm-quiet"><span>{said}</span><span>{escape(how_far(row))}</span></div>'
            f"{stop}</li>"
        )
    return f'<ul class="tm-jobs" data-count="{len(rows)}">{"".join(items)}</ul>'


def grouped_list(rows: Sequence[Row], chosen: str | None, title_of: Callable[[Row], str]) -> str:
    """Return all jobs as buttons that choose one: those that run, those of today, and earlier ones."""
    today = datetime.now(UTC).astimezone().date()
    groups: dict[str, list[Row]] = {"running": [], "today": [], "earlier": []}
    for row in rows:
        begun = datetime.fromisoformat(row["created_at"]).astimezone().date()
        name = "running" if row["status"] not in ENDED else "today" if begun == today else "earlier"
        groups[name].append(row)
    titles = {"running": tr("Running"), "today": tr("Today"), "earlier": tr("Earlier")}
    return "".join(
        f'<h2 class="tm-group">{escape(titles[name])}</h2><ul class="tm-jobs">'
        + "".join(_choice(row, title_of(row), chosen=row["id"] == chosen) for row in group)
        + "</ul>"
        for name, group in groups.items()
        if group
    )


def _choice(row: Row, title: str, *, chosen: bool) -> str:
    state, tone = state_of(row)
    return (
        f"<li>{choosing(row, chosen=chosen)}"
        f'<span class="tm-row"><span>{escape(title)}</span>{chip(state, tone)}</span>'
        f'<span class="tm-quiet">{escape(how_far(row))}</span></button></li>'
    )


def choosing(row: Row, *, chosen: bool) -> str:
    """Return the tag that opens a button, on which the chosen job is marked."""
    current = ' aria-current="true"' if chosen else ""
    return f'<button {pressed_as("choose", job=row["id"])}{current} class="tm-choose">'
