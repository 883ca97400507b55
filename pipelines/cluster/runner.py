"""The actor of a Ray cluster in which one worker program runs, on the machine that has its device.

It starts the same program that a server starts by itself (pipelines/worker.py), passes lines to it, and
yields what it says. When the actor ends, however that comes, so does the program's stdin, at which it saves
and leaves.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pipelines.cluster.staging import NodeFiles
from pipelines.jobs.processes import Child
from pipelines.store.records import Row
from pipelines.training.ranks import free_port

RUN = "run "  # begins the line that gives a converter its job
CPUS = 2.0  # that come with a GPU
LOG_BYTES = 100_000  # of the log of a program that never said a word


class Runner:
    """One worker program. `events` is called once; all else in the order in which it was sent.

    Args:
        order: arguments and log of the program, as the server names them; command and environment; device;
            data_dir of the server, and shared_dir, "" where this machine has the data folder too;
            is_other_rank, whether it is one of a training besides the first, and then stages nothing out.
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._said: SimpleQueue[Row | None] = SimpleQueue()
        self._files: NodeFiles | None = None
        if order["shared_dir"]:
            self._files = NodeFiles(order["shared_dir"], Path(order["data_dir"]), str(order["device"]))
        self._child: Child | None = None
        self._killed = threading.Event()
        self._log = Path(order["log"])
        self._place: dict[str, str] = {}

    def meeting_point(self) -> tuple[str, int]:
        """Return this machine's address, and a port that is free there."""
        import ray

        address = ray.util.get_node_ip_address()
        return address, free_port(address)

    def join(self, place: Mapping[str, str]) -> None:
        """Give the program, which is not started yet, a place in a group of processes."""
        self._place = dict(place)

    def start(self) -> bool:
        """Start the program; a job that it is started for has been put into the shared folder.

        Returns whether it runs: not if it was killed before.
        """
        arguments, data_dir = list(self._order["arguments"]), ""
        if self._files is not None:
            if arguments[0].startswith("-"):
                self._log = self._files.root / "start.log"  # its jobs' folders come and go
            elif not self._stage_in(Path(arguments[0])):
                return self._end_unstarted()
            else:
                self._log = Path(self._files.local(str(self._log)))
            arguments = [self._files.local(argument) for argument in arguments]
            data_dir = str(self._files.root)
        if self._killed.is_set():
            return self._end_unstarted()
        self._child = Child(
            [sys.executable, *self._order["command"], *arguments],
            log_path=self._log,
            environment={
                **self._order["environment"],
                # Ray itself sets one, for what takes less than a processor.
                "OMP_NUM_THREADS": os.environ.get("TRAIN_THREADS") or str(int(CPUS)),
                **({"DATA_DIR": data_dir} if data_dir else {}),
                **self._place,
            },
            on_event=lambda _, event: self._said.put(event),
        )
        if self._killed.is_set():
            self._child.kill()
        return True

    def _end_unstarted(self) -> bool:
        self._said.put(None)
        if self._files is not None:
            self._files.leave()
        return False

    def events(self) -> Iterator[Row]:
        """Yield {"event": ...} for what the program says, and {"exit": status} at last.

        With the last comes "log" of one that said nothing and had no job whose folder holds it.
        """
        has_spoken = False
        while (event := self._said.get()) is not None:
            has_spoken = True
            if self._files is not None:
                self._files.note(event)
            yield {"event": event}
        if self._child is not None:
            self._child.reap()
            status = self._child.returncode()
            last: Row = {"exit": 1 if status is None else status}
            if self._files is not None:
                if not has_spoken and self._log.parent == self._files.root:
                    last["log"] = self._log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
                self._files.stage_out()
                self._files.leave()
            yield last

    def send(self, line: str) -> None:
        if self._files is not None and line.startswith(RUN):
            folder = Path(line.removeprefix(RUN))
            if not self._stage_in(folder):
                return
            line = RUN + self._files.local(str(folder))
        if self._child is not None:
            self._child.send(line)

    def _stage_in(self, folder: Path) -> bool:
        if self._files is None:
            return True
        return self._files.stage_in(
            folder.name, stages_out=not self._order["is_other_rank"], ended=self._killed
        )

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    def terminate(self) -> None:
        if self._child is not None:
            self._child.terminate()

    def kill(self) -> None:
        self._killed.set()
        if self._child is not None:
            self._child.kill()
