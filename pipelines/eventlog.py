"""A job's events on disk: one JSON object a line, numbered from 1, for the live curve and for later.

Progress comes far more often than the registry should be written, and a curve needs its history; so it
is appended here and only the newest state is kept in memory. A line that a crash cut short is dropped.
"""

from __future__ import annotations

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
