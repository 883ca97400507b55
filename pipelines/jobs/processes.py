"""The children that the dispatcher has: one worker per job, and one warm converter.

The converter is started by the first conversion and kept, with the voices and encoders that it has
loaded, for the next; it leaves after a time without work, after a fault (its state may be broken), and
with the server. A child that is on its way out is watched until it is gone.

A child process that works: start it, talk to it in lines, end it for certain.

    to the child      lines on its stdin: grant, pause, continue; for the converter: run JOB_DIR, cancel
    from the child    JSON objects, one a line, on its stdout; its log on stderr, into a file
    ending it         close()      end of stdin: it saves and leaves by itself
                      terminate()  SIGTERM: it finishes the step, saves and leaves
                      kill()       SIGKILL to its process group, which takes its own children along

The child leads a session of its own, so that Ctrl-C in the server's terminal does not reach it and the
group can be killed as a whole. Where there are no such signals (Windows), terminate() closes stdin.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.jobs.progress import EventLog
from pipelines.settings import Settings
from pipelines.store.records import Row, Rows

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[2]
"""Where `python -m pipelines.worker` finds the packages."""
MAX_LINE_BYTES = 1 << 20


class Child:
    """One running child process.

    Args:
        command: Program and arguments.
        log_path: File that its stderr is appended to.
        environment: Variables set on top of the server's own.
        on_event: Called with (child, event) from a reading thread for every event, and at last with
            (child, None) when its output has ended.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str],
        on_event: Callable[[Child, dict[str, Any] | None], None],
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
        if stdin is None or stdin.closed:
            return
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except OSError:
            logger.info("child %d no longer reads: %r not delivered", self.pid, line)

    def close(self) -> None:
        """Close the child's stdin: nothing more will come, it saves and leaves."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            try:
                stdin.close()
            except OSError:
                logger.debug("child %d was gone before its stdin was closed", self.pid)

    def terminate(self) -> None:
        """Ask the child to finish its step, save and leave."""
        if os.name != "posix":
            self.close()
        elif self.returncode() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the child and everything that it started, now."""
        if os.name == "posix":
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            except PermissionError:
                # macOS answers so for a group of which only zombies are left.
                logger.debug("group %d has ended already", self.pid)
        else:
            self._process.kill()

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


SPIN_COUNT = "20000"
"""Rounds, well under a millisecond."""


@dataclass
class Live:
    """A job that a child works on.

    Attributes:
        row: The job's row as it was started.
        child: Who works on it.
        log: Its events.
        shown: Newest progress, stage, message, eta_s and updated_at.
        ran_s: Seconds of work in this try, without pauses and waiting for the device.
        reason: Why it was asked to stop; None if it was not.
        kill_at_s: Monotonic time at which the child is killed.
        last: Its "done", "failed" or "stopped" event.
        asked: Whether the child stands still for the device, or computes on it.
        grant: The line that gives it the device, kept until it asks.
        logged_s: Monotonic time of the last event in the log.
        files: Where each recording of a batch stands, once one has changed; else empty.
    """

    row: Row
    child: Child
    log: EventLog
    shown: Row
    ran_s: float = 0.0
    reason: str | None = None
    kill_at_s: float | None = None
    last: Row | None = None
    asked: bool = False
    grant: str | None = None
    logged_s: float = float("-inf")
    files: Rows = field(default_factory=list)

    def hear_of_file(self, data: Row) -> bool:
        """Note what an event's data says of one recording of a batch; return whether any has changed yet."""
        change = data.get("file")
        if isinstance(change, dict):
            number = int(change["number"])
            files = self.files or self.row["files"]
            changed = files[number] | {name: value for name, value in change.items() if name != "number"}
            self.files = [*files[:number], changed, *files[number + 1 :]]
        return bool(self.files)


class Staff:
    """Starts, hands out and ends children. The dispatcher is the only user, under its lock.

    Args:
        settings: Times and number of threads.
        command: Program and arguments of a child; the job's folder or --converter is added.
        on_event: Called from reading threads with each event of each child, and (child, None) at the end.
    """

    def __init__(
        self, settings: Settings, command: Sequence[str], on_event: Callable[[Child, Row | None], None]
    ) -> None:
        self._settings = settings
        self._command = tuple(command)
        self._on_event = on_event
        self._working: set[Child] = set()
        self._converter: Child | None = None
        self._idle_since_s = 0.0
        self._leaving: dict[Child, float] = {}

    @property
    def pids(self) -> list[int]:
        """Process ids of all children."""
        warm = [] if self._converter is None else [self._converter]
        return sorted({child.pid for child in [*self._working, *warm, *self._leaving]})

    @property
    def empty(self) -> bool:
        """Whether no child is left."""
        return not self.pids

    @property
    def warm(self) -> bool:
        """Whether a converter is loaded."""
        return self._converter is not None

    def is_converter(self, child: Child) -> bool:
        """Whether the child is the one that lives on after its job."""
        return child is self._converter

    def assign(self, row: Row, folder: Path) -> Child:
        """Give a job to a child, starting one if need be.

        Args:
            row: The job.
            folder: Its folder, which holds the order.

        Raises:
            OSError: No process can be started.
        """
        if row["type"] == "conversion":
            child = self._warm_converter(folder)
            child.send(f"run {folder}")
        else:
            child = self._spawn([str(folder)], folder / "worker.log")
        self._working.add(child)
        return child

    def ask_to_stop(self, child: Child, *, leave: bool) -> None:
        """Ask a child to save and to stop its job; the converter stays unless it shall leave."""
        if self.is_converter(child) and not leave:
            child.send("cancel")
        else:
            child.terminate()

    def finished(self, child: Child, *, fault: bool, now_s: float) -> None:
        """Take a child back whose job is over."""
        self._working.discard(child)
        if child is not self._converter:
            return
        self._idle_since_s = now_s
        if child.returncode() is not None:
            self._converter = None
        elif fault:
            self.dismiss_converter(now_s)

    def dismiss_converter(self, now_s: float) -> None:
        """Have the converter leave."""
        if self._converter is not None:
            self._converter.close()
            self._leaving[self._converter] = now_s + self._settings.cancel_grace_s
            self._converter = None

    def tend(self, now_s: float) -> None:
        """Let an idle converter leave, and see off who is leaving."""
        converter = self._converter
        if converter is not None and converter not in self._working:
            if converter.returncode() is not None:
                logger.warning("the idle converter has died; the next conversion starts another")
                converter.reap()
                self._converter = None
            elif now_s - self._idle_since_s >= self._settings.converter_idle_s:
                logger.info("the converter leaves after %.0f s without work", self._settings.converter_idle_s)
                self.dismiss_converter(now_s)
        for child, kill_at_s in list(self._leaving.items()):
            if child.returncode() is not None:
                child.reap()
                del self._leaving[child]
            elif now_s >= kill_at_s:
                child.kill()

    def _warm_converter(self, folder: Path) -> Child:
        converter = self._converter
        if converter is not None and converter.returncode() is None:
            return converter
        if converter is not None:
            converter.reap()
        idle_log = self._settings.data_dir / "converter.log"
        idle_log.unlink(missing_ok=True)
        # Should it fail to start, the log is found with the job that it was started for.
        self._converter = self._spawn(["--converter", "--log", str(idle_log)], folder / "worker.log")
        return self._converter

    def _spawn(self, arguments: Sequence[str], log_path: Path) -> Child:
        threads = str(self._settings.train_threads)
        environment = {
            "DATA_DIR": str(self._settings.data_dir),
            "LOG_LEVEL": self._settings.log_level,
            "LOG_FORMAT": self._settings.log_format,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
            # A thread that waits for another spins this often before it sleeps. Never spinning makes a
            # training more than twice as slow on idle cores, always spinning ten times on shared ones.
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", SPIN_COUNT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",  # a crash in native code leaves its stack in the job's log
        }
        return Child(
            [*self._command, *arguments], log_path=log_path, environment=environment, on_event=self._on_event
        )
