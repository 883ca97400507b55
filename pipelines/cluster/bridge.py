"""The process between a server and a Ray cluster: `python -m pipelines.cluster.bridge`.

    stdin     JSON objects, one a line, each with "do":
              join (address, shared_dir, data_dir, command, environment, saving_s), first of all;
              want (devices: how many are of use, by their number of GPUs), drain (node, on),
              start (worker, device, lane, arguments, log); for a worker send (line), close, terminate, kill;
              its end means that the server leaves or died: all workers save and leave, and so does this
    stdout    JSON objects, one a line:
              nodes (with devices that are ready) now and then; of a worker event, or exit, why and gone
              (whether its device is)

Every device is reserved as a whole while there is work for it, as a placement group of one GPU and two
processors (of a cluster without GPUs, two processors), in which its workers' actors share; so Ray, and what
scales a cluster, count what Timbre uses, and the server decides who computes. A device of several GPUs has as
many such bundles, near to each other; its jobs' first process runs in the first (together.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from pipelines.cluster.program import RemoteProgram, why_of
from pipelines.cluster.runner import CPUS
from pipelines.cluster.staging import ServerFiles
from pipelines.cluster.together import most_of, room_of
from pipelines.jobs.cluster import LOST
from pipelines.jobs.schedule import TRAINING
from pipelines.store.records import Row, Rows

logger = logging.getLogger("pipelines.cluster.bridge")
LOOK_S = 1.0  # between two looks at the cluster
JOINING_S = 60.0  # in which a cluster is joined, or is taken for one that cannot be
SILENCE_S = 20.0  # of the cluster's head, after which it is taken for gone
IDLE_S = 60.0  # without a worker, until a device that is not wanted is given back
MOST_DEVICES = 256
MOST_WAITING = 4  # devices that are asked for at the same time
CLEAN_UP_S = 86_400.0


class Output:
    """What is said to the server, from any thread; nobody hears it when the server has died."""

    def __init__(self) -> None:
        # Whatever a library prints shall go to the log, not between the lines.
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def say(self, said: Row) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._out.write(json.dumps(said).encode() + b"\n")


@dataclass(eq=False)
class Device:
    """A reservation; it has a name and a node once it is ready."""

    group: PlacementGroup
    gpus: int = 1
    name: str = ""
    nodes: tuple[str, ...] = ()  # by GPU
    yields: bool = False  # whether its GPU, or its GPUs, are of use to others
    is_doubtful: bool = False  # a worker was lost there: it is not offered again
    workers: dict[int, str] = field(default_factory=dict)  # their lanes, by number
    used_s: float = field(default_factory=time.monotonic)


class Bridge:
    def __init__(self, joining: Row, output: Output) -> None:
        self.joining = joining
        self.say: Callable[[Row], None] = output.say
        self.files: ServerFiles | None = None
        if joining["shared_dir"]:
            self.files = ServerFiles(joining["shared_dir"], Path(joining["data_dir"]))
        self.has_gpus = False
        self._wanted: dict[int, int] = {}
        self._devices: list[Device] = []
        self._named = 0
        self._draining: set[str] = set()
        self._programs: dict[int, RemoteProgram] = {}
        self._lock = threading.Lock()
        self._seen_s = time.monotonic()
        self._cleaned_s = float("-inf")
        self._patience_s = JOINING_S
        threading.Thread(target=self._watch_head, name="head", daemon=True).start()
        ray.init(address=joining["address"], namespace="timbre", log_to_driver=False)
        self._patience_s, self._seen_s = SILENCE_S, time.monotonic()

    def look(self) -> None:
        """Take and give back devices as they are wanted, and tell the server what there is."""
        nodes = [_node_of(found) for found in ray.nodes()]
        self._seen_s = time.monotonic()
        self.has_gpus = self.has_gpus or any(node["gpus"] for node in nodes if node["alive"])
        alive = {node["id"]: node for node in nodes if node["alive"]}
        with self._lock:
            open_nodes = [node for name, node in alive.items() if name not in self._draining]
            room = sum(room_of(node, has_gpus=self.has_gpus) for node in open_nodes)
            most = most_of(self._wanted, self._devices, room)
            self._settle(alive, most)
            self._reserve(most)
            ready: Rows = [
                {"device": one.name, "node": one.nodes[0], "name": alive[one.nodes[0]]["name"]}
                | {"nodes": one.nodes, "gpus": one.gpus, "yields": one.yields}
                for one in self._devices
                if one.name and not one.is_doubtful
            ]
        self.say({"nodes": nodes, "devices": ready})
        if self.files is not None and time.monotonic() - self._cleaned_s >= CLEAN_UP_S:
            self._cleaned_s = time.monotonic()
            threading.Thread(target=self._clean_up, name="clean-up", daemon=True).start()

    def do(self, order: Row) -> None:
        """Follow one order of the server."""
        if order["do"] == "want":
            self._wanted = {int(gpus): int(count) for gpus, count in order["devices"].items()}
        elif order["do"] == "drain":
            (self._draining.add if order["on"] else self._draining.discard)(order["node"])
        elif order["do"] == "start":
            self._start(order)
        elif (program := self._programs.get(int(order["worker"]))) is not None:
            program.tell(order)

    def left(self, number: int, *, lost: bool) -> None:
        with self._lock:
            self._programs.pop(number, None)
            for device in self._devices:
                if number in device.workers:
                    del device.workers[number]
                    device.is_doubtful = device.is_doubtful or lost
                    device.used_s = time.monotonic()

    def leave(self) -> None:
        """Let all workers save and leave."""
        with self._lock:
            programs = list(self._programs.values())
        for program in programs:
            program.tell({"do": "terminate"})
        deadline = time.monotonic() + self.joining["saving_s"]
        while self._programs and time.monotonic() < deadline:
            time.sleep(0.05)

    def _start(self, order: Row) -> None:
        with self._lock:
            device = next((one for one in self._devices if one.name == order["device"]), None)
            if device is not None:
                device.workers[int(order["worker"])] = order["lane"]
        if device is None:
            why = "the device of the cluster that it should have is gone"
            self.say({"worker": order["worker"], "exit": LOST, "why": why})
            return
        try:
            program = RemoteProgram(self, order, device.group, device.gpus)
            self._programs[int(order["worker"])] = program  # before it can leave
            program.begin()
        except Exception as error:
            logger.exception("worker %d could not be started", order["worker"])
            self.left(int(order["worker"]), lost=True)
            self.say({"worker": order["worker"], "exit": LOST, "why": why_of(error)})

    def _settle(self, alive: dict[str, Row], most: dict[int, int]) -> None:
        """Name what has become ready; give back what is lost, and what is idle and not wanted."""
        offered, groups = Counter[int](), placement_group_table()
        for device in sorted(
            self._devices, key=lambda one: (TRAINING not in one.workers.values(), not one.workers)
        ):
            found = groups.get(device.group.id.hex(), {})
            if not device.name and found.get("state") == "CREATED":
                device.nodes = tuple(found["bundles_to_node_id"][bundle] for bundle in range(device.gpus))
                self._named += 1
                device.name = f"{device.nodes[0][:8]}-{self._named}"
                device.used_s = time.monotonic()
            count = offered[device.gpus]
            device.yields = count >= most.get(device.gpus, 0)
            is_lost = not alive.keys() >= set(device.nodes)
            kept_s = IDLE_S if device.name and not device.yields else 0
            is_idle = not device.workers and time.monotonic() - device.used_s > kept_s
            is_given_up = device.is_doubtful and not device.workers
            is_surplus = device.yields or count >= self._wanted.get(device.gpus, 0)
            if is_lost or is_given_up or (is_idle and is_surplus):
                remove_placement_group(device.group)
                self._devices.remove(device)
            elif self._counts(device):
                offered[device.gpus] += 1

    def _counts(self, device: Device) -> bool:
        """Whether a device is one of those that are wanted."""
        return self._draining.isdisjoint(device.nodes) and not device.is_doubtful

    def _reserve(self, most: dict[int, int]) -> None:
        """Ask for as many devices as are wanted, a few at a time; those that drain are kept from others."""
        bundle = {"CPU": CPUS, "GPU": 1.0} if self.has_gpus else {"CPU": CPUS}
        for gpus, wanted in self._wanted.items():
            alike = [device for device in self._devices if device.gpus == gpus]
            offered = sum(map(self._counts, alike))
            waiting = sum(not device.name for device in alike)
            more = min(wanted, most.get(gpus, 0), MOST_DEVICES) - offered
            for _ in range(min(more, MOST_WAITING - waiting)):
                self._devices.append(Device(placement_group([bundle] * gpus, strategy="PACK"), gpus))

    def _watch_head(self) -> None:
        """End the process when the cluster's head is gone: Ray itself would wait for minutes, or abort."""
        while time.monotonic() - self._seen_s < self._patience_s:
            time.sleep(LOOK_S)
        logger.critical("the cluster's head has not answered for %.0f s", self._patience_s)
        os._exit(1)

    def _clean_up(self) -> None:
        try:
            if self.files is not None and (count := self.files.clean_up()):
                logger.info("%d old files were removed from the shared folder", count)
        except Exception:
            logger.exception("the shared folder could not be cleaned up")


def _node_of(found: Row) -> Row:
    """Return a node as the server hears of it."""
    resources = found.get("Resources", {})
    return {
        "id": found["NodeID"],
        "name": str(found.get("NodeName") or found.get("NodeManagerHostname") or ""),
        "address": str(found.get("NodeManagerAddress") or ""),
        "alive": bool(found["Alive"]),
        "cpus": float(resources.get("CPU", 0.0)),
        "gpus": float(resources.get("GPU", 0.0)),
    }


def _listen(orders: SimpleQueue[Row | None]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    orders.put(None)


def main() -> int:
    """Serve one server until it leaves; return the exit status."""
    output = Output()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    orders: SimpleQueue[Row | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), name="stdin", daemon=True).start()
    joining = orders.get()
    if joining is None:
        return 0
    bridge = Bridge(joining, output)
    looked_s = float("-inf")
    while True:
        if time.monotonic() - looked_s >= LOOK_S:
            looked_s = time.monotonic()
            try:
                bridge.look()
            except Exception:
                # Of Ray: the next look may do better. A head that is gone is noticed by its silence.
                logger.exception("the cluster could not be looked at")
        try:
            order = orders.get(timeout=max(0.0, looked_s + LOOK_S - time.monotonic()))
        except Empty:
            continue
        if order is None:
            bridge.leave()
            return 0
        bridge.do(order)


if __name__ == "__main__":
    sys.exit(main())
