"""Who works on what: one worker program per job, and warm converters."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.jobs.estimates import JobClock
from pipelines.jobs.outcome import JobOutcome
from pipelines.jobs.progress import EventLog
from pipelines.jobs.schedule import BACKGROUND, SHORT, URGENCY, DeviceRequest, lane_of
from pipelines.jobs.workers import Backend, OnEvent, Worker
from pipelines.settings import Settings
from pipelines.store.records import Row

logger = logging.getLogger(__name__)
VOICES_KEPT = 3  # that a converter is thought to have loaded


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

    def device_request(self) -> DeviceRequest:
        """Return that it waits for the device from now on."""
        return DeviceRequest(
            job_id=self.row["id"],
            urgency=URGENCY.get(lane_of(self.row), BACKGROUND),
            seq=self.row["seq"],
            since_s=time.monotonic(),
            device=self.worker.device,
        )

    def update_file(self, change: Row) -> None:
        files = self.shown["files"] = list(self.shown.get("files") or self.row["files"])
        number = int(change["number"])
        files[number] = files[number] | {name: value for name, value in change.items() if name != "number"}


@dataclass(eq=False)
class Converter:
    """A worker that lives on after its job, for the next."""

    worker: Worker
    idle_since_s: float = 0.0  # monotonic
    voices: deque[str | None] = field(
        default_factory=lambda: deque(maxlen=VOICES_KEPT)
    )  # the last it spoke in


class WorkerPool:
    """Starts, hands out and ends workers. The dispatcher is the only user, under its lock.

    A converter is started by a conversion for which no other is idle, unless that is of a long recording, and
    kept, with the voices and encoders that it has loaded; it leaves after a time without work, after a fault
    (its state may be broken), and with the server. Of several, the one that has spoken in a voice is given it
    again. A worker that is on its way out is watched until it is gone.
    """

    def __init__(self, settings: Settings, backend: Backend, on_event: OnEvent) -> None:
        self._settings = settings
        self._backend = backend
        self._on_event = on_event
        self._working: set[Worker] = set()
        self._converters: dict[Worker, Converter] = {}
        self._leaving: dict[Worker, float] = {}

    @property
    def pids(self) -> list[int]:
        everybody = {*self._working, *self._converters, *self._leaving}
        return sorted(worker.pid for worker in everybody if worker.pid is not None)

    @property
    def empty(self) -> bool:
        """Whether nobody works, waits for work or is on the way out."""
        return not (self._working or self._leaving or self._converters)

    @property
    def warm(self) -> bool:
        """Whether there is a converter."""
        return bool(self._converters)

    def is_converter(self, worker: Worker) -> bool:
        return worker in self._converters

    def assign(self, row: Row, folder: Path) -> Worker:
        """Give a job, whose folder holds the order, to a worker, starting one if need be."""
        lane = lane_of(row)
        if lane == SHORT:
            worker = self._converter_for(row["model_id"], folder)
            worker.send(f"run {folder}")
        else:
            log = folder / "worker.log"
            width = self._backend.width(row)
            worker = self._backend.start([str(folder)], log, self._on_event, lane=lane, width=width)
        self._working.add(worker)
        return worker

    def _converter_for(self, voice: str | None, folder: Path) -> Worker:
        idle = [
            converter
            for worker, converter in self._converters.items()
            if worker not in self._working and not worker.retired and worker.returncode() is None
        ]
        if idle:
            # Else the one that was idle longest, whose voices are the least likely to be asked for.
            converter = min(idle, key=lambda one: (voice not in one.voices, one.idle_since_s))
        else:
            idle_log = self._settings.data_dir / "converter.log"
            idle_log.unlink(missing_ok=True)
            # Should it fail to start, the log is found with the job that it was started for.
            arguments = ["--converter", "--log", str(idle_log)]
            worker = self._backend.start(arguments, folder / "worker.log", self._on_event, lane=SHORT)
            converter = self._converters[worker] = Converter(worker)
        converter.voices.append(voice)
        return converter.worker

    def request_stop(self, worker: Worker, *, leave: bool) -> None:
        """Ask a worker to save and to stop its job; a converter stays unless it shall leave."""
        if worker in self._converters and not leave:
            worker.send("cancel")
        else:
            worker.terminate()

    def finished(self, worker: Worker, *, fault: bool) -> None:
        self._working.discard(worker)
        if (converter := self._converters.get(worker)) is None:
            return
        converter.idle_since_s = time.monotonic()
        if worker.returncode() is not None:
            del self._converters[worker]
        elif fault:
            self._let_go(worker)

    def let_idle_go(self) -> None:
        for worker in [worker for worker in self._converters if worker not in self._working]:
            self._let_go(worker)

    def _let_go(self, worker: Worker) -> None:
        del self._converters[worker]
        worker.close()
        self._leaving[worker] = time.monotonic() + self._settings.cancel_grace_s

    def poll(self, now_s: float) -> None:
        for worker, converter in list(self._converters.items()):
            if worker in self._working:
                continue
            if worker.returncode() is not None:
                logger.warning("the idle converter has died; the next conversion starts another")
                worker.reap()
                del self._converters[worker]
            elif worker.retired:
                self._let_go(worker)
            elif now_s - converter.idle_since_s >= self._settings.converter_idle_s:
                logger.info("the converter leaves after %.0f s without work", self._settings.converter_idle_s)
                self._let_go(worker)
        for worker, kill_at_s in list(self._leaving.items()):
            if worker.returncode() is not None:
                worker.reap()
                del self._leaving[worker]
            elif now_s >= kill_at_s:
                worker.kill()
