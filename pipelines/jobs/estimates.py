"""How long a job will take on this machine: measured at every job that ends well, kept, and foretold.

A job is a plan of parts, each with an amount: a start, seconds of audio to check, steps to train. What one
unit of a part takes is the median of the last runs here (durations.json in the data folder), by engine and
device; before there is one, a figure that was measured elsewhere. A clock goes through the plan with its
job: from the first second it says how long is left, and never jumps back.
"""

from __future__ import annotations

import heapq
import logging
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from pipelines.job_spec import SEPARATING_SHARE, check_settings, divided, full_names
from pipelines.jobs.schedule import IN_LANES_BY_LENGTH, LONG_RECORDING_S, SHORT, lane_of
from pipelines.monitoring import MACHINE
from pipelines.store.layout import DURATIONS_NAME
from pipelines.store.records import CONVERTING, Row, checked_settings, require_type
from rvc.engine.options import ENGINES, LITE, RVC
from rvc.errors import ConfigError
from rvc.files import atomic_write

logger = logging.getLogger(__name__)
Plan = dict[str, float]  # by part, in order, how much of it there is to do

KEPT_RUNS = 9
LEAST_AMOUNT = 5.0  # seconds or steps: of less, a measurement says little of the pace
OVERRUN = 0.5  # of the time that a part has taken longer than foretold, what may be left of it
LONGEST_S = 1e9  # of audio, which is more than anybody has
SMOOTH_S = 4.0  # within which the time left that is shown follows what is foretold
RISE = 0.05  # by what share, at most, it grows in a second

# Seconds for one unit on two cores (docs/quality.md, "Speed"; RVC: docs/rvc.md). Those of a GPU are guesses,
# as none was to be had; the first job replaces them.
FIGURES: dict[str, float | dict[str, float]] = {
    "start": 1.5,  # a process of Python, and what reads recordings
    "check": 0.05,  # a second of audio: listened to, compared
    "load": {LITE: 3.0, RVC: 25.0},  # torch, and the networks
    "warm load": {LITE: 0.2, RVC: 0.5},  # in the converter, which has them loaded
    "features": {LITE: 0.1, RVC: 0.3},  # a second of audio
    "step": {LITE: 0.16, RVC: 35.0},  # of a training, scorings included
    "fit": {LITE: 6.0},  # of a voice that is made without training
    "index": {LITE: 0.02, RVC: 0.05},  # a second of audio
    "say": 0.05,  # a second of speech from a text
    "convert": {LITE: 0.02, RVC: 0.35},  # a second of audio
    "separate": 2.4,  # a second of a song
}
FASTER_ON_GPU = {"features": 10.0, "step": 100.0, "convert": 10.0}  # of RVC's alone, by these factors
# By stage that a worker reports, the part that it is of; any other is the chief part of its job.
PARTS = {
    "Listening": "check",
    "Comparing": "check",
    "Looking for weights": "load",
    "Waiting for another download": "load",
    "Downloading weights": "load",
    "Loading": "load",
    "Loading the voice": "load",
    "Features": "features",
    "Fitting": "fit",
    "Retrieval index": "index",
    "Separating": "separate",
    "Saying the text": "say",
}
ONCE = ("start", "load", "warm load", "fit")  # in a job, and their amount is 1
CHIEF = {"preprocessing": "check", "training": "step"} | dict.fromkeys(CONVERTING, "convert")


class Durations:
    """What one unit of each part took, in seconds, in the last runs on this machine."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / DURATIONS_NAME
        self._runs: dict[str, list[float]] = {}
        try:
            kept = orjson.loads(self._path.read_bytes())
            self._runs = {str(key): [float(run) for run in runs][-KEPT_RUNS:] for key, runs in kept.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError):
            logger.warning("%s is damaged; how long work takes is measured anew", DURATIONS_NAME)

    def unit_s(self, part: str, engine: str) -> float:
        runs = self._runs.get(self._key(part, engine))
        if runs:
            return statistics.median(runs)
        figure = FIGURES[part]
        if isinstance(figure, float):
            return figure
        known = engine if engine in figure else LITE
        return figure[known] / (FASTER_ON_GPU.get(part, 1.0) if self._device_of(known) == "gpu" else 1.0)

    def add(self, engine: str, runs: Mapping[str, float]) -> None:
        """Keep what one unit of some parts took; on a full disk it is known until the server ends."""
        for part, seconds in runs.items():
            key = self._key(part, engine)
            self._runs[key] = [*self._runs.get(key, []), round(seconds, 5)][-KEPT_RUNS:]
        try:
            with atomic_write(self._path) as path:
                path.write_bytes(orjson.dumps(self._runs, option=orjson.OPT_INDENT_2))
        except OSError as error:
            logger.warning("how long work takes could not be kept: %s", error)

    def _key(self, part: str, engine: str) -> str:
        return part if isinstance(FIGURES[part], float) else f"{part} {engine} {self._device_of(engine)}"

    def _device_of(self, engine: str) -> str:
        known = ENGINES.get(engine)
        return "gpu" if known and known.on_gpu and self._has_gpu else "cpu"

    @cached_property
    def _has_gpu(self) -> bool:
        return bool(MACHINE.gpus())


class JobClock:
    """What one running job has done of its plan; time is counted in seconds of its work."""

    def __init__(self, kind: str, plan: Plan, engine: str, durations: Durations) -> None:
        self.engine = engine
        self._kind, self._plan, self._durations = kind, plan, durations
        self._part, self._begun_s = next(iter(plan)), 0.0
        self._spent_s: defaultdict[str, float] = defaultdict(float)
        self._steps: list[int] = []  # the first that was heard of, and the last
        self._told: tuple[float, float] | None = None  # what the worker said is left, and when
        self._shown: tuple[float, float] | None = None  # what was shown last, and when by the steady clock

    def heard(self, event: Row, ran_s: float) -> None:
        """Take in a progress event of the worker."""
        part = PARTS.get(str(event.get("stage")), CHIEF[self._kind])
        if part == "load" and "warm load" in self._plan:
            part = "warm load"
        if part == "say" and "say" not in self._plan:  # of a batch, which says some and converts some
            part = CHIEF[self._kind]
        if part != self._part:
            self._spent_s[self._part] += ran_s - self._begun_s
            self._part, self._begun_s = part, ran_s
        step = (event.get("data") or {}).get("step")
        if isinstance(step, int):
            self._steps = [*self._steps[:1], step]
        eta_s = event.get("eta_s")
        self._told = None
        if isinstance(eta_s, int | float) and math.isfinite(eta_s):
            self._told = float(eta_s), ran_s

    def left_s(self, ran_s: float, now_s: float) -> float:
        """Return how many seconds of work are left, as they may be shown: without jumps."""
        foretold_s = self._foretold_s(ran_s)
        if self._shown is not None:
            shown_s, at_s = self._shown
            passed_s = max(now_s - at_s, 0.0)
            counted_s = max(shown_s - passed_s, 0.0)
            near_s = counted_s + (foretold_s - counted_s) * -math.expm1(-passed_s / SMOOTH_S)
            foretold_s = min(near_s, shown_s * (1.0 + RISE * passed_s) + passed_s)
        self._shown = foretold_s, now_s
        return round(foretold_s, 1)

    def _foretold_s(self, ran_s: float) -> float:
        later_s = sum(
            amount * self._durations.unit_s(part, self.engine)
            for part, amount in self._after(self._part).items()
        )
        if self._told is not None and self._part == CHIEF[self._kind]:
            told_s, at_s = self._told
            return max(told_s - (ran_s - at_s), 0.0) + later_s
        spent_s = ran_s - self._begun_s
        whole_s = self._plan.get(self._part, 0.0) * self._durations.unit_s(self._part, self.engine)
        return max(whole_s - spent_s, OVERRUN * (spent_s - whole_s)) + later_s

    def _after(self, part: str) -> Plan:
        names = list(self._plan)
        return {name: self._plan[name] for name in names[names.index(part) + 1 :]} if part in names else {}

    def measured(self, ran_s: float) -> dict[str, float]:
        """Return what one unit of each part took, of a job that has ended well."""
        spent_s = dict(self._spent_s)
        spent_s[self._part] = spent_s.get(self._part, 0.0) + ran_s - self._begun_s
        amounts = dict(self._plan)
        if self._steps:
            amounts["step"] = self._steps[-1] - self._steps[0]
        return {
            part: spent_s[part] / amount
            for part, amount in amounts.items()
            if part in spent_s and (amount >= LEAST_AMOUNT or part in ONCE)
        }


class Estimates:
    """Says how long jobs will take; the dispatcher is the only user of clocks, under its lock."""

    def __init__(self, data_dir: Path, is_warm: Callable[[], bool]) -> None:
        self._jobs_dir = data_dir / "jobs"
        self._is_warm = is_warm  # whether the converter has its networks loaded
        self._durations = Durations(data_dir)

    def of(
        self,
        kind: str,
        seconds: float,
        settings: Row | None = None,
        *,
        engine: str | None = None,
    ) -> float:
        """Return how many seconds a job would take when nothing else runs.

        Args:
            kind: Its type.
            seconds: Of audio, all its recordings together.
            settings: The job's.
            engine: Of the voice of a conversion; of a training the settings say it.
        """
        require_type(kind)
        asked = checked_settings(settings)
        if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_S:
            raise ConfigError("Give the length of the recordings in seconds, 0 or more.")
        asked = full_names(asked) if kind == "training" else asked
        check_settings(kind, asked)
        engine = engine or str(asked.get("engine", LITE))
        warm = kind in IN_LANES_BY_LENGTH and seconds <= LONG_RECORDING_S and self._is_warm()
        return round(self.seconds_for(plan_of(kind, seconds, asked, engine=engine, warm=warm), engine), 1)

    def seconds_for(self, plan: Plan, engine: str) -> float:
        """Return how many seconds a plan takes when nothing else runs."""
        return sum(amount * self._durations.unit_s(part, engine) for part, amount in plan.items())

    def clock(self, row: Row, engine: str) -> JobClock:
        """Begin to count for a job that starts now."""
        plan = self._plan(row, engine, warm=self._is_warm())
        return JobClock(row["type"], plan, engine, self._durations)

    def ended_well(self, clock: JobClock, ran_s: float) -> None:
        self._durations.add(clock.engine, clock.measured(ran_s))

    def of_waiting(
        self,
        waiting: Sequence[tuple[Row, str]],
        running: Sequence[tuple[Row, float]],
        room: Mapping[str, int],
    ) -> dict[str, float]:
        """Return by id in how many seconds each waiting job will be done: its own, and those ahead of it.

        Args:
            waiting: Rows in the order in which they start, each with its engine.
            running: Rows, each with how many seconds are left of it.
            room: How many jobs of a lane run at once; 1 where nothing is said.
        """
        free: dict[str, list[float]] = {}  # by lane, in how many seconds each of its places is free
        for row, left_s in running:
            free.setdefault(lane_of(row), []).append(left_s)
        done: dict[str, float] = {}
        for row, engine in waiting:
            lane = lane_of(row)
            places = free.setdefault(lane, [])
            places += [0.0] * (room.get(lane, 1) - len(places))
            heapq.heapify(places)
            begins_s = max(heapq.heappop(places), row["not_before"] - time.time())
            own_s = self.seconds_for(self._plan(row, engine, warm=begins_s > 0 or self._is_warm()), engine)
            done[row["id"]] = round(begins_s + own_s, 1)
            heapq.heappush(places, begins_s + own_s)
        return done

    def _plan(self, row: Row, engine: str, *, warm: bool) -> Plan:
        files = [one for one in row["files"] if one.get("status") not in ("completed", "failed")]
        if row["type"] == "cover":
            files = files[:1]  # vocals and backing are as long as each other
        seconds = sum(float(one.get("seconds") or 0.0) for one in files)
        slices = self._jobs_dir / str(row["upload_id"]) / "prepared" / "slices.json"
        prepared = {"training": slices.exists(), "cover": len(row["files"]) == 2}
        return plan_of(
            row["type"],
            seconds,
            row["settings"],
            engine=engine,
            warm=warm and lane_of(row) == SHORT,
            prepared=prepared.get(row["type"], False),
            done=float(row["progress"]) if row["type"] in prepared else 0.0,
        )


def plan_of(  # noqa: PLR0913  # what makes a difference
    kind: str,
    seconds: float,
    settings: Mapping[str, Any],
    *,
    engine: str,
    warm: bool = False,
    prepared: bool = False,
    done: float = 0.0,
) -> Plan:
    """Return what there is to do for so many seconds of audio.

    Args:
        kind: Type of the job.
        seconds: Of all its recordings.
        settings: The job's.
        engine: Of its voice.
        warm: Whether the converter has its networks loaded.
        prepared: Whether the recordings of a training were checked before, or a song came separated.
        done: How much of a training or a cover was done by an earlier try, 0..1.
    """
    if kind == "preprocessing":
        return {"start": 1, "check": seconds}
    if kind != "training":
        loading: Plan = {"warm load": 1} if warm else {"start": 1, "load": 1}
        extra: Plan = {"say": seconds} if kind == "speech" else {}
        if kind == "cover" and not prepared and done < SEPARATING_SHARE:
            extra = {"separate": seconds * (1 - done / SEPARATING_SHARE)}
        return loading | extra | {"convert": seconds}
    again = bool(divided(settings)[0])  # other slices are asked for
    steps = settings.get("total_steps")
    if steps is None:
        steps = (ENGINES.get(engine) or ENGINES[LITE]).training_steps(seconds)
    checking: Plan = {} if prepared and not again else {"check": seconds}
    features: Plan = {} if done else {"features": seconds}
    learning: Plan = {"step": steps * (1 - done)} if steps else {"fit": 1}
    return {"start": 1, **checking, "load": 1, **features, **learning, "index": seconds}
