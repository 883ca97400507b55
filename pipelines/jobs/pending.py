"""Which jobs wait for their start: their rows, kept, and read again as they change."""

from __future__ import annotations

from pipelines.store.records import Row, Rows
from pipelines.store.registry import Registry


class PendingJobs:
    """The pending jobs that were asked for after a seq; the dispatcher is the only user, under its lock."""

    def __init__(self, registry: Registry, after_seq: int) -> None:
        self.version = -1  # of the registry, when it was looked at last
        self._registry = registry
        self._after_seq = after_seq
        self._by_id: dict[str, Row] = {}
        self._rows: Rows = []

    def rows(self) -> Rows:
        """Return them as they are; of 100,000 rows only those are looked at that have changed."""
        version = self._registry.version
        if version != self.version:
            changed = self._registry.changed_since(self.version, "jobs")
            if changed is None:
                self._by_id, rows = {}, self._registry.list("jobs", status="pending")
            else:
                kept = {job_id: row for job_id, row in self._by_id.items() if job_id not in changed}
                self._by_id, rows = kept, [self._registry.get("jobs", job_id) for job_id in changed]
            for row in rows:
                if row and row["status"] == "pending" and row["seq"] > self._after_seq:
                    self._by_id[row["id"]] = row
            self._rows, self.version = list(self._by_id.values()), version
        return self._rows

    def count_of(self, user_id: str) -> int:
        return sum(row["user_id"] == user_id for row in self.rows())
