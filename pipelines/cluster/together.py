"""Trainings over several devices of a cluster: the processes besides the first, and room for such devices.

The first process is a job's worker program, which runs as any other. The others are the same program with
`--rank-of`, in actors of their own, each on its own GPU of the same device; they meet where the first runs.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipelines.cluster.runner import CPUS, Runner
from pipelines.store.records import Row
from pipelines.training.ranks import environment_of

logger = logging.getLogger("pipelines.cluster.together")
ENDING_S = 5.0


class Reserved(Protocol):
    """A device, as far as it takes room."""

    gpus: int
    name: str


def room_of(node: Row, *, has_gpus: bool) -> int:
    """Return how many GPUs with their processors a machine has for devices."""
    processors = int(node["cpus"] // CPUS)
    return min(int(node["gpus"]), processors) if has_gpus else processors


def most_of(wanted: Mapping[int, int], devices: Iterable[Reserved], room: int) -> dict[int, int]:
    """Return how many devices may last, by their GPUs: those of one make room for one of several that waits.

    But not for one that is larger than all the machines there are, or would still not fit beside its like.
    """
    taken, waits = 0, False
    for device in sorted(devices, key=lambda one: not one.name):
        if device.gpus > 1 and taken + device.gpus <= room:
            taken += device.gpus
            waits = waits or not device.name
    return {**wanted, 1: room - taken if waits else sys.maxsize}


def actor_in(device_group: Any, bundle: int, order: Row, options: Row) -> Any:  # noqa: ANN401 -- Ray's
    """Start an actor in a bundle of a placement group."""
    strategy = PlacementGroupSchedulingStrategy(device_group, placement_group_bundle_index=bundle)
    remote: Any = ray.remote(concurrency_groups={"told": 1, "killed": 1})(Runner)
    return remote.options(scheduling_strategy=strategy, **options).remote(order)


class RankActors:
    """The processes besides the first; when one of them fails, `on_loss` is given the event that says so."""

    def __init__(self, first: Any, actors: list[Any], on_loss: Callable[[Row], None]) -> None:  # noqa: ANN401
        self._first, self._actors = first, actors
        self._on_loss = on_loss
        self._hearing: list[threading.Thread] = []
        self._ending = threading.Event()
        self.lost = threading.Event()  # one of them

    def start(self) -> None:
        """Tell all where they meet, and start those besides the first, which is started after this."""
        size = len(self._actors) + 1
        address, port = ray.get(self._first.meeting_point.remote())
        for rank, actor in enumerate((self._first, *self._actors)):
            ray.get(actor.join.remote(environment_of(rank, size, address, port)))
        ray.get([actor.start.options(concurrency_group="told").remote() for actor in self._actors])
        for rank, actor in enumerate(self._actors, 1):
            hearing = threading.Thread(target=self._hear, args=(rank, actor), daemon=True)
            hearing.start()
            self._hearing.append(hearing)

    def kill(self) -> None:
        """End those that still run, of which the first has no more need."""
        self._ending.set()
        for actor in self._actors:
            with suppress(Exception):
                actor.kill.options(concurrency_group="killed").remote()

    def end(self) -> None:
        """End those that still run, and wait until they have cleaned up."""
        self.kill()
        for hearing in self._hearing:
            hearing.join(ENDING_S)
        for actor in self._actors:
            with suppress(Exception):
                ray.kill(actor)

    def _hear(self, rank: int, actor: Any) -> None:  # noqa: ANN401
        said: Row = {"event": "failed", "kind": "internal"}
        status = -1
        try:
            for reference in actor.events.options(num_returns="streaming").remote():
                told = ray.get(reference)
                said = told.get("event", said)
                status = told.get("exit", status)
            said.setdefault("message", f"process {rank} of those that train together left with {status}")
        except Exception:
            logger.exception("process %d of a training is lost", rank)
            said["message"] = "one of the machines on which it ran was lost"
        if status != 0 and not self._ending.is_set():
            self._on_loss(said)
            self.lost.set()
