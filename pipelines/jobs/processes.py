"""The child processes that work: one worker per job, and one warm converter.

    to a child      lines on its stdin: grant, pause, continue; for the converter: run JOB_DIR, cancel
    from a child    JSON objects, one a line, on its stdout; its log on stderr, into a file

A child leads a session of its own, so that Ctrl-C in the server's terminal does not reach it and the group
can be killed as a whole.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.jobs.estimates import JobClock
from pipelines.jobs.outcome import JobOutcome
from pipelines.jobs.progress import EventLog
from pipelines.jobs.schedule import SHORT, lane_of
from pipelines.settings import Settings
from pipelines.store.records import Row
from rvc.files import ROOT

logger = logging.getLogger(__name__)
MAX_LINE_BYTES = 1 << 20
SPIN_COUNT = "20000"  # rounds, well under a millisecond
OnEvent = Callable[["Child", Row | None], None]


class Child:
    """One running child process, with an environment on top of the server's own; its stderr goes to the log.

    A reading thread calls on_event with (child, event) for every event, and at last with (child, None).
    """

    def __init__(
        self, command: Sequence[str], *, log_path: Path, environment: Mapping[str, str], on_event: OnEvent
    ) -> None:
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._on_event = on_event
        self._reader = threading.Thread(target=self._read, name=f"child-{self.pid}", daemon=True)
        self._reader.start()

    def returncode(self) -> int | None:
        """Return the exit status, negative for a signal; None while the child runs."""
        return self._process.poll()

    def send(self, line: str) -> None:
        """Write one line to the child; a child that has left is no error, its exit tells the story."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with suppress(OSError):
                stdin.write(line.encode() + b"\n")
                stdin.flush()

    def close(self) -> None:
        """Close the child's stdin: it saves and leaves."""
        if self._process.stdin is not None:
            with suppress(OSError):  # it was gone before
                self._process.stdin.close()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        # macOS refuses permission for a group of which only zombies are left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Clean up behind a child that has left: what it started, its last lines, its pipes."""
        self.kill()
        self._process.wait()
        self._reader.join(timeout=2.0)
        self.close()

    def _read(self) -> None:
        stdout = self._process.stdout
        if stdout is None:
            return
        with stdout:
            while line := stdout.readline(MAX_LINE_BYTES):
                try:
                    event = json.loads(line)
                except ValueError:
                    logger.warning("child %d said something that is not JSON: %.200r", self.pid, line)
                    continue
                if isinstance(event, dict):
                    self._on_event(self, event)
        self._on_event(self, None)


@dataclass
class RunningJob:
    row: Row  # as it was started
    child: Child
    log: EventLog
    clock: JobClock
    shown: Row  # newest progress, stage, message and updated_at; files of a batch once one has changed
    outcome: JobOutcome = field(default_factory=JobOutcome)  # what is known of it so far
    kill_at_s: float | None = None  # monotonic
    asked: bool = False  # whether the child stands still for the device, or computes on it
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
    """Starts, hands out and ends children. The dispatcher is the only user, under its lock.

    The converter is started by the first conversion, unless that is of a long recording, and kept, with the
    voices and encoders that it has loaded; it leaves after a time without work, after a fault (its state may
    be broken), and with the server. A child that is on its way out is watched until it is gone.
    """

    def __init__(self, settings: Settings, command: Sequence[str], on_event: OnEvent) -> None:
        self._settings = settings
        self._command = command
        self._on_event = on_event
        self._working: set[Child] = set()
        self.converter: Child | None = None  # who lives on after its job
        self._idle_since_s = 0.0
        self._leaving: dict[Child, float] = {}

    @property
    def pids(self) -> list[int]:
        warm = [] if self.converter is None else [self.converter]
        return sorted({child.pid for child in [*self._working, *warm, *self._leaving]})

    def assign(self, row: Row, folder: Path) -> Child:
        """Give a job, whose folder holds the order, to a child, starting one if need be."""
        if lane_of(row) != SHORT:
            child = self._spawn([str(folder)], folder / "worker.log")
        else:
            if self.converter is None:
                idle_log = self._settings.data_dir / "converter.log"
                idle_log.unlink(missing_ok=True)
                # Should it fail to start, the log is found with the job that it was started for.
                self.converter = self._spawn(["--converter", "--log", str(idle_log)], folder / "worker.log")
            child = self.converter
            child.send(f"run {folder}")
        self._working.add(child)
        return child

    def request_stop(self, child: Child, *, leave: bool) -> None:
        """Ask a child to save and to stop its job; the converter stays unless it shall leave."""
        if child is self.converter and not leave:
            child.send("cancel")
        else:
            child.terminate()

    def finished(self, child: Child, *, fault: bool) -> None:
        self._working.discard(child)
        if child is not self.converter:
            return
        self._idle_since_s = time.monotonic()
        if child.returncode() is not None:
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
        for child, kill_at_s in list(self._leaving.items()):
            if child.returncode() is not None:
                child.reap()
                del self._leaving[child]
            elif now_s >= kill_at_s:
                child.kill()

    def _spawn(self, arguments: Sequence[str], log_path: Path) -> Child:
        environment = environment_of(self._settings)
        command = [*self._command, *arguments]
        return Child(command, log_path=log_path, environment=environment, on_event=self._on_event)


def environment_of(settings: Settings) -> dict[str, str]:
    """Return what a child has in its environment on top of the server's own."""
    return {
        "DATA_DIR": str(settings.data_dir),
        "LOG_LEVEL": settings.log_level,
        "LOG_FORMAT": settings.log_format,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(settings.train_threads)),
        # A thread that waits for another spins this often before it sleeps. Never spinning makes a
        # training more than twice as slow on idle cores, always spinning ten times on shared ones.
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", SPIN_COUNT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash in native code leaves its stack in the job's log
    }
