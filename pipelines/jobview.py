"""What a person sees of jobs: rows, lists of them, what they report, and their changes as they come.

Every call takes the caller first and answers another user's job exactly like one that does not exist.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from pipelines.dispatcher import Dispatcher
from pipelines.eventlog import EventLog
from pipelines.jobfiles import JobFiles
from pipelines.rows import ENDED, Caller, Row, Rows
from pipelines.settings import Settings


class JobView(JobFiles):
    """The jobs of one data folder as they are now; the half of Jobs that only looks. Safe for threads."""

    _settings: Settings
    _dispatcher: Dispatcher
    _lock: threading.RLock

    def get(self, caller: Caller, job_id: str) -> Row:
        """Return a job's row.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
        """
        with self._lock:
            return self._dispatcher.public(self._row(caller, job_id))

    def list(
        self,
        caller: Caller,
        *,
        user_id: str | None = None,
        type: str | None = None,
        status: str | None = None,
    ) -> Rows:
        """Return the caller's jobs, newest first; an admin's list holds everybody's.

        Args:
            caller: Who asks.
            user_id: Only this user's jobs; heeded for an admin only.
            type: Only jobs of this type.
            status: Only jobs in this state.
        """
        owner = user_id if caller.admin else caller.user_id
        wanted = {"user_id": owner, "type": type, "status": status}
        equal: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        with self._lock:
            rows = self.registry.list("jobs", **equal)
            return self._dispatcher.public_rows(sorted(rows, key=lambda row: row["seq"], reverse=True))

    def follow(self, caller: Caller, job_id: str) -> Iterator[Row]:
        """Iterate over a job's row: at every change, at least every 2 s, the last when it has ended.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's; raised by the call itself.
        """
        self.get(caller, job_id)
        return self._follow(caller, job_id)

    def events(self, caller: Caller, job_id: str, since: int = 0) -> Rows:
        """Return what a job has reported, oldest first.

        Each event has n (1, 2, ...), time, fraction, stage, message, eta_s and data (losses, the name of a
        sample for artifact(), ...).

        Args:
            caller: Who asks.
            job_id: The job.
            since: Only events with a greater n.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
        """
        with self._lock:
            row = self._row(caller, job_id)
            log = self._dispatcher.event_log(row["id"]) or EventLog(self._folder(row["id"]) / "events.jsonl")
            return log.read(since)

    def _follow(self, caller: Caller, job_id: str) -> Iterator[Row]:
        watch = self._dispatcher.watch
        with watch.subscription(job_id) as inbox:
            row = self.get(caller, job_id)
            yield row
            while row["status"] not in ENDED and row["status"] != "uploaded":
                with self._lock:
                    rows = watch.wait(inbox, self._settings.progress_interval_s) or [self.get(caller, job_id)]
                for row in rows:
                    yield row
                    if row["status"] in ENDED:
                        return
