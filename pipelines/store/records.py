"""What a job's row holds, which states it goes through, and who may see it.

    uploaded ─ never dispatched; other rows name it as their input_job_id
    pending ─> preprocessing | training | converting ─> completed | failed | cancelled | interrupted
       ^────── retry (from the start), resume (from what is saved) ──────────┘

A row is a plain dict of JSON values. Times of day are ISO 8601 in UTC with milliseconds, which sort as text.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from rvc.errors import ConfigError, NotAllowedError, UnknownNameError
from rvc.files import atomic_write

logger = logging.getLogger(__name__)
Row = dict[str, Any]
Rows = list[Row]

# By type of job, its status while a child works on it.
RUNNING_STATUS = {
    "preprocessing": "preprocessing", "training": "training",
    "conversion": "converting", "speech": "converting", "batch": "converting", "cover": "converting",
}  # fmt: skip
CONVERTING = frozenset({"conversion", "speech", "batch", "cover"})  # types of job that speak in a voice
SINGLE = frozenset({"conversion", "speech", "cover"})  # those of them that make one recording
JOB_TYPES = tuple(RUNNING_STATUS)
RUNNING = frozenset(RUNNING_STATUS.values())
RESTARTABLE = frozenset({"failed", "cancelled", "interrupted"})
ENDED = RESTARTABLE | {"completed"}
STATUSES = {"uploaded", "pending"} | RUNNING | ENDED
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a row; it becomes the name of a folder
# By purpose of an upload, the type of its row.
UPLOAD_TYPES = {
    "training": "training", "target": "conversion", "batch": "batch", "text": "speech", "lines": "batch",
    "song": "cover",
}  # fmt: skip
TEXT = "text"  # the codec of a file that is no recording but a text to be spoken

MAX_NAME_CHARACTERS = 80
COMMAND_LINE = "command-line"  # the user id of what was made there; also for who sits at this machine
TRASH_S = 86_400.0  # how long a deleted voice or job can be restored
MAX_SETTINGS_BYTES = 65_536
MOST_COUNTED = 10**12  # of anything: a whole number beyond it is nobody's wish

# What is shown of a row; every key is always there.
PUBLIC = (
    "id", "user_id", "type", "status", "progress", "message", "stage", "eta_s", "position",
    "input_job_id", "model_id", "model_name", "settings", "files", "refused", "quality_snr", "result",
    "error_message", "dead_letter", "attempts", "created_at", "updated_at", "completed_at",
    "deleted_at", "purge_at",
)  # fmt: skip
PRIVATE_OF_FILES = frozenset({"original", "audio", "upload_id"})  # where it lies

# A batch's recordings, in its job's folder: what became of each, and what came of it.
STATES = Path("work") / "files.json"
RESULTS = "result"
STATE_KEYS = ("status", "reason", "output", "seconds")  # what the work changes in a recording's row
# What a cover leaves beside its mix: the vocals and the backing of the song, unless they came as two files,
# and the converted voice.
STEMS = {
    "vocals": Path("work") / "vocals.wav",
    "backing": Path("work") / "backing.wav",
    "voice": Path("work") / "voice.flac",
}


@dataclass(frozen=True)
class Caller:
    """Who asks: the user of a login, or the owner id of a signed cookie or token."""

    user_id: str
    admin: bool = False  # sees other users' rows too
    address: str = field(default="", compare=False)  # "" for the server itself; for limits only

    def may_see(self, row: Row) -> bool:
        return self.admin or row["user_id"] == self.user_id


def require_admin(caller: Caller) -> None:
    if not caller.admin:
        raise NotAllowedError("This is for who runs the server; log in as an admin.")


def require_type(job_type: str) -> None:
    if job_type not in JOB_TYPES:
        raise ConfigError(f"Unknown type of job {job_type!r}. Choose one of: {', '.join(JOB_TYPES)}.")


def now() -> str:
    return as_text(datetime.now(UTC))


def as_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def purge_at(row: Row) -> str | None:
    """Return when a voice or a job of the trash is gone for good; None for what was not deleted."""
    if not row.get("deleted_at"):
        return None
    return as_text(datetime.fromisoformat(row["deleted_at"]) + timedelta(seconds=TRASH_S))


def new_id() -> str:
    """Return an id that cannot be guessed and is safe as the name of a folder: 32 hex digits."""
    return uuid.uuid4().hex


def new_job(user_id: str, job_type: str, *, status: str, seq: int, **fields: object) -> Row:
    """Return a row with every field present, those not given at their start value."""
    moment = now()
    row: Row = {
        "id": new_id(), "user_id": user_id, "type": job_type, "status": status,
        "input_job_id": None, "upload_id": None, "upload_ids": [],
        "progress": 0.0, "message": "", "stage": "", "eta_s": None,
        "created_at": moment, "updated_at": moment, "completed_at": None,
        "input_audio_path": None, "output_audio_path": None,
        "model_id": None, "model_name": None, "quality_snr": None, "error_message": None,
        "seq": seq, "attempts": 0, "not_before": 0.0, "dead_letter": False,
        "settings": {}, "files": [], "refused": [], "result": None, "deleted_at": None,
    }  # fmt: skip
    return row | fields


def has_made_voice(row: Row) -> bool:
    """Whether a training was completed, maybe before it was trained on; the row may be a public one."""
    return row["type"] == "training" and bool(row.get("result"))


def uploads_of(row: Row) -> set[str]:
    """Return the ids of the uploads that a job works on: one, several for a batch, none for an upload."""
    return {upload_id for upload_id in (row["upload_id"], *row.get("upload_ids", ())) if upload_id}


def public_row(row: Row, *, position: int | None = None, live: Row | None = None) -> Row:
    """Return the row as callers see it, with its place in the queue (1 = next) or what has changed since."""
    older: Row = {"refused": [], "deleted_at": None}  # which rows of earlier versions lack
    shown = older | row | (live or {}) | {"position": position, "purge_at": purge_at(row)}
    shown["files"] = [
        {name: value for name, value in stored.items() if name not in PRIVATE_OF_FILES}
        for stored in shown["files"]
    ]
    return {name: shown[name] for name in PUBLIC}


def unknown_job(job_id: object) -> UnknownNameError:
    """Return the one answer to an id that does not exist or belongs to somebody else."""
    return UnknownNameError(f"There is no job {str(job_id)[:64]!r}; list your jobs to see their ids.")


def job_deleted() -> UnknownNameError:
    """Return what is said of a job that is in the trash."""
    return UnknownNameError("This job was deleted; restore it, or list your jobs to see the others.")


def voice_deleted(name: object) -> UnknownNameError:
    """Return what is said of a voice that its owner once had, also of one in the trash."""
    return UnknownNameError(f"The voice {name} was deleted; choose another.")


def checked_name(name: str | None, what: str) -> str:
    """Return a person's name for something ("voice", as it reads in a sentence), trimmed."""
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


def checked_count(value: Any, what: str, least: int = 0) -> int:  # noqa: ANN401 -- whatever was sent
    """Return a whole number that a program sent, maybe as 3.0; a ConfigError calls it `what`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= MOST_COUNTED or value % 1:
        raise ConfigError(f"The {what} is no whole number from {least} on.")
    return int(value)


def checked_settings(settings: object) -> Row:
    """Return a copy of a job's settings, which are a JSON object of at most 64 kB; None for none."""
    if settings is None:
        return {}
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


def spoken_path(folder: Path, result: str) -> Path:
    """Return where a job keeps what its synthesiser said of a text, by the name of what came of it."""
    return folder / "work" / "spoken" / f"{Path(result).stem}.flac"


def saved_states(files: Sequence[Row], folder: Path) -> Rows:
    """Return the rows of a batch's recordings as its work left them in the job's folder."""
    rows = [file | state for file, state in zip(files, read_states(files, folder), strict=True)]
    return [row | {"status": "waiting"} if row["status"] == "converting" else row for row in rows]


def save_states(states: Sequence[Row], folder: Path) -> None:
    rows = [{key: state.get(key) for key in STATE_KEYS} for state in states]
    with atomic_write(folder / STATES) as path:
        path.write_text(json.dumps(rows), encoding="utf-8")


def read_states(files: Sequence[Row], folder: Path) -> Rows:
    """Read what was written down; nothing of each recording if there is no such file, or a damaged one."""
    try:
        saved = json.loads((folder / STATES).read_text(encoding="utf-8"))
        if [set(state) for state in saved] == [set(STATE_KEYS)] * len(files):
            return list(saved)
    except FileNotFoundError:
        pass  # the first try
    except (OSError, ValueError, TypeError):
        logger.warning("%s tells nothing of an earlier try", STATES)
    return [{} for _ in files]
