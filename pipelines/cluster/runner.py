"""The actor of a Ray cluster in which one worker program runs, on the machine that has its device.

It starts the same program that a server starts by itself (pipelines/worker.py), passes lines to it, and
yields what it says. When the actor ends, however that comes, so does the program's stdin, at which it saves
and leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pipelines.cluster.staging import NodeFiles
from pipelines.jobs.processes import Child
from pipelines.store.records import Row
from pipelines.training.assistants import free_port

RUN = "run "  # begins the line that gives a converter its job


class Runner:
    """One worker program. `events` is called once; all else in the order in which it was sent.

    Args:
        order: arguments and log of the program, as the server names them; command and environment; device;
            data_dir of the server, and shared_dir, "" where this machine has the data folder too; whether it
        assists another, and then gives nothing out.
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._said: SimpleQueue[Row | None] = SimpleQueue()
        self._files: NodeFiles | None = None
        if order["shared_dir"]:
            self._files = NodeFiles(order["shared_dir"], Path(order["data_dir"]), str(order["device"]))
        self._child: Child | None = None
        self._killed = False
        self._place: dict[str, str] = {}

    def meeting_point(self) -> tuple[str, int]:
        """Return this machine's address, and a port that is free there."""
        import ray

        address = ray.util.get_node_ip_address()
        return address, free_port(address)

    def join(self, place: Mapping[str, str]) -> None:
        """Give the program, which is not started yet, a place in a group of processes."""
        self._place = dict(place)

    def start(self) -> None:
        """Start the program; a job that it is started for has been put into the shared folder."""
        arguments, log, data_dir = list(self._order["arguments"]), Path(self._order["log"]), ""
        if self._files is not None:
            if not arguments[0].startswith("-"):
                self._files.take_in(Path(arguments[0]).name, gives_out=not self._order["assists"])
            arguments = [self._files.local(argument) for argument in arguments]
            log, data_dir = Path(self._files.local(str(log))), str(self._files.root)
            log.parent.mkdir(parents=True, exist_ok=True)
        if self._killed:
            raise RuntimeError("it was ended before it had begun")
        self._child = Child(
            [sys.executable, *self._order["command"], *arguments],
            log_path=log,
            environment={
                **self._order["environment"],
                **({"DATA_DIR": data_dir} if data_dir else {}),
                **self._place,
            },
            on_event=lambda _, event: self._said.put(event),
        )

    def events(self) -> Iterator[Row]:
        """Yield {"event": ...} for what the program says, and {"exit": status} at last."""
        while (event := self._said.get()) is not None:
            if self._files is not None:
                self._files.note(event)
            yield {"event": event}
        if self._child is not None:
            self._child.reap()
            if self._files is not None:
                self._files.give_out()
                self._files.leave()
            status = self._child.returncode()
            yield {"exit": 1 if status is None else status}

    def send(self, line: str) -> None:
        if self._files is not None and line.startswith(RUN):
            folder = Path(line.removeprefix(RUN))
            self._files.take_in(folder.name)
            line = RUN + self._files.local(str(folder))
        if self._child is not None:
            self._child.send(line)

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    def terminate(self) -> None:
        if self._child is not None:
            self._child.terminate()

    def kill(self) -> None:
        self._killed = True
        if self._child is not None:
            self._child.kill()
