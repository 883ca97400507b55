"""A ZeroGPU Space: RVC voices speak in a function that is lent a GPU, all else in child processes.

    dispatcher ──lines──> SpaceWorker ──pipe──> compute(), in a process that ZeroGPU forks and gives a GPU
               <─events──             <─yields──

ZeroGPU lends GPUs to functions of the program that `spaces.GPU` marks, by the quota of the visitor whose
request it is; a program that is started gets none. To be imported on such a Space alone, before the page is
launched: that is when `spaces` looks for what is marked.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

import spaces

from pipelines.events import LAST_WORDS
from pipelines.job_spec import JobSpec
from pipelines.jobs.processes import Child, LocalBackend
from pipelines.jobs.schedule import SHORT
from pipelines.jobs.workers import OnEvent, Worker
from pipelines.settings import Settings
from pipelines.store.records import Row
from pipelines.worker import INPUT_FAULT, INTERNAL_FAULT, STOP, STOPPED, ParentConnection, log_into, run_job
from pipelines.worker_tasks import TASKS
from rvc.engine.card import read_card
from rvc.engine.options import RVC
from rvc.errors import RvcError

logger = logging.getLogger(__name__)
# For how long a GPU is asked for: the shorter, the sooner it is lent. Guesses, as none was to be had.
LOADING_S, SECONDS_PER_SECOND = 40.0, 0.2
LONGEST_S = 120.0  # what takes longer is ended by ZeroGPU; of a batch the rest can be resumed
KNOWN_REQUESTS = 1_000
SERVER_POLL_S = 0.5
KILLED = -signal.SIGKILL  # the exit status of what was given up


def seconds_for(folder: str, commands: str) -> int:
    """Return for how many seconds a job needs a GPU."""
    files = JobSpec.load(Path(folder)).files
    seconds = sum(float(file.get("seconds") or 0.0) for file in files)
    return round(min(LOADING_S + SECONDS_PER_SECOND * seconds, LONGEST_S))


@spaces.GPU(duration=seconds_for)  # type: ignore[untyped-decorator]  # it need not be installed
def compute(folder: str, commands: str) -> Iterator[Row]:
    """Do a job as a worker program does; yield what that says, and at last its exit status."""
    said: SimpleQueue[Row] = SimpleQueue()
    said.put({"pid": os.getpid()})
    log_into(Path(folder) / "worker.log")
    parent = ParentConnection(os.open(commands, os.O_RDONLY), said.put)

    def work() -> None:
        status = INTERNAL_FAULT
        try:
            status = run_job(Path(folder), parent, TASKS)
        finally:
            parent.finished = True
            said.put({"exit": status})

    threading.Thread(target=work, name="job", daemon=True).start()
    server, event = os.getppid(), Row()
    while "exit" not in event:
        try:
            event = said.get(timeout=SERVER_POLL_S)
        except Empty:
            if os.getppid() != server:  # it has died, and its end of the pipe is held here too
                os._exit(STOPPED)
        else:
            yield event


class GpuCall:
    """One job in `compute`, and the thread that waits for it; `tell` takes its events, None at last."""

    def __init__(self, folder: Path, tell: Callable[[Row | None], None], context: Context) -> None:
        self.status: int | None = None
        self._folder = folder
        self._tell = tell
        self._pid: int | None = None
        self._has_ended = False  # whether it has told how
        self._home = Path(tempfile.mkdtemp(prefix="timbre-"))
        os.mkfifo(self._home / "commands", 0o600)
        # For reading too, which waits for nobody.
        self._commands = os.open(self._home / "commands", os.O_RDWR)
        self._open = threading.Lock()
        threading.Thread(target=context.run, args=(self._run,), name="zerogpu", daemon=True).start()

    def send(self, line: str) -> None:
        with self._open:
            if self.status is None:
                os.write(self._commands, line.encode() + b"\n")

    def kill(self) -> None:
        with self._open:
            waits = self._pid is None and self.status is None
            if waits:  # for a GPU, of which it makes no use any more
                self.status = KILLED
        if waits:
            self._tell(None)
        else:
            self._kill_process()

    def _kill_process(self) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _run(self) -> None:
        status = INPUT_FAULT
        try:
            for event in compute(str(self._folder), str(self._home / "commands")):
                with self._open:
                    self._pid = event.get("pid", self._pid)
                if self.status is not None:
                    self._kill_process()
                    continue
                status = event.get("exit", status)
                if "event" in event:
                    self._has_ended = self._has_ended or event["event"] in LAST_WORDS
                    self._tell(event)
        except Exception as error:  # noqa: BLE001  # of ZeroGPU: no quota is left, no GPU is free, out of time
            logger.warning("%s: ZeroGPU did not do it: %s", self._folder.name, error)
            self._fail(error)
        with self._open:
            was_given_up = self.status is not None
            self.status, self._pid = self.status or status, None
            os.close(self._commands)
        shutil.rmtree(self._home, ignore_errors=True)
        if not was_given_up:
            self._tell(None)

    def _fail(self, error: Exception) -> None:
        if not self._has_ended and self.status is None:
            why = re.sub(r"<[^>]*>", "", str(getattr(error, "message", error))).strip(" .")
            said = f"This Space was lent no GPU for long enough ({why}); try later, or a shorter recording."
            self._tell({"event": "failed", "job": self._folder.name, "kind": "input", "message": said})


class SpaceWorker:
    """A worker whose jobs run in a GpuCall when their voice is one of RVC, else in a child that it starts."""

    def __init__(
        self,
        start_child: Callable[[OnEvent], Child],
        on_event: OnEvent,
        lane: str,
        request_of: Callable[[str], Context],
    ) -> None:
        self._start_child = start_child
        self._on_event = on_event
        self._device = f"zerogpu-{lane.replace(' ', '-')}"
        self._request_of = request_of
        self._child: Child | None = None
        self._call: GpuCall | None = None
        self._leaves = False  # after its job

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def place(self) -> str:
        return "ZeroGPU" if self._calls else self._child.place if self._child else "this Space"

    @property
    def device(self) -> str | None:
        """A device of its own: the GPU that is lent has nothing to do with this machine."""
        return self._device if self._calls else None

    @property
    def retired(self) -> bool:
        return False

    @property
    def _calls(self) -> GpuCall | None:
        """The call that runs just now."""
        return self._call if self._call and self._call.status is None else None

    def begin(self, folder: Path, *, last: bool = False) -> None:
        """Do a job on a GPU, and leave after it if it is the last."""
        self._leaves = self._leaves or last
        self._call = GpuCall(folder, partial(self._on_event, self), self._request_of(folder.name))

    def send(self, line: str) -> None:
        word, _, argument = line.partition(" ")
        if self._calls:
            self._calls.send(line)
        elif word == "run" and speaks_rvc(Path(argument)):
            self.begin(Path(argument))
        else:
            if self._child is None:
                self._child = self._start_child(lambda _, event: self._on_event(self, event))
            self._child.send(line)

    def close(self) -> None:
        self._end(lambda child: child.close())

    def terminate(self) -> None:
        self._end(lambda child: child.terminate())

    def kill(self) -> None:
        self._leaves = True
        if self._calls:
            self._calls.kill()
        if self._child:
            self._child.kill()

    def _end(self, end: Callable[[Child], None]) -> None:
        self._leaves = True
        if self._calls:
            self._calls.send(STOP)
        if self._child:
            end(self._child)

    def returncode(self) -> int | None:
        if self._calls:
            return None
        if self._child:
            return self._child.returncode()
        if self._leaves:
            return self._call.status if self._call else 0
        return None

    def reap(self) -> None:
        if self._child:
            self._child.reap()


class SpaceBackend(LocalBackend):
    """Where jobs run on a ZeroGPU Space."""

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        super().__init__(settings, command)
        self._requests: OrderedDict[str, Context] = OrderedDict()  # of who asked for a job, by its id

    def asked(self, job_id: str) -> None:
        """Keep the request, by which ZeroGPU knows whose quota it is."""
        self._requests[job_id] = copy_context()
        if len(self._requests) > KNOWN_REQUESTS:
            self._requests.popitem(last=False)

    def start(
        self, arguments: Sequence[str], log_path: Path, on_event: OnEvent, *, lane: str, width: int = 1
    ) -> Worker:
        start = partial(self.start_child, arguments, log_path)
        if lane != SHORT and not speaks_rvc(Path(arguments[0])):
            return start(on_event)
        worker = SpaceWorker(start, on_event, lane, self._request_of)
        if lane != SHORT:
            worker.begin(Path(arguments[0]), last=True)
        return worker

    def _request_of(self, job_id: str) -> Context:
        """Return what is known of the request for a job; after a restart, nothing."""
        known = self._requests.get(job_id)
        return known.copy() if known else Context()


def speaks_rvc(folder: Path) -> bool:
    """Whether a job, by its folder, speaks in a voice of RVC; False where that cannot be read."""
    with suppress(RvcError, OSError, ValueError, KeyError, TypeError):  # of what is damaged
        voice = JobSpec.load(folder).model_folder
        return voice is not None and read_card(voice).engine == RVC
    return False
