"""Which jobs wait for their start: their rows, kept, and read again as they change."""

from __future__ import annotations

from pipelines.jobs.schedule import lane_of
from pipelines.store.records import Row, Rows
from pipelines.store.registry import Registry


class PendingJobs:
    """The pending jobs that were asked for after a seq; the dispatcher is the only user, under its lock."""

    def __init__(self, registry: Registry, after_seq: int) -> None:
        self.version = -1  # of the registry, when it was looked at last
        self._registry = registry
        self._after_seq = after_seq
        self._by_id: dict[str, Row] = {}
        self._lane_of: dict[str, str] = {}  # by id

    def rows(self) -> Rows:
        """Return them as they are; of 100,000 rows only those are looked at that have changed."""
        version = self._registry.version
        if version != self.version:
            changed = self._registry.changed_since(self.version, "jobs")
            if changed is None:
                self._by_id, self._lane_of = {}, {}
                rows = self._registry.list("jobs", status="pending")
            else:
                for job_id in changed & self._by_id.keys():
                    del self._by_id[job_id], self._lane_of[job_id]
                rows = [row for job_id in changed if (row := self._registry.get("jobs", job_id))]
            for row in rows:
                if row["status"] == "pending" and row["seq"] > self._after_seq:
                    self._by_id[row["id"]], self._lane_of[row["id"]] = row, lane_of(row)
            self.version = version
        return list(self._by_id.values())

    def lanes(self) -> set[str]:
        """Return the lanes in which any of them waits."""
        self.rows()
        return set(self._lane_of.values())

    def count_of(self, user_id: str) -> int:
        return sum(row["user_id"] == user_id for row in self.rows())
