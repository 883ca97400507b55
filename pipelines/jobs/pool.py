"""Who works on what: one worker program per job, and one warm converter."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.jobs.estimates import JobClock
from pipelines.jobs.outcome import JobOutcome
from pipelines.jobs.progress import EventLog
from pipelines.jobs.schedule import SHORT, lane_of
from pipelines.jobs.workers import OnEvent, Worker, Workplace
from pipelines.settings import Settings
from pipelines.store.records import Row

logger = logging.getLogger(__name__)


@dataclass
class RunningJob:
    row: Row  # as it was started
    worker: Worker
    log: EventLog
    clock: JobClock
    shown: Row  # newest progress, stage, message and updated_at; files of a batch once one has changed
    outcome: JobOutcome = field(default_factory=JobOutcome)  # what is known of it so far
    kill_at_s: float | None = None  # monotonic
    asked: bool = False  # whether the worker stands still for the device, or computes on it
    grant: str | None = None  # the line that gives it the device, kept until it asks
    logged_s: float = float("-inf")  # monotonic time of the last event in the log

    @property
    def left_s(self) -> float:
        return self.clock.left_s(self.outcome.ran_s, time.monotonic())

    def live(self) -> Row:
        """Return what is shown of it, with the time that is left unless it was told to stop."""
        return {**self.shown, "eta_s": None if self.outcome.reason else self.left_s}

    def update_file(self, change: Row) -> None:
        files = self.shown["files"] = list(self.shown.get("files") or self.row["files"])
        number = int(change["number"])
        files[number] = files[number] | {name: value for name, value in change.items() if name != "number"}


class WorkerPool:
    """Starts, hands out and ends workers. The dispatcher is the only user, under its lock.

    The converter is started by the first conversion, unless that is of a long recording, and kept, with the
    voices and encoders that it has loaded; it leaves after a time without work, after a fault (its state may
    be broken), and with the server. A worker that is on its way out is watched until it is gone.
    """

    def __init__(self, settings: Settings, workplace: Workplace, on_event: OnEvent) -> None:
        self._settings = settings
        self._workplace = workplace
        self._on_event = on_event
        self._working: set[Worker] = set()
        self.converter: Worker | None = None  # who lives on after its job
        self._idle_since_s = 0.0
        self._leaving: dict[Worker, float] = {}

    @property
    def pids(self) -> list[int]:
        warm = [] if self.converter is None else [self.converter]
        everybody = {*self._working, *warm, *self._leaving}
        return sorted(worker.pid for worker in everybody if worker.pid is not None)

    @property
    def empty(self) -> bool:
        """Whether nobody works, waits for work or is on the way out."""
        return not (self._working or self._leaving or self.converter)

    def assign(self, row: Row, folder: Path) -> Worker:
        """Give a job, whose folder holds the order, to a worker, starting one if need be."""
        if lane_of(row) != SHORT:
            worker = self._workplace.start([str(folder)], folder / "worker.log", self._on_event)
        else:
            if self.converter is None:
                idle_log = self._settings.data_dir / "converter.log"
                idle_log.unlink(missing_ok=True)
                # Should it fail to start, the log is found with the job that it was started for.
                arguments = ["--converter", "--log", str(idle_log)]
                self.converter = self._workplace.start(arguments, folder / "worker.log", self._on_event)
            worker = self.converter
            worker.send(f"run {folder}")
        self._working.add(worker)
        return worker

    def request_stop(self, worker: Worker, *, leave: bool) -> None:
        """Ask a worker to save and to stop its job; the converter stays unless it shall leave."""
        if worker is self.converter and not leave:
            worker.send("cancel")
        else:
            worker.terminate()

    def finished(self, worker: Worker, *, fault: bool) -> None:
        self._working.discard(worker)
        if worker is not self.converter:
            return
        self._idle_since_s = time.monotonic()
        if worker.returncode() is not None:
            self.converter = None
        elif fault:
            self.stop_converter()

    def stop_converter(self) -> None:
        if self.converter is not None:
            self.converter.close()
            self._leaving[self.converter] = time.monotonic() + self._settings.cancel_grace_s
            self.converter = None

    def poll(self, now_s: float) -> None:
        converter = self.converter
        if converter is not None and converter not in self._working:
            if converter.returncode() is not None:
                logger.warning("the idle converter has died; the next conversion starts another")
                converter.reap()
                self.converter = None
            elif now_s - self._idle_since_s >= self._settings.converter_idle_s:
                logger.info("the converter leaves after %.0f s without work", self._settings.converter_idle_s)
                self.stop_converter()
        for worker, kill_at_s in list(self._leaving.items()):
            if worker.returncode() is not None:
                worker.reap()
                del self._leaving[worker]
            elif now_s >= kill_at_s:
                worker.kill()
