"""Who computes on the device: one job per slot (one slot), what is urgent first, nobody forgotten.

    waits ──grant or continue──> holds ──release──> (gone)
      ^                            │ pause, obeyed at its next yield
      └──────────paused────────────┘

Rules, in their order:
    1. A batch or training that has waited for max_pause_s, paused or not yet begun, is overdue and comes
       first; it may interrupt what is more urgent, and is then left alone for turn_s.
    2. Conversions come before batches, both before training, and they interrupt what they come before.
    3. Within a kind, the lower sequence number comes first.

Pure bookkeeping: times come in as arguments, the lines to send go out, no process is touched. The
dispatcher is the only user, under its lock. A file lock in the children guards against what this cannot
see: an orphan of an earlier server.

Which pending job starts next. Pure functions of rows; the dispatcher asks them under its lock.

Each type of job has a lane of its own, first in, first out: a conversion never stands behind a training or
a batch, and preparing recordings, which needs no device, behind none of them. Who computes on the device
among the jobs that were started is lease.py's matter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

URGENT, BATCH, BACKGROUND = range(3)
"""A conversion that somebody waits for, a batch of them, a training."""
URGENCY = {"conversion": URGENT, "batch": BATCH}
"""By type of job; whatever else there is, is background."""
TURN_S = 60.0
"""How long an overdue job computes before a more urgent one may interrupt it again, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One job's wish for the device.

    Attributes:
        job_id: Whose it is.
        urgency: URGENT, BATCH or BACKGROUND; the lower goes first.
        seq: Its place in the order of submission.
        since_s: Monotonic time at which it began to wait.
        paused: Whether it has computed before and was interrupted.
    """

    job_id: str
    urgency: int
    seq: int
    since_s: float = 0.0
    paused: bool = False


class DeviceLease:
    """The right to compute on the device.

    Args:
        max_pause_s: Longest time that a batch or training waits for what is more urgent at a stretch.
        turn_s: How long it is then left alone; at most max_pause_s.
        slots: How many jobs may compute at the same time.
    """

    def __init__(self, max_pause_s: float, *, turn_s: float = TURN_S, slots: int = 1) -> None:
        self.max_pause_s = max_pause_s
        self.turn_s = min(turn_s, max_pause_s)
        self._held: dict[int, Claim] = {}
        self._free = list(range(slots))
        self._waiting: dict[str, Claim] = {}
        self._pause_sent: str | None = None
        self._protected_until_s: dict[str, float] = {}

    @property
    def holders(self) -> list[str]:
        """Ids of the jobs that may compute now."""
        return [claim.job_id for claim in self._held.values()]

    def waits(self, job_id: str) -> bool:
        """Whether the job stands still until it gets the device."""
        return job_id in self._waiting

    def want(self, claim: Claim) -> None:
        """Enter a claim; one of a job that holds the device is ignored."""
        if claim.job_id not in self.holders:
            self._waiting[claim.job_id] = claim

    def release(self, job_id: str) -> None:
        """Forget the job, whether it held the device, waited or neither."""
        self._waiting.pop(job_id, None)
        self._take_back(job_id)

    def paused(self, job_id: str, now_s: float) -> None:
        """Note that a holder has stopped at a yield and waits to go on."""
        held = self._take_back(job_id)
        if held is not None:
            self._waiting[job_id] = replace(held, since_s=now_s, paused=True)

    def decide(self, now_s: float) -> tuple[str, str] | None:
        """Return the next line to send as (job id, line), None for nothing; call it until it is None.

        Args:
            now_s: Monotonic time.

        Returns:
            The line is "pause", or "grant SLOT" or "continue SLOT" with the number of the slot.
        """
        if not self._waiting:
            return None
        if self._free:
            claim = min(self._waiting.values(), key=lambda claim: self._rank(claim, now_s))
            if self._overdue(claim, now_s):
                self._protected_until_s[claim.job_id] = now_s + self.turn_s
            slot = self._free.pop(0)
            self._held[slot] = self._waiting.pop(claim.job_id)
            return claim.job_id, f"{'continue' if claim.paused else 'grant'} {slot}"
        if self._pause_sent is None:
            for claim in sorted(self._held.values(), key=lambda claim: claim.seq, reverse=True):
                if self._must_yield(claim, now_s):
                    self._pause_sent = claim.job_id
                    return claim.job_id, "pause"
        return None

    def _take_back(self, job_id: str) -> Claim | None:
        for slot, claim in self._held.items():
            if claim.job_id == job_id:
                del self._held[slot]
                self._free = sorted([*self._free, slot])
                self._protected_until_s.pop(job_id, None)
                if self._pause_sent == job_id:
                    self._pause_sent = None
                return claim
        return None

    def _overdue(self, claim: Claim, now_s: float) -> bool:
        return claim.urgency > URGENT and now_s - claim.since_s >= self.max_pause_s

    def _rank(self, claim: Claim, now_s: float) -> tuple[int, int]:
        if self._overdue(claim, now_s):
            return 0, claim.seq
        return 1 + claim.urgency, claim.seq

    def _must_yield(self, held: Claim, now_s: float) -> bool:
        protected = now_s < self._protected_until_s.get(held.job_id, float("-inf"))
        for claim in self._waiting.values():
            if claim.urgency < held.urgency and not protected:
                return True
            if claim.urgency > held.urgency and self._overdue(claim, now_s) and not protected:
                return True
        return False


Row = dict[str, Any]
Rows = list[Row]
USES_PREPARED = frozenset({"preprocessing", "training"})
"""Types that write the prepared slices of an upload, and so never run on the same upload together."""
LONGEST_REST_S = 3_600.0
"""No failed try rests longer."""


def in_order(pending: Rows) -> Rows:
    """Return the pending rows in the order of their submission."""
    return sorted(pending, key=lambda row: row["seq"])


def positions(pending: Rows) -> dict[str, int]:
    """Return by job id the place in its lane, 1 for the job that starts next."""
    counts: dict[str, int] = {}
    places: dict[str, int] = {}
    for row in in_order(pending):
        counts[row["type"]] = counts.get(row["type"], 0) + 1
        places[row["id"]] = counts[row["type"]]
    return places


def next_up(job_type: str, pending: Rows, running: Collection[Row], now_s: float) -> Row | None:
    """Return the job of this type that may start now, None if there is none.

    Args:
        job_type: Lane.
        pending: All pending rows, in any order.
        running: Rows of the jobs that children work on.
        now_s: Seconds since the epoch; a row whose `not_before` is a little later rests from a failed try.
    """
    for row in in_order(pending):
        # So far ahead no rest was ever set: the clock has been put back since.
        rests = 0 < row["not_before"] - now_s <= LONGEST_REST_S
        if row["type"] != job_type or rests:
            continue
        if not _upload_is_busy(row, pending, running):
            return row
        if job_type == "training":
            # A training holds its place: what blocks it is short, or a training ahead of it.
            return None
    return None


def _upload_is_busy(row: Row, pending: Rows, running: Collection[Row]) -> bool:
    """Whether somebody else works on the prepared slices that this job needs."""
    if row["type"] not in USES_PREPARED:
        return False
    upload = row["upload_id"]
    if any(other["upload_id"] == upload and other["type"] in USES_PREPARED for other in running):
        return True
    return row["type"] == "training" and any(
        other["type"] == "preprocessing" and other["upload_id"] == upload and other["seq"] < row["seq"]
        for other in pending
    )
