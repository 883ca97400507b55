"""Log records of the server and its children, as text for people or as JSON for programs that collect them.

Every record that is written while a job is worked on names the job: what a thread does for it stands in
`with about_job(job_id):`, and a child that works on one job says so once (`enter_job`).

    text    2026-01-02 12:30:05 INFO pipelines.worker [3f2a...]: done after 12.3 s
    json    {"time": "2026-01-02T12:30:05.123+00:00", "level": "INFO", "logger": "pipelines.worker",
             "job": "3f2a...", "message": "done after 12.3 s"}; an exception adds "exception"
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

import orjson

Format = Literal["text", "json"]
OURS = ("timbre", "pipelines", "ui", "rvc")
TEXT = "%(asctime)s %(levelname)s %(name)s%(about)s: %(message)s"
_JOB: ContextVar[str] = ContextVar("job", default="")


class _Process:
    """What holds for all threads of this process."""

    job = ""  # that it works on
    handler: logging.Handler | None = None


def enter_job(job_id: str) -> None:
    """Have every further record of this process name a job, "" for none: a child has one at a time."""
    _Process.job = job_id


@contextmanager
def about_job(job_id: str) -> Iterator[None]:
    """Have every record that is written within name a job."""
    before = _JOB.set(job_id)
    try:
        yield
    finally:
        _JOB.reset(before)


def start_logging(form: Format, level: str, *, others: str = "WARNING") -> None:
    """Set up the log on stderr, in an earlier one's place: ours from `level`, libraries' from `others` on."""
    handler = logging.StreamHandler()
    handler.addFilter(_name_the_job)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(TEXT, "%Y-%m-%d %H:%M:%S"))
    root = logging.getLogger()
    if _Process.handler is not None:
        root.removeHandler(_Process.handler)
    _Process.handler = handler
    root.addHandler(handler)
    root.setLevel(others)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


def adopt_server_log() -> None:
    """Have the web server's own records come out like all others; call it when it has started."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        log = logging.getLogger(name)
        log.handlers.clear()
        log.propagate = True


class JsonFormatter(logging.Formatter):
    """One JSON object a record, always on one line."""

    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "job": getattr(record, "job", "") or None,
            "message": record.getMessage(),
        }
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        # A name from a file system may hold what is no text at all; it must not cost the record.
        plain = {
            key: text.encode(errors="backslashreplace").decode()
            for key, text in facts.items()
            if text is not None
        }
        return orjson.dumps(plain).decode()


def _name_the_job(record: logging.LogRecord) -> bool:
    record.job = job = _JOB.get() or _Process.job
    record.about = f" [{job}]" if job else ""
    return True
