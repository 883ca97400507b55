"""Child processes that read strangers' files: one order each, with limits of memory, time and disk.

Libraries that parse what a file claims (torch, faiss) may be led to ask for all memory, or to crash. Here
that costs one child. It answers in bytes, or in files that its order names, which whoever started it checks
anew. It dies with its parent, however that ends. Of a process, only a few children run at once, one of each
user (`on_behalf_of`), and those who wait take turns.

    python -m rvc.sandbox MODULE PARENT_PID    run MODULE; its order is the first line of stdin
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from rvc.errors import AudioError, CheckpointError, LimitError, RvcError
from rvc.files import ROOT

logger = logging.getLogger(__name__)

Order = Mapping[str, Any]
AT_ONCE = min(4, max(2, (os.cpu_count() or 1) // 2))  # children: each may take GBs of memory, and a core
PATIENCE_S = 300.0  # that a caller waits for its turn
REFUSED = 1  # exit status after a sentence on standard output
_LONGEST_SENTENCE = 500
_LOGGED_BYTES = 2_000
_PR_SET_PDEATHSIG = 1
# How much address space the libraries take: with CUDA it is several times as much as without.
_STATM = Path("/proc/self/statm")


class TooSlowError(Exception):
    """The child did not end in time and was killed."""


class ChildDiedError(Exception):
    """The child ended without doing its work and without a sentence."""


class _Places:
    """Who may run a child: of each user one at a time, and whoever had a turn stands behind all others."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._running: set[str] = set()
        self._waiting: list[tuple[str, object]] = []
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self, user: str, patience_s: float) -> Iterator[None]:
        with self._changed:
            ticket = (user, object())
            self._waiting.append(ticket)
            try:
                if not self._changed.wait_for(lambda: self._is_next(ticket), patience_s):
                    raise LimitError(
                        "The server is busy with files that were sent in before; try again in some minutes.",
                        retry_after_s=patience_s,
                    )
                self._free -= 1
                self._running.add(user)
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._running.remove(user)
                self._waiting.sort(key=lambda one: one[0] == user)
                self._changed.notify_all()

    def _is_next(self, ticket: tuple[str, object]) -> bool:
        waiting = (one for one in self._waiting if one[0] not in self._running)
        return self._free > 0 and next(waiting, None) is ticket


_places = _Places(AT_ONCE)
_user: ContextVar[str] = ContextVar("user", default="")


@contextlib.contextmanager
def on_behalf_of(user_id: str) -> Iterator[None]:
    """Say for whom children are run in the block; those of nobody in particular count as one user's."""
    token = _user.set(user_id)
    try:
        yield
    finally:
        _user.reset(token)


def run_sandboxed(module: str, order: Order, wall_s: float) -> bytes:
    """Run a module, whose main calls `serve`, in a child; return what its work returned.

    It and what it started are gone afterwards, and at once when this process or thread is killed. The order
    is JSON-able; its cpu_s, file_bytes (of each file that it writes) and memory_bytes (address space beyond
    what its libraries take) are the limits.

    Raises:
        CheckpointError: With the child's own sentence.
        TooSlowError: It took longer than `wall_s`.
        ChildDiedError: It ended in another way.
        LimitError: Others' children ran for too long before its turn came.
    """
    with _places.one(_user.get(), PATIENCE_S):
        return _run(module, order, wall_s)


def hear_sandboxed(module: str, order: Order, wall_s: float, too_heavy: str) -> bytes:
    """As `run_sandboxed`, of recordings: an AudioError says the child's sentence, or `too_heavy`."""
    try:
        return run_sandboxed(module, order, wall_s)
    except CheckpointError as error:  # how a child refuses
        raise AudioError(str(error)) from error
    except (TooSlowError, ChildDiedError) as error:
        raise AudioError(too_heavy) from error


def _run(module: str, order: Order, wall_s: float) -> bytes:
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each reserves address space of its own
    with tempfile.TemporaryFile() as log, _lifeline() as (orders, order_in):
        process = subprocess.Popen(
            [sys.executable, "-m", "rvc.sandbox", module, str(os.getpid())],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | threads,
            stdin=orders,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            with contextlib.suppress(BrokenPipeError):  # its exit tells the story
                order_in.write(json.dumps(order).encode() + b"\n")
                order_in.flush()
            said, _ = process.communicate(timeout=wall_s)
        except subprocess.TimeoutExpired as error:
            raise TooSlowError from error
        finally:
            _end(process)
        if process.returncode == REFUSED and said:
            raise CheckpointError(said.decode(errors="replace")[:_LONGEST_SENTENCE])
        if process.returncode != 0:
            log.seek(max(log.seek(0, os.SEEK_END) - _LOGGED_BYTES, 0))
            last_words = log.read().decode(errors="replace")
            logger.warning("%s ended with status %d: %s", module, process.returncode, last_words)
            raise ChildDiedError
        return said


@contextlib.contextmanager
def _lifeline() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Give both ends of a child's stdin: it ends when this process does, and not before the child."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as orders, open(write_end, "wb") as order_in:  # noqa: PTH123 -- descriptors
        try:
            yield orders, order_in
        finally:
            with contextlib.suppress(BrokenPipeError):
                order_in.close()


def die_with_parent(parent: int) -> bool:
    """Be killed when the thread that started this process ends; False where the system has no such thing."""
    if sys.platform != "linux":
        return False
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was too late
        os._exit(REFUSED)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the child's whole group, whether or not the child itself still lives."""
    if os.name == "posix":
        # Nothing is left of the group, or (so answers macOS) only zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def serve(arguments: list[str], work: Callable[[Order], bytes | None]) -> int:
    """Do what a child is ordered, within its limits, and say what came of it; return the exit status."""
    order: Order = json.loads(arguments[0])
    # After the libraries are loaded, before a byte of the file is.
    if os.name == "posix":
        _limit(order)
    try:
        answer = work(order)
    except RvcError as error:
        sys.stdout.write(str(error))
        return REFUSED
    sys.stdout.buffer.write(answer or b"")
    sys.stdout.flush()
    return 0


def _limit(order: Order) -> None:
    """Set the soft limits; a child of this child may need other ones."""
    import resource  # only there is it

    limits = {
        resource.RLIMIT_CPU: order["cpu_s"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: order["file_bytes"],
    }
    if _STATM.exists():
        libraries_bytes = int(_STATM.read_text().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = libraries_bytes + order["memory_bytes"]
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


def _main(module: str, parent: str) -> None:
    """Be the child: bound to its parent before anything is loaded that takes long."""
    bound = die_with_parent(int(parent))
    sys.argv = [module, sys.stdin.buffer.readline().decode()]
    if not bound:
        threading.Thread(target=_leave_at_end_of_stdin, daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _leave_at_end_of_stdin() -> None:
    while os.read(0, 1):
        pass
    os._exit(REFUSED)


if __name__ == "__main__":
    _main(*sys.argv[1:])
