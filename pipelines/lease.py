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
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
