"""Numbers and states in the words that a person reads on the page."""

from __future__ import annotations

from datetime import UTC, datetime

STATES = {
    "uploaded": "Uploaded",
    "pending": "Waiting",
    "preprocessing": "Preparing",
    "training": "Training",
    "converting": "Converting",
    "completed": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "interrupted": "Interrupted",
}
KINDS = {
    "preprocessing": "Check recordings",
    "training": "Train voice",
    "conversion": "Convert",
    "batch": "Convert many",
}


def duration(seconds: float | None) -> str:
    """Return a length of time as it is spoken ("3 min 20 s"); a dash when unknown."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def time_left(seconds: float | None) -> str:
    """Return an estimate without false precision ("about 4 min left"); empty when unknown."""
    if seconds is None or seconds < 0:
        return ""
    if seconds < 8:
        return "a few seconds left"
    if seconds < 60:
        return f"about {max(10, 5 * round(seconds / 5))} s left"
    if seconds < 3600:
        return f"about {max(1, round(seconds / 60))} min left"
    return f"about {seconds / 3600:.1f} h left"


def moment(stamp: object) -> str:
    """Return a stored time stamp (ISO 8601 or seconds since 1970) as a short local date and time."""
    if stamp is None or stamp == "":
        return "-"
    local = datetime.fromtimestamp(_seconds(stamp), tz=UTC).astimezone()
    this_year = local.year == datetime.now(tz=UTC).astimezone().year
    return local.strftime("%d %b, %H:%M" if this_year else "%d %b %Y")


def ago(stamp: object) -> str:
    """Return how long ago a stored time stamp was ("5 min ago")."""
    if stamp is None or stamp == "":
        return "-"
    passed = max(0.0, datetime.now(tz=UTC).timestamp() - _seconds(stamp))
    if passed < 60:
        return "just now"
    if passed < 3600:
        return f"{round(passed / 60)} min ago"
    if passed < 86400:
        return f"{round(passed / 3600)} h ago"
    return moment(stamp)


def seconds_until(stamp: object) -> float:
    """Return in how many seconds a stored time stamp is; negative when it has passed."""
    return _seconds(stamp) - datetime.now(tz=UTC).timestamp()


def _seconds(stamp: object) -> float:
    try:
        return float(stamp)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return datetime.fromisoformat(str(stamp)).timestamp()


def position(place: int | None) -> str:
    """Return a place in the queue in words (1 = next)."""
    if place is None:
        return "waiting for its turn"
    if place <= 1:
        return "next in line"
    return f"{place - 1} job{'s' if place > 2 else ''} ahead of it"


def size(size_bytes: float) -> str:
    """Return a file size ("3.4 MB")."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.0f} kB"
    if size_bytes < 1_000_000_000:
        return f"{size_bytes / 1_000_000:.1f} MB"
    return f"{size_bytes / 1_000_000_000:.1f} GB"
