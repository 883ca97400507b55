"""What a job reports: its events on disk, for the live curve and for later, and its rows to its followers.

Progress comes far more often than the registry should be written, and a curve needs its history; so it is
appended to events.jsonl, one JSON object a line, numbered from 1. A line that a crash cut short is dropped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import orjson

from pipelines.store.records import Row, Rows


class EventLog:
    """The events of one job; their file need not exist. Not safe for threads; the owner holds a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends = [0]  # byte offset behind each line, from line 0 on, which is none
        if path.exists():
            with path.open("r+b") as file:
                lengths = (len(line) for line in file if line.endswith(b"\n"))
                self._ends = list(accumulate(lengths, initial=0))
                if file.seek(0, os.SEEK_END) != self._ends[-1]:
                    file.truncate(self._ends[-1])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, event: Row) -> None:
        """Add an event; it gets its number as "n". When the disk refuses, the log is as before."""
        line = orjson.dumps({"n": len(self) + 1, **event}) + b"\n"
        # At the last whole line, so that what a full disk cut short is overwritten by the next event.
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.seek(self._ends[-1])
            file.write(line)
        self._ends.append(self._ends[-1] + len(line))

    def read(self, since: int = 0) -> Rows:
        start, end = self._ends[min(max(since, 0), len(self))], self._ends[-1]
        if start == end:
            return []
        with self.path.open("rb") as file:
            file.seek(start)
            return [event for line in file.read(end - start).splitlines() if (event := _event(line))]


def _event(line: bytes) -> Row | None:
    """Read a line; None for one that the disk has damaged."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


@dataclass(eq=False)
class Subscription:
    """Rows that a follower has not seen yet, each with whether its state differs from the one before."""

    job_id: str
    rows: list[tuple[bool, Row]] = field(default_factory=list)


class Subscriptions:
    """Followers of jobs: every change of state reaches each of them, of mere progress only the newest.

    A follower may be slow or gone; it never holds up the dispatcher. Who publishes or waits holds the lock.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._changed = threading.Condition(lock)
        self._subscriptions: set[Subscription] = set()

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        """Collect the job's rows until the block is left."""
        subscription = Subscription(job_id)
        with self._changed:
            self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            with self._changed:
                self._subscriptions.remove(subscription)

    def followed(self) -> set[str]:
        return {subscription.job_id for subscription in self._subscriptions}

    def publish(self, row: Row, *, state_changed: bool) -> None:
        for subscription in self._subscriptions:
            if subscription.job_id == row["id"]:
                if subscription.rows and not subscription.rows[-1][0]:
                    subscription.rows.pop()
                subscription.rows.append((state_changed, row))
        self._changed.notify_all()

    def wait(self, subscription: Subscription, timeout_s: float) -> Rows:
        """Return the rows that have come, waiting up to timeout_s for the first; [] if none came."""
        self._changed.wait_for(lambda: bool(subscription.rows), timeout_s)
        rows = [row for _, row in subscription.rows]
        subscription.rows.clear()
        return rows
