"""Worker programs on the machines of a Ray cluster.

    dispatcher ──verbs──> RemoteWorker ──lines──> bridge (pipelines/cluster/bridge.py) ──Ray──> actors
               <─events──              <─lines───        <─────────────────────────────

The bridge is a process of its own: a program that is joined to a cluster ends with the cluster's head, which
the server must not, and nothing of Ray is loaded here. When the bridge ends, what ran in the cluster is lost,
another bridge is started, and what is lost is tried again like after any fault.

A cluster has devices. A worker is bound to one from its start, and the dispatcher lets one job at a time
compute on each. A training over several GPUs has a device of that many; other jobs compute there too, and
other trainings do not. A device that yields, so that one of more GPUs can be had, gets no training any more,
and other jobs only where there is no other.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipelines.events import LAST_WORDS
from pipelines.job_spec import gpus_of, saving_s
from pipelines.jobs.outcome import signing_of
from pipelines.jobs.processes import Child, environment_of
from pipelines.jobs.schedule import SHORT, TRAINING
from pipelines.jobs.workers import OnEvent, Worker
from pipelines.settings import Settings
from pipelines.store.records import Row, Rows
from rvc.errors import ConfigError

logger = logging.getLogger(__name__)
BRIDGE_COMMAND = (sys.executable, "-m", "pipelines.cluster.bridge")
AGAIN_S = 5.0  # from the end of a bridge to the start of the next
LEAVING_S = 5.0  # of the bridge, beyond what its workers may take to save
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}  # Ray asks its users by default whether it may tell of them
LOST = -9  # the exit status of what nobody could ask any more
NOT_JOINED = "The Ray cluster cannot be reached; jobs wait until it can be."
_JOINING = "The Ray cluster is being joined; jobs wait until then."


class RemoteWorker:
    """A worker program in an actor of the cluster."""

    pid = None

    def __init__(
        self, cluster: ClusterBackend, number: int, device: Row, lane: str, on_event: OnEvent
    ) -> None:
        self.number = number
        self.lane = lane
        self.nodes = _nodes_of(device)  # the first is where it runs itself
        self.gpus = _gpus_of(device)
        self.device = str(device["device"])
        self.place = f"{device['name']}, device {self.device}"
        self.job_id = ""  # which it works on, or did last
        self._cluster = cluster
        self._on_event = on_event
        self._returncode: int | None = None
        self._has_ended_job = True
        self._killed = False

    @property
    def retired(self) -> bool:
        return self._cluster.releases(self.device)

    @property
    def works(self) -> bool:
        """Whether it has a job whose end it has not told."""
        return not self._has_ended_job

    def begins(self, folder: Path) -> None:
        self.job_id, self._has_ended_job = folder.name, False

    def send(self, line: str) -> None:
        word, _, argument = line.partition(" ")
        if word == "run":
            self.begins(Path(argument))
        self._tell("send", line=line)

    def close(self) -> None:
        self._tell("close")

    def terminate(self) -> None:
        self._tell("terminate")

    def kill(self) -> None:
        if not self._killed:
            self._killed = True
            self._tell("kill")

    def returncode(self) -> int | None:
        return self._returncode

    def reap(self) -> None:
        self._cluster.forget(self)

    def heard(self, event: Row) -> None:
        if event.get("event") in LAST_WORDS:
            self._has_ended_job = True
        self._on_event(self, event)

    def left(self, status: int, why: str = "") -> None:
        """Note its exit; where it did not say how its job ended, why it could not."""
        if self._returncode is None:
            if why and not self._has_ended_job:
                self.heard({"event": "failed", "job": self.job_id, "kind": "internal", "message": why})
            self._returncode = status
            self._on_event(self, None)

    def _tell(self, verb: str, **facts: object) -> None:
        if self._returncode is None:
            self._cluster.tell({"do": verb, "worker": self.number, **facts})


class ClusterBackend:
    """Starts worker programs in a Ray cluster. Called by the dispatcher, under its lock."""

    slots = 0
    bridge_command: Sequence[str] = BRIDGE_COMMAND

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings = settings
        if settings.shared_dir and signing_of(settings) is not None:
            raise ConfigError(
                "With SHARED_DIR results cannot be signed, because the machines do not have the keys; set "
                "SIGN_OUTPUT=0, or let all machines have DATA_DIR itself and leave SHARED_DIR empty."
            )
        environment = environment_of(settings)
        del environment["OMP_NUM_THREADS"]  # which each machine has its own number of (cluster/runner.py)
        self._saving_s = saving_s(settings.cancel_grace_s)
        self._joining: Row = {
            "do": "join",
            "address": settings.ray_address,
            "shared_dir": settings.shared_dir,
            "data_dir": str(settings.data_dir),
            "command": list(command[1:]),  # by each machine's own Python
            "environment": environment,
            "saving_s": self._saving_s,
        }
        self._mutex = threading.RLock()
        self._bridge: Child | None = None
        self._starts_s = 0.0  # monotonic; no earlier does a bridge start
        self._numbers = itertools.count(1)
        self._workers: dict[int, RemoteWorker] = {}
        self._devices: dict[str, Row] = {}  # that are ready, by name
        self._nodes: Rows = []
        self._draining: set[str] = set()
        self._failures: Counter[str] = Counter()  # of workers, by node
        self._fault = _JOINING
        self._wanted: dict[int, int] = {}  # devices by their number of GPUs

    def asked(self, job_id: str) -> None:
        """Do nothing: a machine elsewhere has nothing of the request."""

    def width(self, row: Row) -> int:
        return gpus_of(row["type"], row["settings"])

    def room(self, lane: str, width: int = 1) -> int:
        with self._mutex:
            offered = [device["device"] for device in self._offered(lane, width)]
            if not offered:
                return 0
            if lane == SHORT and self._settings.max_converters:
                return self._settings.max_converters
            alike = [one for one in self._workers.values() if one.lane == lane]
            elsewhere = [
                one for one in alike if one.device not in offered and (lane != TRAINING or one.gpus == width)
            ]
            return len(offered) + len(elsewhere)

    def releases(self, device: str) -> bool:
        """Whether a device is gone, or shall be, or is on a machine that takes no further jobs."""
        found = self._devices.get(device)
        return found is None or bool(found.get("yields")) or not self._draining.isdisjoint(_nodes_of(found))

    def _offered(self, lane: str, width: int) -> Rows:
        """Return the devices on which one more job may be started."""
        there = [one for one in self._devices.values() if self._draining.isdisjoint(_nodes_of(one))]
        lasting = [one for one in there if not one.get("yields")]
        if lane == TRAINING:
            return [one for one in lasting if _gpus_of(one) == width]
        return lasting or there

    def start(
        self, arguments: Sequence[str], log_path: Path, on_event: OnEvent, *, lane: str, width: int = 1
    ) -> RemoteWorker:
        with self._mutex:
            offered = self._offered(lane, width)
            if not offered:
                raise OSError(f"no device of the cluster is free ({self._fault or 'none is ready'})")
            taken = Counter(one.device for one in self._workers.values())
            alike = Counter(one.device for one in self._workers.values() if one.lane == lane)
            device = min(offered, key=lambda one: (alike[one["device"]], _gpus_of(one), taken[one["device"]]))
            worker = RemoteWorker(self, next(self._numbers), device, lane, on_event)
            if not arguments[0].startswith("-"):
                worker.begins(Path(arguments[0]))
            self._workers[worker.number] = worker
            order = {"worker": worker.number, "device": worker.device, "lane": lane}
            self.tell({"do": "start", "arguments": list(arguments), "log": str(log_path), **order})
        return worker

    def poll(self, jobs: Rows) -> None:
        wanted = self._wanted_by(jobs)
        moment_s = time.monotonic()
        if self._bridge is not None and self._bridge.returncode() is not None:
            self._lose_bridge()
            self._starts_s = moment_s + AGAIN_S
        if self._bridge is None and moment_s >= self._starts_s:
            self._wanted = {}
            log = self._settings.data_dir / "cluster.log"
            self._bridge = Child(self.bridge_command, log_path=log, environment=QUIET, on_event=self._hear)
            self.tell(self._joining)
            for node in self._draining:
                self.tell({"do": "drain", "node": node, "on": True})
        if wanted != self._wanted:
            self._wanted = wanted
            self.tell({"do": "want", "devices": wanted})

    def _wanted_by(self, jobs: Rows) -> dict[int, int]:
        """Return how many devices of each number of GPUs are of use; none for what others are ahead of."""
        waiting = [row for row in jobs if row["type"] == TRAINING and row["status"] == "pending"]
        first = min((row["seq"] for row in waiting if self.width(row) == 1), default=float("inf"))
        return dict(
            Counter(
                width
                for row in jobs
                if (width := self.width(row)) == 1 or row["status"] != "pending" or row["seq"] < first
            )
        )

    def health(self) -> Row:
        """Return fault (a sentence, "" for none) and nodes.

        Each node has id, name, address, alive, cpus, gpus, devices (names), draining, jobs (ids), failures.
        """
        with self._mutex:
            nodes = []
            for node in self._nodes:
                here = [one for one in self._workers.values() if node["id"] in one.nodes]
                devices = [name for name, one in self._devices.items() if node["id"] in _nodes_of(one)]
                nodes.append(
                    node
                    | {
                        "devices": devices,
                        "draining": node["id"] in self._draining,
                        "jobs": [one.job_id for one in here if one.works],
                        "failures": self._failures[node["id"]],
                    }
                )
            return {"fault": self._fault, "nodes": nodes}

    def drain(self, node: str, *, on: bool) -> bool:
        with self._mutex:
            if not any(one["id"] == node for one in self._nodes):
                return False
            (self._draining.add if on else self._draining.discard)(node)
            self.tell({"do": "drain", "node": node, "on": on})
        return True

    def close(self) -> None:
        bridge, self._bridge = self._bridge, None
        if bridge is None:
            return
        bridge.close()
        deadline = time.monotonic() + self._saving_s + LEAVING_S
        while bridge.returncode() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        bridge.kill()
        bridge.reap()

    def tell(self, order: Row) -> None:
        if self._bridge is not None:
            self._bridge.send(json.dumps(order))

    def forget(self, worker: RemoteWorker) -> None:
        with self._mutex:
            self._workers.pop(worker.number, None)

    def _lose_bridge(self) -> None:
        if (bridge := self._bridge) is None:
            return
        bridge.reap()
        with self._mutex:
            self._bridge = None
            self._devices, self._nodes = {}, []
            if self._fault != NOT_JOINED:
                logger.error("%s Its log is cluster.log in the data folder.", NOT_JOINED)
            self._fault = NOT_JOINED
            lost = list(self._workers.values())
        for worker in lost:
            worker.left(LOST, "the connection to the Ray cluster was lost")

    def _hear(self, _: Worker, said: Row | None) -> None:
        """Take what the bridge says, in the thread that reads it."""
        if said is None:
            return
        with self._mutex:
            if "nodes" in said:
                self._note(said)
            worker = self._workers.get(int(said.get("worker", 0)))
        if worker is None:
            return
        if "event" in said:
            worker.heard(said["event"])
        elif "exit" in said:
            if why := str(said.get("why") or ""):
                logger.warning("%s: %s", worker.place, why)
                self._failures[worker.nodes[0]] += 1
            if why or said.get("gone"):
                self._devices = {n: one for n, one in self._devices.items() if n != worker.device}
            worker.left(int(said["exit"]), why)

    def _note(self, said: Row) -> None:
        if self._fault:
            logger.info("the Ray cluster is joined: %d machines", len(said["nodes"]))
        self._fault = ""
        self._nodes = said["nodes"]
        self._devices = {device["device"]: device for device in said["devices"]}


def _gpus_of(device: Row) -> int:
    return int(device.get("gpus", 1))


def _nodes_of(device: Row) -> list[str]:
    """Return the machines of a device, the first where its worker runs."""
    return [str(node) for node in device.get("nodes") or [device["node"]]]
