"""What a job's row holds, which states it goes through, and who may see it.

    uploaded ─ never dispatched; other rows name it as their input_job_id
    pending ─> preprocessing | training | converting ─> completed | failed | cancelled | interrupted
       ^                                                              │
       └────────────── retry (from the start), resume (from what is saved) ──┘

A row is a plain dict of JSON values, so that it can be stored, sent and compared as it is. Times of day
are ISO 8601 in UTC with milliseconds, which sort as text.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from rvc.errors import ConfigError, UnknownNameError

Row = dict[str, Any]
Rows = list[Row]

RUNNING_STATUS = {
    "preprocessing": "preprocessing",
    "training": "training",
    "conversion": "converting",
    "batch": "converting",
}
"""Per type of job the status while a child works on it."""
CONVERTING = frozenset({"conversion", "batch"})
"""Types of job that speak in a voice."""
JOB_TYPES = tuple(RUNNING_STATUS)
RUNNING = frozenset(RUNNING_STATUS.values())
RESTARTABLE = frozenset({"failed", "cancelled", "interrupted"})
ENDED = RESTARTABLE | {"completed"}
UPLOAD_TYPES = {"training": "training", "target": "conversion", "batch": "batch"}
"""Per purpose of an upload the type of its row."""

MAX_NAME_CHARACTERS = 80
MAX_SETTINGS_BYTES = 65_536

PUBLIC = (
    "id",
    "user_id",
    "type",
    "status",
    "progress",
    "message",
    "stage",
    "eta_s",
    "position",
    "input_job_id",
    "model_id",
    "model_name",
    "settings",
    "files",
    "quality_snr",
    "result",
    "error_message",
    "dead_letter",
    "attempts",
    "created_at",
    "updated_at",
    "completed_at",
)
"""Keys of a row that is shown; every one is always there."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        user_id: The user of a login, or the owner id of a signed cookie or token.
        admin: Whether rows of other users are visible too.
        address: Network address of the request, "" for the server's own wishes; it only counts for limits.
    """

    user_id: str
    admin: bool = False
    address: str = field(default="", compare=False)

    def may_see(self, row: Row) -> bool:
        """Whether the row belongs to the caller, or the caller is an admin."""
        return self.admin or row["user_id"] == self.user_id


def now() -> str:
    """Return the time of day as rows hold it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_id() -> str:
    """Return an id that cannot be guessed and is safe as the name of a folder: 32 hex digits."""
    return uuid.uuid4().hex


def new_job(user_id: str, job_type: str, *, status: str, seq: int, **fields: object) -> Row:
    """Return a row with every field present, those not given at their start value."""
    moment = now()
    row: Row = {
        "id": new_id(),
        "user_id": user_id,
        "type": job_type,
        "status": status,
        "input_job_id": None,
        "upload_id": None,
        "upload_ids": [],
        "progress": 0.0,
        "message": "",
        "stage": "",
        "eta_s": None,
        "created_at": moment,
        "updated_at": moment,
        "completed_at": None,
        "input_audio_path": None,
        "output_audio_path": None,
        "model_id": None,
        "model_name": None,
        "quality_snr": None,
        "error_message": None,
        "seq": seq,
        "attempts": 0,
        "not_before": 0.0,
        "dead_letter": False,
        "settings": {},
        "files": [],
        "result": None,
    }
    return row | fields


def uploads_of(row: Row) -> set[str]:
    """Return the ids of the uploads that a job works on: one, several for a batch, none for an upload."""
    return {upload_id for upload_id in (row["upload_id"], *row.get("upload_ids", ())) if upload_id}


def public_file(stored: Row) -> Row:
    """Return what is shown of an uploaded file: everything but where it lies."""
    return {name: value for name, value in stored.items() if name not in ("original", "audio", "upload_id")}


def public_row(row: Row, *, position: int | None = None, live: Row | None = None) -> Row:
    """Return the row as callers see it.

    Args:
        row: A job's row.
        position: Place in the queue, 1 = next; None unless the job is pending.
        live: Newer progress, message, stage, eta_s and updated_at of a job that runs, and files of a batch.
    """
    shown = row | (live or {}) | {"position": position}
    shown["files"] = [public_file(stored) for stored in shown["files"]]
    return {name: shown[name] for name in PUBLIC}


def unknown_job(job_id: object) -> UnknownNameError:
    """Return the one answer to an id that does not exist or belongs to somebody else."""
    return UnknownNameError(f"There is no job {str(job_id)[:64]!r}; list your jobs to see their ids.")


def checked_name(name: str | None, what: str) -> str:
    """Return a person's name for something, trimmed.

    Args:
        name: What was typed.
        what: What is named, as it reads in a sentence ("voice").

    Raises:
        ConfigError: It is empty, too long, or holds control characters.
    """
    trimmed = " ".join(name.split()) if isinstance(name, str) else ""
    if not trimmed:
        raise ConfigError(f"The {what} has no name; give it one.")
    if len(trimmed) > MAX_NAME_CHARACTERS:
        raise ConfigError(
            f"The name of the {what} is longer than {MAX_NAME_CHARACTERS} characters; shorten it."
        )
    if not trimmed.isprintable():
        raise ConfigError(f"The name of the {what} holds characters that cannot be shown; remove them.")
    return trimmed


def checked_settings(settings: object) -> Row:
    """Return a copy of a job's settings.

    Raises:
        ConfigError: They are no JSON object, or larger than 64 kB.
    """
    if not isinstance(settings, dict):
        raise ConfigError(
            "The settings are not a JSON object; give names and values, or {} for the defaults."
        )
    try:
        text = orjson.dumps(settings)
    except TypeError as error:
        raise ConfigError("The settings hold something that JSON cannot express; remove it.") from error
    if len(text) > MAX_SETTINGS_BYTES:
        raise ConfigError("The settings are larger than 64 kB; leave out what is not a setting.")
    copy: Row = orjson.loads(text)
    return copy
