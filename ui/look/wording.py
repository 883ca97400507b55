"""Numbers and states in the words that a person reads on the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from babel.dates import format_date, format_skeleton, get_datetime_format
from babel.numbers import format_decimal

from ui.look.language import locale, retold, tr, tr_later, tr_n

Row = Mapping[str, Any]
STATES = {
    "uploaded": tr_later("Uploaded"),
    "pending": tr_later("Waiting"),
    "preprocessing": tr_later("Preparing"),
    "training": tr_later("Training"),
    "converting": tr_later("Converting"),
    "completed": tr_later("Done"),
    "failed": tr_later("Failed"),
    "cancelled": tr_later("Cancelled"),
    "interrupted": tr_later("Interrupted"),
}
KINDS = {
    "preprocessing": tr_later("Check recordings"),
    "training": tr_later("Train voice"),
    "conversion": tr_later("Convert"),
    "speech": tr_later("Say a text"),
    "batch": tr_later("Convert many"),
    "cover": tr_later("Convert a song"),
}


def called(status: str) -> str:
    """Return how a job's status is called."""
    return retold(STATES.get(status, status))


def duration(seconds: float | None) -> str:
    """Return a length of time as it is spoken ("3 min 20 s"); a dash when unknown."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if seconds < 10:
        return tr("{seconds} s", seconds=decimal(seconds))
    if whole < 60:
        return tr("{seconds} s", seconds=whole)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        if rest and minutes < 10:
            return tr("{minutes} min {seconds} s", minutes=minutes, seconds=rest)
        return tr("{minutes} min", minutes=minutes)
    hours, minutes = divmod(minutes, 60)
    if minutes:
        return tr("{hours} h {minutes} min", hours=hours, minutes=minutes)
    return tr("{hours} h", hours=hours)


def time_left(seconds: float | None) -> str:
    """Return an estimate without false precision ("about 4 min left"); empty when unknown."""
    if seconds is None or seconds < 0:
        return ""
    if seconds < 8:
        return tr("a few seconds left")
    return tr("about {time} left", time=in_round_numbers(seconds))


def in_round_numbers(seconds: float) -> str:
    """Return a length of time that is not known exactly ("45 s", "4 min", "1.5 h")."""
    if seconds < 60:
        return tr("{seconds} s", seconds=max(10, 5 * round(seconds / 5)))
    if seconds < 3600:
        return tr("{minutes} min", minutes=max(1, round(seconds / 60)))
    return tr("{hours} h", hours=decimal(seconds / 3600))


def decimal(number: float, digits: int = 1) -> str:
    """Return a number with as many digits after the point, or what the language has in its place."""
    return str(format_decimal(number, f"#,##0.{'0' * digits}" if digits else "#,##0", locale=locale()))


def khz(rate_hz: float, digits: int = 1) -> str:
    return tr("{khz} kHz", khz=decimal(rate_hz / 1000, digits))


def moment(stamp: object) -> str:
    """Return a stored time stamp (ISO 8601 or seconds since 1970) as a short local date and time."""
    if stamp is None or stamp == "":
        return "-"
    local = datetime.fromtimestamp(_seconds(stamp), tz=UTC).astimezone()
    this_year = local.year == datetime.now(tz=UTC).astimezone().year
    day = format_skeleton("MMMd" if this_year else "yMMMd", local, locale=locale())
    if not this_year:
        return str(day)
    time = format_skeleton("Hm", local, local.tzinfo, locale=locale())
    return str(get_datetime_format("medium", locale())).format(time, day)


def ago(stamp: object) -> str:
    """Return how long ago a stored time stamp was ("5 min ago")."""
    if stamp is None or stamp == "":
        return "-"
    passed = max(0.0, datetime.now(tz=UTC).timestamp() - _seconds(stamp))
    if passed < 60:
        return tr("just now")
    if passed < 3600:
        return tr("{minutes} min ago", minutes=round(passed / 60))
    if passed < 86400:
        return tr("{hours} h ago", hours=round(passed / 3600))
    return moment(stamp)


def seconds_until(stamp: object) -> float:
    """Return in how many seconds a stored time stamp is; negative when it has passed."""
    return _seconds(stamp) - datetime.now(tz=UTC).timestamp()


def voice_labels(rows: Sequence[Row]) -> list[str]:
    """Return what each voice is called in a list: its name, and whence it comes if others have it too."""
    names = [str(row["model_name"]) for row in rows]
    origins = [
        tr("comes with Timbre") if row.get("builtin") else moment(row.get("created_at")) for row in rows
    ]
    told = [f"{name} ({origin})" for name, origin in zip(names, origins, strict=True)]
    earlier = [told[:number].count(label) for number, label in enumerate(told)]
    numbered = [
        f"{label}, {count + 1}" if count else label for label, count in zip(told, earlier, strict=True)
    ]
    return [name if names.count(name) == 1 else label for name, label in zip(names, numbered, strict=True)]


def shares_said(shares: Iterable[tuple[str, float]]) -> str:
    """Return how much of each voice, 0..1, there is in a blend."""
    return ", ".join(
        tr("{name} {percent} %", name=name, percent=f"{100 * part:.3g}") for name, part in shares
    )


def _seconds(stamp: object) -> float:
    try:
        return float(stamp)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return datetime.fromisoformat(str(stamp)).timestamp()


def position(place: int | None) -> str:
    """Return a place in the queue in words (1 = next)."""
    if place is None:
        return tr("waiting for its turn")
    if place <= 1:
        return tr("next in line")
    return tr_n("{count} job ahead of it", "{count} jobs ahead of it", place - 1)


def size(size_bytes: float) -> str:
    """Return a file size ("3.4 MB")."""
    if size_bytes < 1_000_000:
        return tr("{size} kB", size=decimal(size_bytes / 1e3, 0))
    if size_bytes < 1_000_000_000:
        return tr("{size} MB", size=decimal(size_bytes / 1e6))
    return tr("{size} GB", size=decimal(size_bytes / 1e9))


def consent_sentence(voice: str, speaker: str) -> str:
    """Return what a person reads aloud to allow that a voice of theirs is used, with the date of today."""
    date = format_date(datetime.now(tz=UTC).astimezone(), "long", locale=locale())
    return tr(
        "My name is {speaker}. Today is {date}. I allow that a copy of my voice, called {voice}, is made and "
        "used.",
        speaker=speaker,
        date=date,
        voice=voice,
    )
