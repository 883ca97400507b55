"""Which pending job starts next, and who of those that were started computes on the device.

Pure bookkeeping under the dispatcher's lock: times come in as arguments, the lines to send go out, no process
is touched. Each type of job has a lane of its own, first in, first out, and so have conversions of long
recordings: a short one never stands behind a long one, a training or a batch, and preparing recordings, which
needs no device, behind none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from pipelines.jobs.workers import Backend
from pipelines.store.records import RUNNING_STATUS, SINGLE, Row, Rows

SHORT, LONG = "conversion", "long conversion"  # the lanes of conversions
IN_LANES_BY_LENGTH = SINGLE - {"cover"}  # a song takes minutes, however short it is
LANES = (*(kind for kind in RUNNING_STATUS if kind == SHORT or kind not in IN_LANES_BY_LENGTH), LONG)
TRAINING = "training"  # the lane of jobs that may compute on several GPUs
LONG_RECORDING_S = 300.0  # what is longer lets the others through at its pieces
# The urgency of a conversion that somebody waits for, of a long one or a song, a batch of them, and all else.
URGENT, PATIENT, BATCH, BACKGROUND = range(4)
URGENCY = {SHORT: URGENT, LONG: PATIENT, "cover": PATIENT, "batch": BATCH}
TURN_S = 60.0  # how long an overdue job computes before a more urgent one may interrupt it again
# Types of job that never run together on the same upload, whose prepared slices they write and read.
USES_PREPARED = frozenset({"preprocessing", "training"})
LONGEST_REST_S = 60.0  # no failed try rests longer


@dataclass(frozen=True, kw_only=True)
class DeviceRequest:
    job_id: str
    urgency: int  # the lower goes first
    seq: int  # place in the order of submission
    since_s: float = 0.0  # monotonic time at which it began to wait
    paused: bool = False  # whether it has computed before and was interrupted
    device: str | None = None  # the only one that it can compute on; None for any slot


class DeviceScheduler:
    """The right to compute on the device: one job per slot, what is urgent first, nobody forgotten.

        waits ──grant or continue──> holds ──release──> (gone)
          ^──────────paused────────────┘ pause, obeyed at its next yield

    A slot is one of a number, for jobs that compute here, or a device that a job is bound to, elsewhere; what
    follows holds among those that compete for the same.

    1. What is not urgent and has waited for max_pause_s, paused or not yet begun, is overdue and comes
       first; it may interrupt what is more urgent, and is then left alone for turn_s.
    2. Conversions come before those of long recordings, these before batches, all before training, and they
       interrupt what they come before.
    3. Within a kind, the lower sequence number comes first.
    4. While somebody speaks live, which is here, only conversions that somebody waits for compute here,
       however long others wait.

    A file lock in the children guards against what this cannot see: an orphan of an earlier server.
    """

    def __init__(self, max_pause_s: float, *, turn_s: float = TURN_S, slots: int = 1) -> None:
        self._max_pause_s = max_pause_s
        self._turn_s = min(turn_s, max_pause_s)
        self._slots = [str(slot) for slot in range(slots)]
        self._held: dict[str, DeviceRequest] = {}
        self._waiting: dict[str, DeviceRequest] = {}
        self._pauses_sent: dict[str | None, str] = {}  # by the device that it is bound to
        self._protected_until_s: dict[str, float] = {}
        self.live = False  # whether somebody speaks live

    @property
    def holders(self) -> list[str]:
        return [request.job_id for request in self._held.values()]

    def waits(self, job_id: str) -> bool:
        return job_id in self._waiting

    def request(self, request: DeviceRequest) -> None:
        if request.job_id not in self.holders:
            self._waiting[request.job_id] = request

    def release(self, job_id: str) -> None:
        self._waiting.pop(job_id, None)
        self._take_back(job_id)

    def paused(self, job_id: str, now_s: float) -> None:
        if (held := self._take_back(job_id)) is not None:
            self._waiting[job_id] = replace(held, since_s=now_s, paused=True)

    def decide(self, now_s: float) -> tuple[str, str] | None:
        """Return the next line to send as (job id, line), None for nothing; call it until it is None.

        The line is "pause", or "grant SLOT" or "continue SLOT" with the slot's number or its device.
        """
        waiting = [other for other in self._waiting.values() if self._may_compute(other)]
        bound = dict.fromkeys(request.device for request in waiting if request.device is not None)
        for slot in (*self._slots, *bound):
            device = slot if slot in bound else None
            able = [request for request in waiting if request.device == device]
            if slot not in self._held and able:
                request = min(able, key=lambda request: self._rank(request, now_s))
                if self._overdue(request, now_s):
                    self._protected_until_s[request.job_id] = now_s + self._turn_s
                self._held[slot] = self._waiting.pop(request.job_id)
                return request.job_id, f"{'continue' if request.paused else 'grant'} {slot}"
        for request in sorted(self._held.values(), key=lambda request: request.seq, reverse=True):
            if request.device not in self._pauses_sent and self._must_yield(request, now_s):
                self._pauses_sent[request.device] = request.job_id
                return request.job_id, "pause"
        return None

    def _take_back(self, job_id: str) -> DeviceRequest | None:
        for slot, request in self._held.items():
            if request.job_id == job_id:
                self._protected_until_s.pop(job_id, None)
                if self._pauses_sent.get(request.device) == job_id:
                    del self._pauses_sent[request.device]
                return self._held.pop(slot)
        return None

    def _overdue(self, request: DeviceRequest, now_s: float) -> bool:
        return request.urgency > URGENT and now_s - request.since_s >= self._max_pause_s

    def _rank(self, request: DeviceRequest, now_s: float) -> tuple[int, int]:
        return 0 if self._overdue(request, now_s) else 1 + request.urgency, request.seq

    def _may_compute(self, request: DeviceRequest) -> bool:
        return not self.live or request.urgency == URGENT or request.device is not None

    def _must_yield(self, held: DeviceRequest, now_s: float) -> bool:
        if not self._may_compute(held):
            return True
        protected = now_s < self._protected_until_s.get(held.job_id, float("-inf"))
        return not protected and any(
            other.urgency < held.urgency or (other.urgency > held.urgency and self._overdue(other, now_s))
            for other in self._waiting.values()
            if other.device == held.device and self._may_compute(other)
        )


def positions(pending: Rows) -> dict[str, int]:
    """Return by job id the place in its lane, 1 for the job that starts next."""
    counts: Counter[str] = Counter()
    places = {}
    for row in sorted(pending, key=lambda row: row["seq"]):
        counts[lane_of(row)] += 1
        places[row["id"]] = counts[lane_of(row)]
    return places


def lane_of(row: Row) -> str:
    """Return the lane of a job, in which it waits for its turn: its type, SHORT or LONG."""
    if row["type"] not in IN_LANES_BY_LENGTH:
        return str(row["type"])
    seconds = sum(float(file.get("seconds") or 0.0) for file in row["files"])
    return LONG if seconds > LONG_RECORDING_S else SHORT


def next_with_room(
    backend: Backend, lane: str, pending: Rows, running: Collection[Row], now_s: float
) -> Row | None:
    """Return the job of this lane that may start now where there is room for it; None if there is none."""
    alike = Counter(backend.width(row) for row in running if lane_of(row) == lane)
    widths = {backend.width(row) for row in pending if row["type"] == lane} if lane == TRAINING else {1}
    for width in sorted(widths, reverse=True):
        if alike[width] < backend.room(lane, width):
            queue = [row for row in pending if row["type"] != TRAINING or backend.width(row) == width]
            if (row := next_job(lane, queue if len(widths) > 1 else pending, running, now_s)) is not None:
                return row
    return None


def next_job(lane: str, pending: Rows, running: Collection[Row], now_s: float) -> Row | None:
    """Return the job of this lane that may start now (seconds since the epoch), None if there is none."""
    for row in sorted(pending, key=lambda row: row["seq"]):
        # So far ahead no rest was ever set: the clock has been put back since.
        rests = 0 < row["not_before"] - now_s <= LONGEST_REST_S
        if lane_of(row) != lane or rests:
            continue
        if not _upload_is_busy(row, pending, running):
            return row
        if lane == "training":
            break  # it holds its place: what blocks it is short, or a training ahead of it
    return None


def _upload_is_busy(row: Row, pending: Rows, running: Collection[Row]) -> bool:
    blocking = list(running)
    if row["type"] == "training":
        blocking += [o for o in pending if o["type"] == "preprocessing" and o["seq"] < row["seq"]]
    return row["type"] in USES_PREPARED and any(
        other["upload_id"] == row["upload_id"] and other["type"] in USES_PREPARED for other in blocking
    )
