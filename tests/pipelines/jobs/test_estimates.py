from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.jobs.estimates import FIGURES, KEPT_RUNS, Durations, Estimates, JobClock, plan_of
from pipelines.jobs.service import Jobs
from pipelines.store.layout import DURATIONS_NAME
from pipelines.store.records import ENDED, new_job
from rvc.errors import ConfigError
from tests.pipelines.jobs.toy_jobs import ME, Open, add_voice, end_of, submit, until, upload


def test_what_was_measured_here_takes_the_place_of_what_the_code_knows(tmp_path: Path) -> None:
    first = Durations(tmp_path)
    assert first.unit_s("check", "lite") == FIGURES["check"]
    for run in (0.5, 0.4, 9.0):  # once the machine was busy
        first.add("lite", {"check": run, "step": 2 * run})
    for known in (first, Durations(tmp_path)):
        assert known.unit_s("check", "lite") == 0.5
        assert known.unit_s("step", "lite") == 1.0
        assert known.unit_s("step", "rvc") == FIGURES["step"]["rvc"]  # type: ignore[index]
    for _ in range(3 * KEPT_RUNS):
        first.add("lite", {"check": 0.1})
    assert Durations(tmp_path).unit_s("check", "lite") == 0.1
    assert (tmp_path / DURATIONS_NAME).stat().st_size < 1_000


Script = list[tuple[float, dict[str, object]]]  # when, in seconds, and what a worker says


@pytest.mark.parametrize("content", ["", "[1]", '{"check": 3}', '{"check": ["a"]}', "\0"])
def test_a_damaged_file_is_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / DURATIONS_NAME).write_text(content)
    assert Durations(tmp_path).unit_s("check", "lite") == FIGURES["check"]


def shown_of(clock: JobClock, script: Script, end_s: float) -> list[float]:
    """What a person sees of a job, looking twice a second; the script's events come at their times."""
    events, seen, moment_s = list(script), [], 0.0
    while moment_s < end_s:
        while events and events[0][0] <= moment_s:
            clock.heard(events.pop(0)[1], moment_s)
        seen.append(clock.left_s(moment_s, moment_s))
        moment_s += 0.5
    return seen


def test_the_time_left_is_there_at_once_and_never_jumps_up(tmp_path: Path) -> None:
    durations = Durations(tmp_path)
    plan = plan_of("training", 120.0, {}, engine="lite", prepared=True)
    clock = JobClock("training", plan, "lite", durations)
    # It starts late, its worker guesses wildly at first, and half way another job slows it down.
    script: Script = [(12.0, {"stage": "Loading"})]
    script += [(16.0 + n, {"stage": "Features"}) for n in range(10)]
    for n in range(200):
        left = (200 - n) * (0.7 if n < 100 else 1.1) * (4.0 if n < 3 else 1.0)
        script.append((30.0 + n, {"stage": "Training", "data": {"step": n}, "eta_s": left}))
    seen = shown_of(clock, script, 230.0)
    assert seen[0] == pytest.approx(Estimates(tmp_path, lambda: True).seconds_for(plan, "lite"), abs=0.2)
    assert all(after <= before * 1.03 + 0.6 for before, after in pairwise(seen))
    assert seen[-1] < 10


def test_a_job_that_is_as_foretold_counts_down_second_by_second(tmp_path: Path) -> None:
    plan = plan_of("preprocessing", 300.0, {}, engine="lite")
    clock = JobClock("preprocessing", plan, "lite", Durations(tmp_path))
    whole = clock.left_s(0.0, 0.0)
    seen = shown_of(clock, [(1.5, {"stage": "Listening"})], whole)
    assert all(before - after == pytest.approx(0.5, abs=0.11) for before, after in pairwise(seen))


def test_what_takes_longer_than_foretold_is_not_about_to_end(tmp_path: Path) -> None:
    plan = plan_of("preprocessing", 10.0, {}, engine="lite")
    clock = JobClock("preprocessing", plan, "lite", Durations(tmp_path))
    seen = shown_of(clock, [(1.5, {"stage": "Listening"})], 120.0)
    assert seen[-1] > 5


def test_a_training_that_goes_on_has_less_to_do_and_a_checked_one_too() -> None:
    whole = plan_of("training", 100.0, {"total_steps": 500}, engine="lite")
    assert list(whole) == ["start", "check", "load", "features", "step", "index"]
    assert whole["step"] == 500
    later = plan_of("training", 100.0, {"total_steps": 500}, engine="lite", prepared=True, done=0.75)
    assert list(later) == ["start", "load", "step", "index"]
    assert later["step"] == 125
    at_once = plan_of("training", 100.0, {"total_steps": 0}, engine="lite")
    assert list(at_once) == ["start", "check", "load", "features", "fit", "index"]
    assert (
        plan_of("training", 100.0, {}, engine="rvc")["step"]
        > plan_of("training", 100.0, {}, engine="lite")["step"]
    )


def test_who_waits_is_told_of_those_ahead_too(tmp_path: Path) -> None:
    estimates = Estimates(tmp_path, lambda: True)

    def waiting(kind: str, seconds: float, seq: int) -> dict[str, object]:
        files = [{"name": "a", "seconds": seconds}]
        return new_job("me", kind, status="pending", seq=seq, files=files)

    rows = [waiting("training", 60.0, n) for n in range(3)] + [waiting("conversion", 60.0, 9)]
    running = [(waiting("training", 60.0, -1), 100.0)]
    left = estimates.of_waiting([(row, "lite") for row in rows], running, {})
    first, second, third, short = (left[str(row["id"])] for row in rows)
    own = first - 100.0
    assert second == pytest.approx(first + own)
    assert third == pytest.approx(first + 2 * own)
    assert short < 10, "a conversion does not stand behind trainings"
    side_by_side = estimates.of_waiting([(row, "lite") for row in rows], running, {"training": 2})
    assert side_by_side[str(rows[0]["id"])] == pytest.approx(own)


def test_every_row_tells_the_time_left_from_its_first_second_until_it_ends(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs()
    add_voice(jobs, data_dir)
    source = upload(jobs, tmp_path)
    ids = [
        submit(jobs, kind, source, steps=8, step_s=0.05)
        for kind in ("preprocessing", "training", "conversion")
    ]
    assert all(jobs.get(ME, one)["eta_s"] > 0 for one in ids), "also before the server does anything"
    jobs.start()
    for one in ids:
        for row in jobs.follow(ME, one):
            ended = row["status"] in ENDED
            assert (row["eta_s"] is None) == ended, row
    end_of(jobs, ids[1])
    kept = json.loads((data_dir / DURATIONS_NAME).read_text())
    assert kept.keys() >= {"start", "check", "step lite cpu"}
    assert 0.02 < Durations(data_dir).unit_s("step", "lite") < 1.0


def test_what_is_told_to_stop_promises_no_time(jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, "training", upload(jobs, tmp_path), steps=200, step_s=0.05)
    until(lambda: jobs.get(ME, job)["progress"] > 0)
    assert jobs.cancel(ME, job)["eta_s"] is None
    end_of(jobs, job, "cancelled")


def test_an_estimate_is_asked_for_before_there_is_a_job(jobs: Jobs) -> None:
    check, training = jobs.estimate("preprocessing", 60.0), jobs.estimate("training", 60.0, {})
    assert 0 < check < training
    assert jobs.estimate("training", 60.0, {"total_steps": 10}) < training
    assert jobs.estimate("conversion", 60.0) < jobs.estimate("conversion", 600.0)
    assert jobs.estimate("training", 60.0, {"engine": "rvc"}) > training
    for kind, seconds, settings in (
        ("dance", 1.0, {}),
        ("training", float("nan"), {}),
        ("training", -1.0, {}),
        ("training", 10**400, {}),
        ("training", 1.0, {"total_steps": "many"}),
        ("training", 1.0, {"steps": 3, "total_steps": 3}),
    ):
        with pytest.raises(ConfigError):
            jobs.estimate(kind, seconds, settings)
