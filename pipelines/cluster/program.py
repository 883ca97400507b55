"""A worker program in its actor, as the bridge has it: what the server says to it, and what it says back."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import ray

from pipelines.cluster.runner import RUN
from pipelines.cluster.staging import ServerFiles, has_made_files
from pipelines.cluster.together import RankActors, actor_in
from pipelines.events import LAST_WORDS
from pipelines.jobs.cluster import LOST
from pipelines.jobs.schedule import TRAINING
from pipelines.store.records import Row
from pipelines.training.ranks import WORD_S

logger = logging.getLogger("pipelines.cluster.program")
# Shares of a device and of processors that an actor takes, by lane: what trains takes half of each.
SHARES = {TRAINING: (0.5, 1.0)}
OTHER_SHARES = (0.05, 0.1)


class Connection(Protocol):
    """The bridge, as far as one of its programs uses it."""

    joining: Row
    say: Callable[[Row], None]
    files: ServerFiles | None
    has_gpus: bool

    def left(self, number: int, *, lost: bool) -> None:
        """Note that a program is gone, maybe with its machine."""


class RemoteProgram:
    """A worker program in its actor: once begun, one thread tells it what the server says, one hears it.

    Args:
        group: The device, as Ray has it: a placement group.
        gpus: How many it has.
    """

    def __init__(self, bridge: Connection, order: Row, group: Any, gpus: int) -> None:  # noqa: ANN401  # Ray's
        self._bridge = bridge
        self._number = int(order["worker"])
        self._lines: SimpleQueue[Row | None] = SimpleQueue()
        self._started = threading.Event()
        self._killed = threading.Event()  # by the server
        self._job_id = ""
        joining = bridge.joining
        facts = {name: joining[name] for name in ("shared_dir", "data_dir", "command", "environment")}
        self._order = facts | {name: order[name] for name in ("arguments", "log", "device")}
        gpu, cpus = SHARES.get(order["lane"], OTHER_SHARES)
        options = {"num_cpus": cpus, "num_gpus": gpu if bridge.has_gpus else 0, "max_restarts": 0}
        self._actor = actor_in(group, 0, self._order | {"is_other_rank": False}, options)
        self._other_ranks: RankActors | None = None
        self._loss: Row | None = None  # the event that says how another rank failed
        self._has_ended = False  # otherwise than by a fault
        if gpus > 1 and order["lane"] == TRAINING:
            also = self._order | {"is_other_rank": True, "arguments": [*order["arguments"], "--rank-of", "0"]}
            actors = [actor_in(group, rank, also, options) for rank in range(1, gpus)]
            self._other_ranks = RankActors(self._actor, actors, self._lose)

    def begin(self) -> None:
        threading.Thread(target=self._tell, name=f"tell-{self._number}", daemon=True).start()
        threading.Thread(target=self._hear, name=f"hear-{self._number}", daemon=True).start()

    def tell(self, order: Row) -> None:
        if order["do"] == "kill":
            self._killed.set()
            if self._other_ranks is not None:
                self._other_ranks.kill()
            self._kill()
        else:
            self._lines.put(order)

    def _kill(self) -> None:
        """End it now: that waits behind nothing."""
        self._actor.kill.options(concurrency_group="killed").remote()

    def _tell(self) -> None:
        self._started.wait()
        while (order := self._lines.get()) is not None:
            verb, line = order["do"], str(order.get("line", ""))
            try:
                if line.startswith(RUN) and not self._take_job(Path(line.removeprefix(RUN))):
                    continue
                method = getattr(self._actor, verb).options(concurrency_group="told")
                ray.get(method.remote(*([line] if verb == "send" else [])))
            except Exception as error:
                if self._killed.is_set():
                    continue  # its exit says so
                # Of the shared folder or of Ray: it fails the job, and no other.
                logger.exception("worker %d could not be told", self._number)
                event = {"event": "failed", "job": self._job_id, "kind": "internal", "message": why_of(error)}
                self._bridge.say({"worker": self._number, "event": event})

    def _take_job(self, folder: Path) -> bool:
        """Put a job's files where its machine finds them; False if it was killed meanwhile."""
        self._job_id = folder.name
        return self._bridge.files is None or self._bridge.files.upload(self._job_id, self._killed)

    def _hear(self) -> None:
        status, why = LOST, ""
        try:
            if self._start():
                for reference in self._actor.events.options(num_returns="streaming").remote():
                    said = ray.get(reference)
                    if "exit" in said:
                        status = said["exit"]
                        self._note_log(str(said.get("log", "")))
                    else:
                        self._pass_on(said["event"])
            else:
                self._has_ended = True
        except Exception as error:
            logger.exception("worker %d is lost", self._number)
            why = why_of(error)
        with contextlib.suppress(Exception):
            self._fetch_last()  # of one that is lost, what it had staged out
        self._started.set()
        self._lines.put(None)
        if self._other_ranks is not None:
            self._other_ranks.end()
        with contextlib.suppress(Exception):
            ray.kill(self._actor)
        # A machine that is lost may show first by what the others say, long before Ray has noticed.
        gone = bool(why) or (self._other_ranks is not None and not self._has_ended)
        self._bridge.left(self._number, lost=gone)
        self._bridge.say({"worker": self._number, "exit": status, "why": why, "gone": gone})

    def _start(self) -> bool:
        """Start the program, with its job if it is for one alone; False if it was killed before."""
        of_one_job = not str(self._order["arguments"][0]).startswith("-")
        if of_one_job and not self._take_job(Path(self._order["arguments"][0])):
            return False
        if self._other_ranks is not None:
            self._other_ranks.start()
        started = bool(ray.get(self._actor.start.options(concurrency_group="told").remote()))
        self._started.set()
        return started

    def _note_log(self, text: str) -> None:
        """Keep what a program has logged that never said a word."""
        if text:
            with contextlib.suppress(OSError), Path(self._order["log"]).open("a", encoding="utf-8") as log:
                log.write(text)

    def _pass_on(self, event: Row) -> None:
        if event.get("event") == "failed" and self._other_ranks is not None:
            self._other_ranks.lost.wait(WORD_S)  # it may have failed by that
        if self._loss is not None:
            return  # which has been told
        if event.get("event") in LAST_WORDS:
            if self._other_ranks is not None:
                self._has_ended = event.get("kind") != "internal"
                self._other_ranks.kill()
            self._fetch_last()
        elif has_made_files(event):
            try:
                self._fetch()
            except Exception:
                # Of the shared folder: it comes with the next one, or with the last word.
                logger.exception("worker %d: what its job made could not be fetched", self._number)
        self._bridge.say({"worker": self._number, "event": event})

    def _lose(self, event: Row) -> None:
        """End the training, because another rank has failed: it may wait for that one for ever."""
        self._loss = event | {"job": self._job_id}
        self._bridge.say({"worker": self._number, "event": self._loss})
        self._kill()

    def _fetch(self) -> None:
        if self._bridge.files is not None and self._job_id:
            self._bridge.files.fetch(self._job_id)

    def _fetch_last(self) -> None:
        self._fetch()
        if self._bridge.files is not None and self._job_id:
            self._bridge.files.forget(self._job_id)
            self._job_id = ""


def why_of(error: Exception) -> str:
    """Return why a program is lost, for whoever runs the server."""
    if isinstance(error, ray.exceptions.RayActorError):
        return "the machine of the cluster on which it ran was lost"
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) and error.cause else error
    return f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}"[:300]
