"""A day of many people, in minutes: `python -m tests.bench.scale [people] [devices ...]`.

The dispatcher, the registry and the order of jobs are the real ones; the clock is not, and workers only take
the time that work took where it was measured (docs/quality.md, "Speed": the built-in engine; a device stands
for two cores). What people ask for in a day is assumed, below. Printed for each number of devices: how busy
they were, and for each kind of job how long people waited until it computed and until it was done; and for
single recordings whether a batch of 500 of somebody else's made them wait.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import shutil
import statistics
import sys
import tempfile
import time as real_time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from pipelines.store.records import ENDED, Row, Rows, new_job
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from tests.toy_worker import write_voice

DAY_S = 86_400.0
# Measured on two cores: 20 sentences in 12 to 15 s, 60 s of sound in 0.74 s, a voice of five minutes in 3.5.
CONVERT_S, PER_SECOND_S, TRAINING_S = 0.5, 0.74 / 60, 210.0
# The server's own figures (pipelines/jobs/estimates.py): checking five minutes, a start of a worker program.
CHECKING_S, START_S, STEP_S = 15.0, 4.5, 0.16
# Assumed of a person's day: conversions and how long their recordings are; shares of people; a batch.
CONVERSIONS, SHORTEST_S, LONGEST_S = (1, 2, 2, 3, 5), 10.0, 240.0
TRAINS, HAS_BATCH, BATCH, BATCH_FILE_S = 0.05, 0.002, 500, 10.0
PATCHED = ("dispatcher", "pool", "estimates", "outcome")
KEPT_ROWS = 300  # jobs that have ended, until the clean-up of the simulation


@dataclass
class Asked:
    """One job, and when what happened to it."""

    lane: str
    user: str
    seq: int
    at_s: float
    started_s: float = math.nan
    computes_s: float = math.nan
    ended_s: float = math.nan
    status: str = ""

    @property
    def wait_s(self) -> float:
        return self.computes_s - self.at_s

    @property
    def whole_s(self) -> float:
        return self.ended_s - self.at_s


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


@dataclass
class Book:
    """What is noted of a day."""

    clock: Clock = field(default_factory=Clock)
    jobs: dict[str, Asked] = field(default_factory=dict)
    starts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # by lane, in their order
    busy_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # by device
    holders: dict[str, str] = field(default_factory=dict)  # by device, the job that computes on it

    def started(self, job_id: str) -> None:
        asked = self.jobs[job_id]
        asked.started_s = self.clock.now_s
        self.starts[asked.lane].append(asked.seq)

    def computes(self, job_id: str, device: str) -> None:
        if device in self.holders:
            raise RuntimeError(f"two jobs compute on {device}")
        self.holders[device] = job_id
        asked = self.jobs[job_id]
        asked.computes_s = self.clock.now_s if math.isnan(asked.computes_s) else asked.computes_s

    def rests(self, device: str, ran_s: float) -> None:
        del self.holders[device]
        self.busy_s[device] += ran_s


@dataclass(eq=False)
class SimWorker:
    """A worker program of which only the time is real."""

    book: Book
    device: str
    on_event: OnEvent
    lane: str
    pid: int | None = None
    place: str = "the simulation"
    retired: bool = False
    _status: int | None = None
    _job: JobSpec | None = None
    _left_s: float = 0.0
    _part_s: float = 0.0  # of work between two points at which it can be paused
    _since_s: float | None = None  # when it was given the device
    _turn: int = 0  # rises whenever what was to come next does not

    def begin(self, folder: Path, start_s: float) -> None:
        self._job = JobSpec.load(folder)
        self._left_s, self._part_s = _work_of(self._job)
        self.book.started(self._job.id)
        if self._job.type == "preprocessing":  # needs no device
            self.book.jobs[self._job.id].computes_s = self.book.clock.now_s + start_s
            self.book.clock.after(start_s + self._left_s, self._done)
        else:
            self.book.clock.after(start_s, lambda: self._say("want_device"))

    def send(self, line: str) -> None:
        word, _, argument = line.partition(" ")
        if word == "run":
            self.begin(Path(argument), 0.0 if self._turn else START_S)
        elif word in ("grant", "continue") and self._job is not None:
            self.book.computes(self._job.id, self.device)
            self._since_s, self._turn = self.book.clock.now_s, self._turn + 1
            self._next(self._left_s, self._done)
        elif word == "pause" and self._since_s is not None:
            ran_s = self.book.clock.now_s - self._since_s
            until_s = math.ceil(ran_s / self._part_s) * self._part_s
            if until_s < self._left_s:
                self._turn += 1
                self._next(until_s - ran_s, self._pause)

    def _next(self, seconds: float, act: Callable[[], None]) -> None:
        turn = self._turn
        self.book.clock.after(seconds, lambda: act() if turn == self._turn else None)

    def _pause(self) -> None:
        self._stand_still()
        self._say("paused")

    def _stand_still(self) -> None:
        if self._since_s is not None:
            ran_s, self._since_s = self.book.clock.now_s - self._since_s, None
            self._left_s -= ran_s
            self.book.rests(self.device, ran_s)

    def _done(self) -> None:
        if (job := self._job) is None:
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


def _work_of(job: JobSpec) -> tuple[float, float]:
    """Return how many seconds a job computes, and after how many it can be paused."""
    if job.type == "training":
        return TRAINING_S, STEP_S
    if job.type == "preprocessing":
        return CHECKING_S, CHECKING_S
    each_s = CONVERT_S + PER_SECOND_S * float(job.files[0]["seconds"])
    return each_s * len(job.files), each_s


@dataclass(eq=False)
class SimBackend:
    book: Book
    devices: Sequence[str]
    slots: int = 0
    workers: list[SimWorker] = field(default_factory=list)

    def asked(self, job_id: str) -> None:
        """Do nothing."""

    def width(self, row: Row) -> int:
        return 1

    def room(self, lane: str, width: int = 1) -> int:
        return len(self.devices)

    def start(
        self, arguments: Sequence[str], log_path: Path, on_event: OnEvent, *, lane: str, width: int = 1
    ) -> SimWorker:
        self.workers = [one for one in self.workers if one.returncode() is None]
        alike = Counter(one.device for one in self.workers if one.lane == lane)
        taken = Counter(one.device for one in self.workers)
        device = min(self.devices, key=lambda one: (alike[one], taken[one]))
        worker = SimWorker(self.book, device, on_event, lane)
        self.workers.append(worker)
        if not arguments[0].startswith("-"):
            worker.begin(Path(arguments[0]), START_S)
        return worker

    def poll(self, jobs: Rows) -> None:
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
        self.book = Book()
        self.begun_s = self.book.clock.now_s
        settings = Settings(data_dir=folder, converter_idle_s=600)
        (folder / "jobs").mkdir(parents=True)
        self._jobs_dir = folder / "jobs"
        self.registry = Registry(folder)
        library = Library(folder, self.registry)
        voice = new_job("all", "training", status="completed", seq=0, model_name="Toy", upload_id="u")
        library.adopt(voice | {"id": "voice"}, write_voice(folder / "bundle"))
        backend = SimBackend(self.book, [f"gpu{number}" for number in range(devices)])
        self.dispatcher = Dispatcher(*(settings, self.registry, library, backend, (5.0,), lambda: None))
        self._random = random.Random(seed)
        self._seq = itertools.count(1)
        self._kept = 0

    def person(self, number: int) -> None:
        """Let one person come, and ask for all that they want, one thing after the other."""
        user, at_s = f"person-{number}", self._moment_s()
        kinds = ["conversion"] * self._random.choice(CONVERSIONS)
        if self._random.random() < TRAINS:
            kinds.insert(0, "training")
        if self._random.random() < HAS_BATCH:
            kinds.append("batch")
        for kind in kinds:
            self.at(at_s, user, kind)
            at_s += self._random.expovariate(1 / 120)

    def at(self, after_s: float, user: str, kind: str) -> None:
        """Let somebody ask for something, so many seconds after the day has begun."""
        self.book.clock.after(after_s, lambda: self._ask(user, kind))

    def _moment_s(self) -> float:
        """Return a time of day: three times as many come at the busiest hour as at the quietest."""
        while True:
            moment_s = self._random.random() * DAY_S
            if self._random.random() < (2 - math.cos(2 * math.pi * moment_s / DAY_S)) / 3:
                return moment_s

    def _ask(self, user: str, kind: str) -> None:
        seconds = self._random.uniform(SHORTEST_S, LONGEST_S)
        files = [{"name": "a.wav", "seconds": seconds, "status": "waiting"}]
        if kind == "batch":
            files = [dict(files[0], seconds=BATCH_FILE_S) for _ in range(BATCH)]
        rows = [new_job(user, kind, status="uploaded", seq=next(self._seq), files=files)]
        voice = {"model_id": None if kind == "training" else "voice", "model_name": "Toy"}
        for one in ("preprocessing", "training") if kind == "training" else (kind,):
            row = new_job(user, one, status="pending", seq=next(self._seq), files=files, **voice)
            rows.append(row | {"upload_id": rows[0]["id"]})
            (self._jobs_dir / row["id"]).mkdir()
            self.book.jobs[row["id"]] = Asked(lane_of(row), user, row["seq"], self.book.clock.now_s)
        with self.registry.as_one():
            for row in rows:
                self.registry.insert("jobs", row)

    def run(self) -> None:
        with self._simulated():
            while self.book.clock.step():
                self.dispatcher._handle_events()
                self.dispatcher._tick(self.book.clock.now_s)
                if self._kept > KEPT_ROWS:
                    self._clear()
                waiting = self.dispatcher.pending.rows()
                if waiting and not self.dispatcher._running:
                    raise RuntimeError(f"{len(waiting)} jobs wait and nothing runs")

    @contextmanager
    def _simulated(self) -> Iterator[None]:
        """Let the server's modules see the simulation's clock, and note when jobs end."""
        conclude = self.dispatcher._conclude

        def concluded(row: Row, outcome: object) -> None:
            conclude(row, outcome)  # type: ignore[arg-type]
            status = (self.registry.get("jobs", row["id"]) or row)["status"]
            if status in ENDED:
                asked, self._kept = self.book.jobs[row["id"]], self._kept + 1
                asked.status, asked.ended_s = status, self.book.clock.now_s

        patches: list[Any] = [mock.patch(f"pipelines.jobs.{name}.time", self.book.clock) for name in PATCHED]
        patches.append(mock.patch.object(self.dispatcher, "_conclude", concluded))
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()

    def _clear(self) -> None:
        """Take out what has ended, as the clean-up does after some days."""
        self._kept = 0
        rows = self.registry.list("jobs")
        gone = {row["id"] for row in rows if row["status"] in ENDED}
        needed = {row["upload_id"] for row in rows if row["id"] not in gone}
        gone |= {row["upload_id"] for row in rows if row["id"] in gone and row["upload_id"] not in needed}
        self.registry.delete("jobs", gone)
        for job_id in gone:
            shutil.rmtree(self._jobs_dir / job_id, ignore_errors=True)

    @property
    def length_s(self) -> float:
        return max(DAY_S, self.book.clock.now_s - self.begun_s)

    def beside_batches(self) -> tuple[list[Asked], list[Asked]]:
        """Return the single recordings that were asked for while a batch ran, and while none did."""
        jobs = self.book.jobs.values()
        batches = [one for one in jobs if one.lane == "batch"]
        sides: tuple[list[Asked], list[Asked]] = ([], [])
        for one in jobs:
            if one.lane == SHORT:
                beside = any(batch.started_s <= one.at_s <= batch.ended_s for batch in batches)
                sides[not beside].append(one)
        return sides


def simulated(folder: Path, people: int, devices: int) -> Day:
    """Return a day of so many people as it was."""
    day = Day(folder, devices)
    for number in range(people):
        day.person(number)
    day.run()
    day.registry.close()
    return day


def main(people: int, devices: Sequence[int]) -> None:
    """Print a line for each kind of job, for each number of devices."""
    for count in devices:
        began_s = real_time.perf_counter()
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            day = simulated(Path(folder) / "data", people, count)
        jobs = list(day.book.jobs.values())
        busy = sum(day.book.busy_s.values()) / count / day.length_s
        print(  # noqa: T201
            f"{people:,} people, {count} devices: {len(jobs):,} jobs, all done after "
            f"{day.length_s / 3600:.1f} h, devices busy {busy:.0%} of it; "
            f"simulated in {real_time.perf_counter() - began_s:.0f} s"
        )
        for lane in sorted({one.lane for one in jobs}):
            these = [one for one in jobs if one.lane == lane]
            waits, wholes = (one.wait_s for one in these), (one.whole_s for one in these)
            _say(lane, len(these), f"until it computes {_spread(waits)}; until it is done {_spread(wholes)}")
        for said, side in zip(("a batch ran", "none ran"), day.beside_batches(), strict=True):
            _say(f"single, {said}", len(side), f"until it computes {_spread(one.wait_s for one in side)}")


def _spread(seconds: Iterable[float]) -> str:
    """Return median, 99th percentile and longest as text."""
    ordered = sorted(seconds) or [math.nan]
    high = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return f"{statistics.median(ordered):.1f} / {high:.1f} / {ordered[-1]:.1f} s"


def _say(what: str, count: int, text: str) -> None:
    print(f"  {what:20} {count:6,} (median / 99 % / longest) {text}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, [int(one) for one in sys.argv[2:]] or [1, 2, 4])
