"""What the dispatcher needs of a running worker program, and of who starts one: here, or on other machines.

A worker program (pipelines/worker.py) is told by lines and heard by events, wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pipelines.store.records import Row, Rows


class Worker(Protocol):
    """One running worker program. Nothing here blocks, but `reap` for a moment."""

    @property
    def pid(self) -> int | None:
        """Of its process on this machine; None for one that runs elsewhere."""

    @property
    def place(self) -> str:
        """Where it runs, for who reads the log."""

    @property
    def device(self) -> str | None:
        """The one device that it can compute on; None for whichever is free here."""

    @property
    def retired(self) -> bool:
        """Whether its machine shall get no further job."""

    def send(self, line: str) -> None:
        """Tell it one line; one that has left is no error, its exit tells the story."""

    def close(self) -> None:
        """End what it is told: it saves and leaves."""

    def terminate(self) -> None:
        """Ask it to save and to leave."""

    def kill(self) -> None:
        """End it, and all that it has started, at once."""

    def returncode(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""

    def reap(self) -> None:
        """Clean up behind one that has left; its last events have been heard then."""


# Called from any thread with (worker, event) for every event, and at last with (worker, None).
OnEvent = Callable[[Worker, Row | None], None]


class Backend(Protocol):
    """Where worker programs run."""

    @property
    def slots(self) -> int:
        """How many jobs may compute at the same time, of those whose worker is bound to no device."""

    def asked(self, job_id: str) -> None:
        """Note that somebody asks for a job; called in the thread of the request."""

    def width(self, row: Row) -> int:
        """Return how many GPUs a job needs that no other has; 1 where all share what there is."""

    def room(self, lane: str, width: int = 1) -> int:
        """Return how many jobs of a lane and a width may run side by side just now."""

    def start(
        self, arguments: Sequence[str], log_path: Path, on_event: OnEvent, *, lane: str, width: int = 1
    ) -> Worker:
        """Start the worker program for a lane; its log goes to a file. OSError if it cannot be started."""

    def poll(self, jobs: Rows) -> None:
        """Do what has to be done now and then; these jobs run or wait for their start."""

    def health(self) -> Row | None:
        """Return how the machines are on which it runs; None for this one alone."""

    def drain(self, node: str, *, on: bool) -> bool:
        """Start nothing more on a machine, or do so again; return whether there is such a machine."""

    def close(self) -> None:
        """End what it needs itself; no worker runs any more."""
