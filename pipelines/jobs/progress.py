"""A job's events on disk: one JSON object a line, numbered from 1, for the live curve and for later.

Progress comes far more often than the registry should be written, and a curve needs its history; so it
is appended here and only the newest state is kept in memory. A line that a crash cut short is dropped.

Telling followers: every change of state reaches each of them, progress only its newest.

A follower may be slow or gone; it never holds up the dispatcher. Between two looks of a follower the
rows of changed states are kept for it in order, and of mere progress only the last.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson


class EventLog:
    """The events of one job. Not safe for threads; the owner holds a lock.

    Args:
        path: events.jsonl in the job's folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: list[int] = []  # byte offset behind each line; line n starts at _ends[n - 2]
        if path.exists():
            end = 0
            with path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        end += len(line)
                        self._ends.append(end)
            if path.stat().st_size != end:
                with path.open("r+b") as file:
                    file.truncate(end)

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, event: dict[str, Any]) -> None:
        """Add an event; it gets its number as "n".

        Raises:
            OSError: The disk refused; the log is as before.
        """
        line = orjson.dumps({"n": len(self._ends) + 1, **event}) + b"\n"
        end = self._ends[-1] if self._ends else 0
        # At the last whole line, so that what a full disk cut short is overwritten by the next event.
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.seek(end)
            file.write(line)
        self._ends.append(end + len(line))

    def read(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the events with numbers above `since`, oldest first."""
        first = max(since, 0)
        if first >= len(self._ends):
            return []
        start = self._ends[first - 1] if first else 0
        with self.path.open("rb") as file:
            file.seek(start)
            return [orjson.loads(line) for line in file.read(self._ends[-1] - start).splitlines()]


Row = dict[str, Any]
Inbox = deque[tuple[bool, Row]]
"""Rows that a follower has not seen yet, each with whether its state differs from the one before."""


class Watch:
    """Followers by job.

    Args:
        lock: The lock that guards the jobs; post and wait are called while it is held.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._changed = threading.Condition(lock)
        self._inboxes: dict[str, list[Inbox]] = {}

    @contextmanager
    def subscription(self, job_id: str) -> Iterator[Inbox]:
        """Collect the job's rows in an inbox until the block is left."""
        inbox: Inbox = deque()
        with self._lock:
            self._inboxes.setdefault(job_id, []).append(inbox)
        try:
            yield inbox
        finally:
            with self._lock:
                left = [other for other in self._inboxes[job_id] if other is not inbox]
                if left:
                    self._inboxes[job_id] = left
                else:
                    del self._inboxes[job_id]

    def followed(self) -> list[str]:
        """Return the ids of jobs that somebody follows."""
        return list(self._inboxes)

    def post(self, job_id: str, row: Row, *, state_changed: bool) -> None:
        """Give the row to the job's followers and wake whoever waits."""
        for inbox in self._inboxes.get(job_id, ()):
            if inbox and not inbox[-1][0]:
                inbox.pop()
            inbox.append((state_changed, row))
        self._changed.notify_all()

    def wait(self, inbox: Inbox, timeout_s: float) -> list[Row]:
        """Return the rows that have come, waiting up to timeout_s for the first; [] if none came."""
        self._changed.wait_for(lambda: bool(inbox), timeout_s)
        rows = [row for _, row in inbox]
        inbox.clear()
        return rows
