"""Worker programs as child processes of the server.

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
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipelines.jobs.schedule import SHORT
from pipelines.jobs.workers import OnEvent, Worker
from pipelines.settings import Settings
from pipelines.store.records import Row, Rows
from rvc.files import ROOT

logger = logging.getLogger(__name__)
MAX_LINE_BYTES = 1 << 20
WORKER_COMMAND = (sys.executable, "-m", "pipelines.worker")
SPIN_COUNT = "20000"  # rounds, well under a millisecond


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

    @property
    def place(self) -> str:
        return f"process {self.pid}"

    @property
    def device(self) -> None:
        return None

    @property
    def retired(self) -> bool:
        return False

    def returncode(self) -> int | None:
        return self._process.poll()

    def send(self, line: str) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with suppress(OSError):
                stdin.write(line.encode() + b"\n")
                stdin.flush()

    def close(self) -> None:
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


class LocalBackend:
    """Starts worker programs on this machine."""

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._environment = environment_of(settings)
        self._command = command
        self.slots = settings.max_concurrent_jobs
        self._room = {"training": self.slots, SHORT: max(1, settings.max_converters)}

    def asked(self, job_id: str) -> None:
        """Do nothing: a process has nothing of the request."""

    def width(self, row: Row) -> int:
        """Return 1: one job at a time computes here, on as many GPUs as it likes."""
        return 1

    def room(self, lane: str, width: int = 1) -> int:
        return self._room.get(lane, 1)

    def start(
        self, arguments: Sequence[str], log_path: Path, on_event: OnEvent, *, lane: str, width: int = 1
    ) -> Worker:
        return self.start_child(arguments, log_path, on_event)

    def start_child(self, arguments: Sequence[str], log_path: Path, on_event: OnEvent) -> Child:
        command = [*self._command, *arguments]
        return Child(command, log_path=log_path, environment=self._environment, on_event=on_event)

    def poll(self, jobs: Rows) -> None:
        """Do nothing: the operating system looks after processes."""

    def health(self) -> None:
        return None

    def drain(self, node: str, *, on: bool) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: it has nothing besides its workers."""


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
