"""The one thread that starts, watches and ends the workers, and grants the device.

    workers ──events──> inbox ──> dispatcher ──> registry (state changes), events.jsonl, followers
    service.py ──────────wake──────────┘

What runs side by side here: one converter (warm; it leaves when idle), one conversion of a long recording,
one batch, one preparation, and as many trainings as may compute at the same time; in a cluster, as many of
each as it has devices. All state is guarded by `lock`, which service.py shares.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from pipelines.events import LAST_WORDS
from pipelines.jobs.estimates import Estimates
from pipelines.jobs.improving import improved
from pipelines.jobs.outcome import RESUMABLE, JobOutcome, count_use, make_job_spec, resolve
from pipelines.jobs.pending import PendingJobs
from pipelines.jobs.pool import RunningJob, WorkerPool
from pipelines.jobs.progress import EventLog, Subscriptions
from pipelines.jobs.schedule import (
    LANES,
    SHORT,
    DeviceScheduler,
    lane_of,
    next_with_room,
    positions,
)
from pipelines.jobs.workers import Backend, Worker
from pipelines.logs import about_job
from pipelines.monitoring import JOB_SECONDS
from pipelines.settings import Settings
from pipelines.store.records import RUNNING_STATUS, Row, Rows, now, public_row
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from rvc.errors import RvcError

logger = logging.getLogger(__name__)
TICK_S = 0.2
LOG_INTERVAL_S = 1.0
LOCK_PATIENCE_S = 5.0
HOUSEKEEPING_INTERVAL_S = 300.0


class Dispatcher:
    """Runs pending jobs, of those that were asked for after a seq, until it is closed.

    Housekeeping is called now and then. Who calls stop, public, event_log or announce holds the lock.
    """

    def __init__(  # noqa: PLR0913  # what it works with
        self,
        settings: Settings,
        registry: Registry,
        library: Library,
        backend: Backend,
        retry_pauses_s: Sequence[float],
        housekeeping: Callable[[], None],
        *,
        after_seq: int = 0,
    ) -> None:
        self.lock = threading.RLock()
        self.subscriptions = Subscriptions(self.lock)
        self.estimates = Estimates(settings.data_dir, lambda: self._pool.warm)
        self._settings = settings
        self._registry = registry
        self._library = library
        self._retry_pauses_s = retry_pauses_s
        self._housekeeping = housekeeping
        self._device = DeviceScheduler(settings.max_pause_s, slots=backend.slots)
        self._running: dict[str, RunningJob] = {}
        self._on_device: set[str | None] = set()  # voices whose last conversion asked for the device
        self._inbox: deque[tuple[Worker, Row]] = deque()
        self._woken = threading.Event()
        self.backend = backend
        self._pool = WorkerPool(settings, backend, self._receive)
        self.pending = PendingJobs(registry, after_seq)
        self._waits: dict[str, float] = {}
        self._waits_version, self._waits_s = -1, 0.0
        self._closing = False
        self._ticked_s = self._housekept_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop what runs, each job saving what it can, and end all workers."""
        with self.lock:
            self._closing = True
            for job_id in self._running:
                self.stop(job_id, "shutdown")
            self._pool.let_idle_go()
        self.wake()
        if self._thread.is_alive():
            self._thread.join()
        self.backend.close()

    def health(self) -> Row:
        """Return dispatcher, converter (bool), pending, running (counts), computing (ids), pids and cluster.

        The last is how the machines are on which jobs run, None if that is this one alone.

        A dispatcher that holds on to its lock does not work; then the counts are not known (None).
        """
        if not self.lock.acquire(timeout=LOCK_PATIENCE_S):
            unknown = ("pending", "running", "computing", "converter", "pids", "cluster")
            return {"dispatcher": False} | dict.fromkeys(unknown)
        try:
            return {
                "dispatcher": self._thread.is_alive(),
                "pending": len(self.pending.rows()),
                "running": len(self._running),
                "computing": self._device.holders,
                "converter": self._pool.warm,
                "pids": self._pool.pids,
                "cluster": self.backend.health(),
            }
        finally:
            self.lock.release()

    def wake(self) -> None:
        self._woken.set()

    def make_room(self, *, live: bool) -> None:
        """Have all that nobody waits for stand still while somebody speaks live."""
        with self.lock:
            self._device.live = live
        self.wake()

    def stop(self, job_id: str, reason: str) -> bool:
        """Ask the worker of a running job to save and stop, in time; return whether the job runs."""
        if (job := self._running.get(job_id)) is None:
            return False
        if job.outcome.reason is None or reason == "shutdown":
            job.outcome.reason = job.outcome.reason or reason
            self._set_grace(job)
            job.shown |= {"message": "Stopping", "updated_at": now()}
            self._pool.request_stop(job.worker, leave=reason == "shutdown")
            self.announce(job.row)
        return True

    def public(self, *rows: Row) -> Rows:
        """Return the rows as callers see them, with their newest progress or their position."""
        live = {job_id: job.live() for job_id, job in self._running.items()}
        places: dict[str, int] = {}
        if any(row["status"] == "pending" for row in rows):
            places = positions(self.pending.rows())
            live |= {job_id: {"eta_s": left_s} for job_id, left_s in self._left_of_waiting().items()}
        return [public_row(r, position=places.get(r["id"]), live=live.get(r["id"])) for r in rows]

    def _left_of_waiting(self) -> dict[str, float]:
        """Return in how many seconds each waiting job will be done, by its id; worked out once a second."""
        waiting, moment_s = sorted(self.pending.rows(), key=lambda row: row["seq"]), time.monotonic()
        if self._waits_version != self.pending.version or moment_s - self._waits_s >= LOG_INTERVAL_S:
            self._waits_version, self._waits_s = self.pending.version, moment_s
            self._waits = self.estimates.of_waiting(
                [(row, self._library.engine_of_job(row)) for row in waiting],
                [(job.row, job.left_s) for job in self._running.values()],
                {lane: max(1, self.backend.room(lane)) for lane in LANES},
            )
        return self._waits

    def event_log(self, job_id: str) -> EventLog:
        job = self._running.get(job_id)
        return job.log if job else EventLog(self._folder(job_id) / "events.jsonl")

    def announce(self, row: Row, *, state_changed: bool = False) -> None:
        """Tell followers about a job; with a changed state, also those whose position it changes."""
        followed = self.subscriptions.followed()
        if row["id"] in followed:
            self.subscriptions.publish(*self.public(row), state_changed=state_changed)
        if state_changed:
            others = followed - {row["id"]}
            for other in self.public(
                *(pending for pending in self.pending.rows() if pending["id"] in others)
            ):
                self.subscriptions.publish(other, state_changed=False)

    def _run(self) -> None:
        while True:
            self._woken.wait(TICK_S)
            self._woken.clear()
            try:
                with self.lock:
                    self._handle_events()
                    self._tick(time.monotonic())
                    if self._closing and not self._running and self._pool.empty:
                        return
            except Exception:
                # A full disk, too many processes, or a fault of ours: other people's jobs must go on.
                logger.exception("the dispatcher could not go on; it tries again")
                time.sleep(TICK_S)

    def _receive(self, worker: Worker, event: Row | None) -> None:
        """Note an event, in the thread that reads what the worker says."""
        if event is not None:
            self._inbox.append((worker, event))
        self.wake()

    def _handle_events(self) -> None:
        """Take the workers' events; of a job that a worker no longer works on, nothing is heard."""
        while self._inbox:
            worker, event = self._inbox.popleft()
            job = self._running.get(str(event.get("job")))
            if job is not None and job.worker is worker:
                self._on_event(job, event)

    def _tick(self, now_s: float) -> None:
        elapsed_s, self._ticked_s = now_s - self._ticked_s, now_s
        self._enforce(now_s, elapsed_s)
        self._collect()
        self._pool.poll(now_s)
        self.backend.poll([*(job.row for job in self._running.values()), *self.pending.rows()])
        if self._closing:
            return
        self._start_pending()
        self._grant_device(now_s)
        if now_s - self._housekept_s >= HOUSEKEEPING_INTERVAL_S:
            self._housekept_s = now_s
            self._housekeeping()

    def _on_event(self, job: RunningJob, event: Row) -> None:
        job_id, kind = job.row["id"], event.get("event")
        if kind == "progress":
            self._on_progress(job, event)
        elif kind == "want_device":
            job.asked = True
            self._on_device.add(job.row["model_id"])
            if job.grant is not None:
                job.worker.send(job.grant)
                job.grant = None
            elif not self._device.waits(job_id):
                self._device.request(job.device_request())
        elif kind == "release_device":
            job.asked, job.grant = False, None
            self._device.release(job_id)
        elif kind == "paused":
            self._device.paused(job_id, time.monotonic())
            job.shown |= {"message": "Paused while another job computes", "updated_at": now()}
            self.announce(job.row)
        elif kind in LAST_WORDS:
            job.outcome.last = event
            self._set_grace(job)  # a worker that hangs at its exit is not waited for
            if not self._pool.is_converter(job.worker):
                self._device.release(job_id)  # the converter's goes straight to its next job

    def _on_progress(self, job: RunningJob, event: Row) -> None:
        stage, data = str(event.get("stage") or ""), event.get("data") or {}
        new_stage = stage != job.shown["stage"]
        job.clock.heard(event, job.outcome.ran_s)
        job.shown |= {
            "progress": min(max(float(event.get("fraction") or 0.0), 0.0), 1.0),
            "stage": stage,
            "message": "Stopping" if job.outcome.reason else str(event.get("message") or stage),
            "updated_at": now(),
        }
        job.row = improved(job.row, data, self._folder(job.row["id"]), self._registry, self._library)
        if isinstance(data.get("file"), dict):
            job.update_file(data["file"])
        moment_s = time.monotonic()
        if data or new_stage or moment_s - job.logged_s >= LOG_INTERVAL_S:
            job.logged_s = moment_s
            said = {name: job.live()[name] for name in ("stage", "message", "eta_s")}
            said |= {"time": job.shown["updated_at"], "fraction": job.shown["progress"], "data": data}
            job.log.append(said)
        self.announce(job.row)

    def _grant_device(self, now_s: float) -> None:
        while (decision := self._device.decide(now_s)) is not None:
            job_id, line = decision
            job = self._running[job_id]
            if job.asked:
                job.worker.send(line)
            elif line == "pause":
                job.grant = None  # it has the device, but does not compute yet: nothing to wait for
                self._device.paused(job_id, now_s)
            else:
                job.grant = line

    def _set_grace(self, job: RunningJob) -> None:
        job.kill_at_s = job.kill_at_s or time.monotonic() + self._settings.cancel_grace_s

    def _start_pending(self) -> None:
        for lane in LANES:
            while lane in self.pending.lanes():
                running = [job.row for job in self._running.values()]
                row = next_with_room(self.backend, lane, self.pending.rows(), running, time.time())
                if row is None:
                    break
                with about_job(row["id"]):
                    self._begin(row)

    def _begin(self, row: Row) -> None:
        folder = self._folder(row["id"])
        changes: Row = {"status": RUNNING_STATUS[row["type"]], "attempts": row["attempts"] + 1}
        changes |= {"message": "Starting", "error_message": None, "updated_at": now()}
        row = self._registry.update("jobs", row["id"], **changes)
        try:
            make_job_spec(row, folder, self._registry, self._library, self._settings).save()
            log = self.event_log(row["id"])
            clock = self.estimates.clock(row, self._library.engine_of_job(row))
            worker = self._pool.assign(row, folder)
        except Exception as error:  # of a damaged row too: it fails by itself and the queue goes on
            refused = isinstance(error, RvcError)
            logger.warning("could not be started: %s", error, exc_info=None if refused else error)
            kind = "input" if refused else "internal"
            known = isinstance(error, RvcError | OSError)
            message = str(error) if known else "What is noted of this job is damaged; start it anew."
            self._conclude(row, JobOutcome(last={"event": "failed", "kind": kind, "message": message}))
            return
        shown = {name: row[name] for name in ("progress", "stage", "message", "updated_at")}
        job = RunningJob(row=row, worker=worker, log=log, clock=clock, shown=shown)
        self._running[row["id"]] = job
        if lane_of(row) == SHORT and row["model_id"] in self._on_device:
            # Already now, so that a training does not start and stop between two conversions.
            self._device.request(job.device_request())
            self._on_device.discard(row["model_id"])  # until this one asks, too
        logger.info("%s: try %d in %s", row["type"], row["attempts"], worker.place)
        self.announce(row, state_changed=True)

    def _enforce(self, now_s: float, elapsed_s: float) -> None:
        """Count the time of work, stop what is out of time, kill what does not obey."""
        for job_id, job in self._running.items():
            outcome, long = job.outcome, job.row["type"] in RESUMABLE
            if not self._device.waits(job_id):
                outcome.ran_s += elapsed_s
            limit_s = self._settings.training_timeout if long else self._settings.job_timeout
            if outcome.reason is None and outcome.last is None and outcome.ran_s > limit_s:
                with about_job(job_id):
                    logger.warning("out of time after %.0f s", outcome.ran_s)
                self.stop(job_id, "timeout")
            if job.kill_at_s is not None and now_s >= job.kill_at_s:
                job.worker.kill()

    def _collect(self) -> None:
        """Conclude the jobs whose worker has left, or, for the converter, has said its last word."""
        for job_id, job in list(self._running.items()):
            outcome = job.outcome
            outcome.returncode = job.worker.returncode()
            if outcome.returncode is not None:
                job.worker.reap()
                self._handle_events()
            elif outcome.last is None or not self._pool.is_converter(job.worker):
                continue
            with about_job(job_id):
                try:
                    self._conclude(job.row | job.shown | {"files": job.row["files"]}, outcome)
                except OSError:
                    if not self._closing:
                        raise
                    logger.exception("its end could not be written down; the next start finds it interrupted")
                    del self._running[job_id]
            self._device.release(job_id)
            fault = outcome.last is not None and outcome.last.get("kind") == "internal"
            self._pool.finished(job.worker, fault=fault)

    def _conclude(self, row: Row, outcome: JobOutcome) -> None:
        kept = {name: row[name] for name in ("progress", "stage")}
        changes = resolve(row, outcome, self._folder(row["id"]), self._library, self._retry_pauses_s)
        before = row
        # What was stopped may be deleted next, or the server is to end: neither waits for room on the disk.
        room = self._registry.reserve.spent() if outcome.reason else nullcontext()
        with room, self._registry.as_one():
            row = self._registry.update("jobs", row["id"], **(kept | changes))
            count_use(before, row, self._library)
        # Only now: had the disk refused, the next tick would come here again.
        job = self._running.pop(row["id"], None)
        if job and row["status"] == "completed" and not outcome.reason:
            self.estimates.ended_well(job.clock, outcome.ran_s)
        JOB_SECONDS.labels(row["type"], row["status"]).observe(outcome.ran_s)
        logger.info("%s is %s", row["type"], row["status"])
        self.announce(row, state_changed=True)

    def _folder(self, job_id: str) -> Path:
        return self._settings.data_dir / "jobs" / job_id
