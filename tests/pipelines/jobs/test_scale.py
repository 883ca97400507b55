"""A small day of the simulation (tests/bench/scale.py): what it promises of the real dispatcher holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.jobs.schedule import SHORT
from tests.bench.scale import BATCH, BATCH_FILE_S, CONVERT_S, PER_SECOND_S, START_S, Asked, Day, simulated

LONGEST_PART_S = CONVERT_S + PER_SECOND_S * BATCH_FILE_S  # of a batch, between two of its recordings


@pytest.mark.parametrize("devices", [1, 3])
def test_a_day_loses_no_job_and_keeps_the_order_on_all_devices(tmp_path: Path, devices: int) -> None:
    day = simulated(tmp_path / "data", 60, devices)
    jobs = list(day.book.jobs.values())
    assert len(jobs) > 100
    assert {one.status for one in jobs} == {"completed"}
    for lane, starts in day.book.starts.items():
        assert starts == sorted(starts), f"{lane}: not first in, first out"
        assert len(starts) == sum(one.lane == lane for one in jobs), "some were started twice"
    assert not day.book.holders, "a device is still held"
    assert sum(day.book.busy_s.values()) > 0
    for device, busy_s in day.book.busy_s.items():
        assert busy_s <= day.length_s, device


@pytest.mark.parametrize("devices", [1, 2])
def test_a_batch_of_500_makes_nobody_else_wait_longer_than_for_one_of_its_recordings(
    tmp_path: Path, devices: int
) -> None:
    day = Day(tmp_path / "data", devices)
    for number in range(devices + 1):
        day.at(0.0, f"batches-{number}", "batch")
    day.at(1.0, "trains", "training")
    day.at(20.0, "first", "conversion")  # starts the converter
    for number in range(20):
        day.at(40.0 + 12.0 * number, f"single-{number}", "conversion")
    day.run()
    day.registry.close()
    jobs = list(day.book.jobs.values())
    assert {one.status for one in jobs} == {"completed"}
    singles = [one for one in jobs if one.lane == SHORT and one.user.startswith("single")]
    batches = [one for one in jobs if one.lane == "batch"]
    assert all(begun_within(one, batches[0]) for one in singles), "the batch was over too soon"
    assert max(one.wait_s for one in singles) <= LONGEST_PART_S + 0.1
    # The batches themselves are delayed by what the others took, no more.
    assert batches[0].whole_s <= START_S + BATCH * LONGEST_PART_S + sum(one.whole_s for one in singles) + 60


def begun_within(one: Asked, other: Asked) -> bool:
    return other.computes_s <= one.computes_s <= other.ended_s
