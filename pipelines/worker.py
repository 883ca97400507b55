"""The child processes: one job each, or the warm converter.

    python -m pipelines.worker JOB_DIR        do the job that JOB_DIR/job.json describes, and leave
    python -m pipelines.worker --converter    do one job after another, as told, and keep the voices loaded
    ... --log FILE                            where the converter logs between its jobs
    ... --tasks MODULE                        a test seam: MODULE.TASKS are known too
    ... --rank-of PID                         take part in a training over several GPUs that process PID does,
                                              0 where that is on another machine; says only how it failed

    stdin     grant SLOT, continue SLOT, pause; for the converter: run JOB_DIR, cancel
              its end means that the server died: a training saves and leaves, all else leaves at once
    stdout    one JSON object a line, each with "job":
              progress (stage, fraction, message, eta_s, needs_device, data), want_device, release_device,
              paused, done (result), failed (kind: input | internal, message), stopped
    stderr    the log
    SIGTERM   save and leave with status 3

A pipeline is driven one event at a time, and what it may not do is decided between two of them: no step
is taken on the device without the grant and the lock file of its slot; a pause is obeyed, and so is a
stop, by closing the generator, which saves its checkpoint.

What is done for a job of each type stands in worker_tasks.py.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from filelock import FileLock, Timeout

from pipelines.events import Done, Events
from pipelines.job_spec import JobSpec, gpus_of, saving_s
from pipelines.logs import enter_job, start_logging
from pipelines.training.ranks import with_other_ranks
from pipelines.worker_tasks import TASKS, Task, run_rank
from rvc.errors import RvcError
from rvc.files import is_disk_full
from rvc.memory import is_out_of_memory
from rvc.sandbox import die_with_parent

logger = logging.getLogger("pipelines.worker")  # run as __main__

DONE, INTERNAL_FAULT, INPUT_FAULT, STOPPED = 0, 1, 2, 3  # exit statuses
PROGRESS_INTERVAL_S = 0.1
LOCK_POLL_S = 0.1
GRANT_POLL_S = 60.0
NICENESS = 5
STOP = "stop"  # in the command queue when the work shall end: after SIGTERM, or when stdin has ended


class Stopped(Exception):
    """The work was told to end before it was done."""

    def __init__(self, *, leave: bool) -> None:
        super().__init__()
        self.leave = leave


class ParentConnection:
    """The line to the server: commands in, events out. By default stdin and stdout.

    Else `hears` is what commands are read from, and `say` takes each event.
    """

    def __init__(self, hears: int = 0, say: Callable[[dict[str, Any]], None] | None = None) -> None:
        # From their end to a hard exit, should the work not end by itself; 0 where it saves nothing.
        self.grace_s = 0.0
        self.finished = False  # whether the end of the commands means nothing any more
        self.commands: SimpleQueue[str] = SimpleQueue()
        self._hears, self._say = hears, say or _on_stdout()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self.commands.put(STOP))
        threading.Thread(target=self._listen, name="commands", daemon=True).start()

    def send(self, job_id: str, event: str, **facts: object) -> None:
        """Send one event."""
        self._say({"event": event, "job": job_id, **plain(facts)})

    def command(self, *, wait_s: float = 0.0) -> str | None:
        """Return the next command, None if none comes in time; raise Stopped if it was to end the work."""
        try:
            command = self.commands.get(timeout=wait_s) if wait_s else self.commands.get_nowait()
        except Empty:
            return None
        if command in (STOP, "cancel"):
            raise Stopped(leave=command == STOP)
        return command

    def acquire(self, path: Path) -> FileLock:
        """Take a lock file, waiting for an orphan of an earlier server that still holds it."""
        lock = FileLock(path)
        for attempt in itertools.count():
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                break
            if attempt == 0:
                logger.warning("%s is held by a worker of an earlier server; waiting for it", path.name)
            self.command(wait_s=LOCK_POLL_S)  # a pause that comes now has nothing to pause
        return lock

    def _listen(self) -> None:
        # os.read, because a buffered reader that is still reading breaks the interpreter's shutdown.
        rest = b""
        while chunk := os.read(self._hears, 4096):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.commands.put(line.decode())
        if self.finished:
            os.close(self._hears)
            return
        if self.grace_s:
            self.commands.put(STOP)
            time.sleep(self.grace_s)
            logger.error("the work did not end within %.0f s of the server's death; leaving", self.grace_s)
        os._exit(STOPPED)


def _on_stdout() -> Callable[[dict[str, Any]], None]:
    """Return what writes events to stdout, a line each."""
    # Whatever a library prints shall go to the log, not between the events.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def say(event: dict[str, Any]) -> None:
        line = json.dumps(event, allow_nan=False)
        with contextlib.suppress(OSError):  # when the server has died, nobody hears it and that is no error
            out.write(line.encode() + b"\n")

    return say


class Device:
    """The right to compute, as the server grants it, and the lock file that makes sure."""

    def __init__(self, parent: ParentConnection, spec: JobSpec) -> None:
        self._parent = parent
        self._spec = spec
        self._lock: FileLock | None = None

    def check_commands(self, *, needs_device: bool) -> None:
        """Follow the commands that have come, and return when the next step may be taken."""
        while (command := self._parent.command()) is not None:
            if command == "pause" and self._lock is not None:
                self.leave()
                self._parent.send(self._spec.id, "paused")
                self._await_grant()
        if needs_device and self._lock is None:
            self._parent.send(self._spec.id, "want_device")
            self._await_grant()
        elif not needs_device:
            self.release()

    def release(self) -> None:
        """Give the device back, if it is held."""
        if self._lock is not None:
            self.leave()
            self._parent.send(self._spec.id, "release_device")

    def leave(self) -> None:
        """Give the device back without a word, because the job's last word says it too."""
        if self._lock is not None:
            if "torch" in sys.modules:
                cuda = sys.modules["torch"].cuda
                if cuda.is_available() and cuda.is_initialized():
                    cuda.empty_cache()
            self._lock.release()
            self._lock = None

    def _await_grant(self) -> None:
        word = slot = ""
        while word not in ("grant", "continue"):
            word, _, slot = (self._parent.command(wait_s=GRANT_POLL_S) or "").partition(" ")
        path = self._spec.device_lock
        self._lock = self._parent.acquire(
            path if slot in ("", "0") else path.with_stem(f"{path.stem}-{slot}")
        )


def run_pipeline(pipeline: Events[dict[str, Any]], spec: JobSpec, parent: ParentConnection) -> dict[str, Any]:
    """Take a pipeline to its end and return its result; on Stopped it has been closed."""
    device = Device(parent, spec)
    sent_s, sent_stage = float("-inf"), ""
    try:
        device.check_commands(needs_device=False)
        for event in pipeline:
            if isinstance(event, Done):
                return event.result
            moment_s = time.monotonic()
            if event.data or event.stage != sent_stage or moment_s - sent_s >= PROGRESS_INTERVAL_S:
                sent_s, sent_stage = moment_s, event.stage
                parent.send(spec.id, "progress", **vars(event))
            device.check_commands(needs_device=event.needs_device)
        raise RuntimeError("The pipeline ended without a result.")
    finally:
        try:
            pipeline.close()
        finally:
            device.leave()


def plain(value: object) -> Any:  # noqa: ANN401  # JSON has no better name
    """Return a value as JSON can hold it: NumPy's scalars as numbers, paths as text, not-a-number as null."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def run_job(folder: Path, parent: ParentConnection, tasks: Mapping[str, Task]) -> int:
    """Do the job of a folder and tell the server how it ended; return the exit status."""
    spec = JobSpec.load(folder)
    enter_job(spec.id)
    parent.grace_s = saving_s(spec.grace_s) if spec.type == "training" else 0.0
    started_s = time.monotonic()

    def give_up(error: Exception) -> None:
        os._exit(_failed(error, spec.id, parent))

    try:
        # Two workers of one job, the first an orphan that still saves, would spoil its checkpoints.
        lock = parent.acquire(folder / "worker.lock")
        try:
            with with_other_ranks(gpus_of(spec.type, spec.settings), give_up):
                result = run_pipeline(tasks[spec.type](spec), spec, parent)
        finally:
            lock.release()
    except Stopped as stop:
        parent.send(spec.id, "stopped")
        return STOPPED if stop.leave else DONE
    except RvcError as error:
        return _failed(error, spec.id, parent)
    except Exception as error:
        # One of two places that catch everything: the fault must cross the process to be seen.
        logger.exception("failed")
        return _failed(error, spec.id, parent)
    logger.info("done after %.1f s", time.monotonic() - started_s)
    parent.send(spec.id, "done", result=result)
    return DONE


def run_rank_job(folder: Path, parent: ParentConnection) -> int:
    """Be one of the further processes of a training over several GPUs; return the exit status."""
    spec = JobSpec.load(folder)
    enter_job(spec.id)
    try:
        run_rank(spec)
    except RvcError as error:
        return _failed(error, spec.id, parent)
    except Exception as error:
        logger.exception("failed")
        return _failed(error, spec.id, parent)
    return DONE


def _failed(error: Exception, job_id: str, parent: ParentConnection) -> int:
    """Tell by what a job failed, and return the exit status."""
    if isinstance(error, RvcError):
        logger.warning("refused: %s", error)
        parent.send(job_id, "failed", kind="input", message=str(error))
        return INPUT_FAULT
    parent.send(job_id, "failed", kind="internal", message=in_a_line(error))
    return INTERNAL_FAULT


def in_a_line(error: Exception) -> str:
    """Return what went wrong, for whoever has to put it right."""
    if isinstance(error, OSError) and is_disk_full(error):
        return f"the disk is full ({error.strerror})"
    first_line = (str(error).splitlines() or [""])[0]
    if is_out_of_memory(error):
        return f"memory did not suffice: {first_line}"[:300]
    return f"{type(error).__name__}: {first_line}"[:300]


def serve(parent: ParentConnection, tasks: Mapping[str, Task], own_log: Path) -> int:
    """Be the warm converter until told to leave; between jobs the log goes to `own_log`."""
    while True:
        word, _, argument = parent.commands.get().partition(" ")
        if word == STOP:
            return STOPPED
        if word != "run":
            continue  # a cancel that came after the job had ended
        folder = Path(argument)
        log_into(folder / "worker.log")
        status = run_job(folder, parent, tasks)
        enter_job("")
        log_into(own_log)
        if status in (INTERNAL_FAULT, STOPPED):
            # After a fault nothing that is loaded can be trusted.
            return status


def log_into(path: Path) -> None:
    """Send stdout and stderr, those of native code included, to a file from here on."""
    with path.open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a child of the server; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.worker", description="Work for the server.")
    parser.add_argument("folder", type=Path, nargs="?", help="folder of the job to do")
    parser.add_argument("--converter", action="store_true", help="do conversions as told on stdin")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="log of the idle converter")
    parser.add_argument("--tasks", help="module whose TASKS are known too")
    parser.add_argument("--rank-of", type=int, metavar="PID", help="process whose training to take part in")
    options = parser.parse_args(arguments)
    if options.rank_of:
        die_with_parent(options.rank_of)
    parent = ParentConnection()
    level = os.environ.get("LOG_LEVEL", "INFO")
    start_logging("json" if os.environ.get("LOG_FORMAT") == "json" else "text", level, others=level)
    tasks = {**TASKS, **(importlib.import_module(options.tasks).TASKS if options.tasks else {})}
    if options.converter:
        return serve(parent, tasks, options.log)
    if options.folder is None:
        parser.error("name the folder of a job, or --converter")
    if options.rank_of is not None:
        return run_rank_job(options.folder, parent)
    if hasattr(os, "nice"):
        os.nice(NICENESS)  # the page and the conversions come first
    return run_job(options.folder, parent, tasks)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # All is written: to take torch down first would keep a job waiting, for seconds on a busy machine.
    os._exit(status)
