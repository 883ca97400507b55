"""The further processes of a training over several GPUs of this machine, which its first process starts.

Each is this same program once more, with `--rank-of` and its place in the environment, where torch looks for
it (rvc/training/group.py). Where the environment holds a place already, others started the group. Such
a process ends with this one, however that ends: it is bound to it, and its stdin ends.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rvc.errors import ConfigError

logger = logging.getLogger(__name__)
RANK = "RANK"  # in the environment of a process that belongs to a group: its number
LOSS_GRACE_S = 10.0  # from the loss of another rank until the first process, should it hang, is given up
WORD_S = 2.0  # for which what has failed here waits for what another rank says of it
HERE = "127.0.0.1"


def environment_of(
    rank: int, size: int, address: str, port: int, *, on_this_machine: int = 1
) -> dict[str, str]:
    """Return what tells a process its place in a group, and where that meets."""
    place = {
        RANK: rank,
        "WORLD_SIZE": size,
        "LOCAL_RANK": rank if on_this_machine > 1 else 0,  # which of the GPUs that it sees is its own
        "LOCAL_WORLD_SIZE": on_this_machine,
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
    }
    return {name: str(value) for name, value in place.items()}


def free_port(address: str = HERE) -> int:
    with socket.socket() as free:
        free.bind((address, 0))
        return int(free.getsockname()[1])


@contextmanager
def with_other_ranks(gpus: int, give_up: Callable[[Exception], None]) -> Iterator[None]:
    """Have as many processes as there shall be GPUs take part in what is done in the block.

    What fails in the block because another rank did raises what that said, a ConfigError if it refused. Does
    nothing fail, as where a GPU waits for one that is gone, then `give_up` is called in a thread.
    """
    if gpus == 1 or RANK in os.environ:
        yield
        return
    port = free_port()
    os.environ.update(environment_of(0, gpus, HERE, port, on_this_machine=gpus))
    others = _RankProcesses(give_up)
    try:
        for rank in range(1, gpus):
            others.start(rank, environment_of(rank, gpus, HERE, port, on_this_machine=gpus))
        yield
    except RuntimeError as error:  # what torch raises
        if (loss := others.loss()) is not None:
            raise loss from error
        raise
    finally:
        others.end()


class _RankProcesses:
    def __init__(self, give_up: Callable[[Exception], None]) -> None:
        self._give_up = give_up
        self._processes: list[subprocess.Popen[bytes]] = []
        self._loss: Exception | None = None
        self._lost = threading.Event()
        self._ended = threading.Event()

    def start(self, rank: int, place: dict[str, str]) -> None:
        process = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:], "--rank-of", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | place,
        )
        self._processes.append(process)
        threading.Thread(target=self._watch, args=(rank, process), name=f"rank-{rank}", daemon=True).start()

    def loss(self) -> Exception | None:
        """Return by what another rank failed, waiting for a moment until it has said so."""
        return self._loss if self._lost.wait(WORD_S) else None

    def end(self) -> None:
        self._ended.set()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()

    def _watch(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        said: dict[str, str] = {}
        if process.stdout is not None:
            with process.stdout:
                for line in process.stdout:
                    said = json.loads(line)
        status = process.wait()
        if status == 0 or self._ended.is_set() or self._lost.is_set():
            return
        if said.get("kind") == "input":
            self._loss = ConfigError(said["message"])
        else:
            told = said.get("message", f"it left with status {status}")
            self._loss = ChildProcessError(f"process {rank} of those that train together was lost: {told}")
        logger.error("%s", self._loss)
        self._lost.set()
        if not self._ended.wait(LOSS_GRACE_S):
            self._give_up(self._loss)
