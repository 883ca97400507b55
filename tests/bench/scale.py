"""A day of many people, in minutes: `python -m tests.bench.scale [people] [devices ...]`.

The dispatcher, the registry and the order of jobs are the real ones; the clock is not, and workers only take
the time that work took where it was measured (docs/quality.md, "Speed": the built-in engine on two cores).
Printed for each number of devices: how busy they were, and how long people waited for each kind of job; among
the jobs are batches of 500 recordings of one person, which shall not make others wait.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
import sys
import tempfile
import time as real_time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from pipelines.job_spec import JobSpec
from pipelines.jobs.dispatcher import Dispatcher
from pipelines.jobs.schedule import SHORT, lane_of
from pipelines.jobs.workers import OnEvent
from pipelines.settings import Settings
from pipelines.store.records import ENDED, Row, new_job
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from tests.toy_worker import write_voice

DAY_S = 86_400.0
# Measured on two cores: 20 sentences in 12 to 15 s, 60 s of sound in 0.74 s, a voice of five minutes in 3.5.
CONVERT_S, PER_SECOND_S = 0.5, 0.74 / 60
TRAINING_S, CHECKING_S = 210.0, 15.0
START_S = 5.0  # of a worker program with its libraries
STEP_S = 0.16  # of a training, between two of which it is paused
# What a person does in a day.
CONVERSIONS = (1, 2, 2, 3, 5)
TRAINS, HAS_BATCH = 0.05, 0.002  # shares of people
BATCH = 500
PATCHED = ("dispatcher", "pool", "estimates", "outcome")
KEPT_ROWS = 2_000  # that have ended, until the clean-up of the simulation


class Clock:
    """Stands for the module `time` in what is driven by it."""

    def __init__(self) -> None:
        self.now_s = 1e6
        self._at: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._at, (self.now_s + seconds, next(self._numbers), act))

    def step(self) -> bool:
        """Go to what comes next and do it; return False when nothing comes."""
        if not self._at:
            return False
        self.now_s, _, act = heapq.heappop(self._at)
        act()
        return True


@dataclass(eq=False)
class SimWorker:
    """A worker program of which only the time is real."""

    clock: Clock
    device: str
    on_event: OnEvent
    lane: str
    pid: int | None = None
    place: str = "the simulation"
    retired: bool = False
    _status: int | None = None
    _job: JobSpec | None = None
    _left_s: float = 0.0
    _part_s: float = 0.0  # until the next point at which it can be paused
    _since_s: float | None = None  # when it was given the device
    _turn: int = 0  # rises whenever what was to come next does not

    def begin(self, folder: Path, start_s: float) -> None:
        self._job = JobSpec.load(folder)
        self._left_s, self._part_s = _work_of(self._job)
        if self._job.type == "preprocessing":
            self.clock.after(start_s + self._left_s, self._done)
        else:
            self.clock.after(start_s, lambda: self._say("want_device"))

    def send(self, line: str) -> None:
        word, _, argument = line.partition(" ")
        if word == "run":
            self.begin(Path(argument), 0.1)
        elif word in ("grant", "continue"):
            self._since_s, self._turn = self.clock.now_s, self._turn + 1
            self._next(self._left_s, self._done)
        elif word == "pause" and self._since_s is not None:
            ran_s = self.clock.now_s - self._since_s
            until_s = math.ceil(ran_s / self._part_s) * self._part_s
            if until_s < self._left_s:
                self._turn += 1
                self._next(until_s - ran_s, self._pause)

    def _next(self, seconds: float, act: Callable[[], None]) -> None:
        turn = self._turn
        self.clock.after(seconds, lambda: act() if turn == self._turn else None)

    def _pause(self) -> None:
        self._stand_still()
        self._say("paused")

    def _stand_still(self) -> None:
        if self._since_s is not None:
            ran_s, self._since_s = self.clock.now_s - self._since_s, None
            self._left_s -= ran_s
            BUSY_S[self.device] += ran_s

    def _done(self) -> None:
        job = self._job
        if job is None:
            return
        result: Row = {}
        if job.type == "conversion":
            (job.folder / "result.wav").touch()
            result = {"path": "result.wav", "seconds": job.files[0]["seconds"]}
        elif job.type == "training":
            write_voice(job.bundle_folder)
        self._stand_still()
        self._say("done", result=result)
        if self.lane != SHORT:
            self._status = 0

    def _say(self, event: str, **facts: object) -> None:
        if self._job is not None:
            self.on_event(self, {"event": event, "job": self._job.id, **facts})

    def close(self) -> None:
        self._status = 0

    terminate = kill = close

    def returncode(self) -> int | None:
        return self._status

    def reap(self) -> None:
        """Do nothing: there is no process."""


BUSY_S: defaultdict[str, float] = defaultdict(float)


def _work_of(job: JobSpec) -> tuple[float, float]:
    """Return how many seconds a job computes, and after how many it can be paused."""
    if job.type == "training":
        return TRAINING_S, STEP_S
    if job.type == "preprocessing":
        return CHECKING_S, CHECKING_S
    each_s = CONVERT_S + PER_SECOND_S * float(job.files[0]["seconds"])
    return (each_s * len(job.files), each_s) if job.type == "batch" else (each_s, each_s)


@dataclass(eq=False)
class SimWorkplace:
    clock: Clock
    devices: Sequence[str]
    slots: int = 0
    workers: list[SimWorker] = field(default_factory=list)

    def room(self, lane: str) -> int:
        return len(self.devices)

    def start(self, arguments: Sequence[str], log_path: Path, on_event: OnEvent, *, lane: str) -> SimWorker:
        self.workers = [one for one in self.workers if one.returncode() is None]
        alike = Counter(one.device for one in self.workers if one.lane == lane)
        taken = Counter(one.device for one in self.workers)
        device = min(self.devices, key=lambda one: (alike[one], taken[one]))
        worker = SimWorker(self.clock, device, on_event, lane)
        self.workers.append(worker)
        if not arguments[0].startswith("-"):
            worker.begin(Path(arguments[0]), START_S)
        return worker

    def poll(self, wanted: int) -> None:
        """Do nothing: the devices are always there."""

    def health(self) -> Row | None:
        return None

    def drain(self, node: str, *, on: bool) -> bool:
        return False

    def close(self) -> None:
        """Do nothing."""


class Day:
    """The people of a day and the server that they use."""

    def __init__(self, folder: Path, devices: int, seed: int = 1) -> None:
        self.clock = Clock()
        settings = Settings(data_dir=folder, converter_idle_s=600)
        (folder / "jobs").mkdir(parents=True)
        self._folder = folder
        self._registry = Registry(folder)
        library = Library(folder, self._registry)
        voice = new_job("all", "training", status="completed", seq=0, model_name="Toy", upload_id="u")
        library.adopt(voice | {"id": "voice"}, write_voice(folder / "bundle"))
        self._workplace = SimWorkplace(self.clock, [f"gpu{number}" for number in range(devices)])
        self.dispatcher = Dispatcher(
            *(settings, self._registry, library, self._workplace, (5.0,), lambda: None)
        )
        self._random = random.Random(seed)
        self._seq = itertools.count(1)
        self.asked: dict[str, tuple[str, float]] = {}  # by job: its lane, when it was asked for
        self.waits: dict[str, list[tuple[float, float]]] = defaultdict(
            list
        )  # by lane: (asked, seconds to its end)
        self._ended = 0

    def person(self, number: int) -> None:
        """Let one person come, and ask for all that they want, one thing after the other."""
        user, at_s = f"person-{number}", self._moment_s()
        kinds = ["conversion"] * self._random.choice(CONVERSIONS)
        if self._random.random() < TRAINS:
            kinds.insert(0, "training")
        if self._random.random() < HAS_BATCH:
            kinds.append("batch")
        for kind in kinds:
            self.clock.after(at_s, lambda kind=kind: self._ask(user, kind))  # type: ignore[misc]
            at_s += self._random.expovariate(1 / 120)

    def _moment_s(self) -> float:
        """Return a time of day: three times as many come at the busiest hour as at the quietest."""
        while True:
            moment_s = self._random.random() * DAY_S
            if self._random.random() < (2 - math.cos(2 * math.pi * moment_s / DAY_S)) / 3:
                return moment_s

    def _ask(self, user: str, kind: str) -> None:
        seconds = self._random.uniform(10, 240)
        files = [{"name": "a.wav", "seconds": seconds, "status": "waiting"}]
        if kind == "batch":
            files = [dict(files[0], seconds=10.0) for _ in range(BATCH)]
        upload = new_job(user, kind, status="uploaded", seq=next(self._seq), files=files)
        row = new_job(user, kind, status="pending", seq=next(self._seq), files=files, upload_id=upload["id"])
        row |= {"model_id": "voice" if kind != "training" else None, "model_name": "Toy"}
        (self._folder / "jobs" / row["id"]).mkdir()
        with self._registry.as_one():
            self._registry.insert("jobs", upload)
            self._registry.insert("jobs", row)
        self.asked[row["id"]] = lane_of(row), self.clock.now_s

    def run(self) -> None:
        while self.clock.step():
            self.dispatcher._handle_events()
            self.dispatcher._tick(self.clock.now_s)
            if len(self.asked) > KEPT_ROWS:
                self.clear()
            waiting = self.dispatcher._queue()
            if waiting and not self.dispatcher._running:
                raise RuntimeError(f"{len(waiting)} jobs wait and nothing runs")
        self.clear()

    def ended(self, row: Row) -> None:
        lane, asked_s = self.asked.pop(row["id"])
        self.waits[lane].append((asked_s, self.clock.now_s - asked_s))

    def clear(self) -> None:
        """Take out what has ended, as the clean-up does after some days."""
        rows = self._registry.list("jobs", lambda row: row["status"] in ENDED, only=["id", "upload_id"])
        self._registry.delete("jobs", [one for row in rows for one in (row["id"], row["upload_id"]) if one])

    def close(self) -> None:
        self._registry.close()


@contextmanager
def simulated(day: Day) -> Iterator[None]:
    """Let the server's modules see the simulation's clock, and note when jobs end."""
    conclude = day.dispatcher._conclude

    def concluded(row: Row, outcome: object) -> None:
        conclude(row, outcome)  # type: ignore[arg-type]
        if row["id"] in day.asked:
            day.ended(row)

    patches: list[Any] = [mock.patch(f"pipelines.jobs.{name}.time", day.clock) for name in PATCHED]
    patches.append(mock.patch.object(day.dispatcher, "_conclude", concluded))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def main(people: int, devices: Sequence[int]) -> None:
    """Print a line for each kind of job, for each number of devices."""
    for count in devices:
        BUSY_S.clear()
        started_s = real_time.perf_counter()
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            day = Day(Path(folder) / "data", count)
            with simulated(day):
                for number in range(people):
                    day.person(number)
                begun_s = day.clock.now_s
                day.run()
            day.close()
        length_s = max(DAY_S, day.clock.now_s - begun_s)
        busy = sum(BUSY_S.values()) / count / length_s
        took_s = real_time.perf_counter() - started_s
        _say(f"{people:,} people, {count} devices: busy {busy:.0%}; simulated in {took_s:.0f} s")
        for lane, waits in sorted(day.waits.items()):
            seconds = sorted(wait for _, wait in waits)
            high = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
            said = f"median {statistics.median(seconds):.1f} s, of 100 the longest {high:.1f} s"
            _say(f"  {lane:16} {len(seconds):6,} jobs, from the click to the end: {said}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, [int(one) for one in sys.argv[2:]] or [1, 2, 4])
