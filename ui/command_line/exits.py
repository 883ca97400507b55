"""How a command ends: its exit status, and the errors that decide it beside RvcError, which is 2."""

from __future__ import annotations

from pipelines.store.records import Row
from rvc.errors import RvcError

DONE, FAULT, REFUSED, STOPPED = 0, 1, 2, 3


class FaultError(RvcError):
    """The program, the machine or the server failed, not what it was given."""


class StoppedError(RvcError):
    """A job was stopped before its end."""


def status_of(error: RvcError) -> int:
    if isinstance(error, FaultError):
        return FAULT
    return STOPPED if isinstance(error, StoppedError) else REFUSED


def require_completed(row: Row) -> Row:
    """Return the row of a job that has ended well; else raise why not."""
    if row["status"] == "completed":
        return row
    if row["status"] == "failed":
        said = str(row["error_message"])
        raise FaultError(said) if row["dead_letter"] else RvcError(said)
    why = str(row["message"] or "").rstrip(".")
    raise StoppedError(f"The job was {row['status']}" + (f": {why}." if why else "."))
