"""Telling followers: every change of state reaches each of them, progress only its newest.

A follower may be slow or gone; it never holds up the dispatcher. Between two looks of a follower the
rows of changed states are kept for it in order, and of mere progress only the last.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
