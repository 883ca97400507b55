"""Which pending job starts next. Pure functions of rows; the dispatcher asks them under its lock.

Each type of job has a lane of its own, first in, first out: a conversion never stands behind a training or
a batch, and preparing recordings, which needs no device, behind none of them. Who computes on the device
among the jobs that were started is lease.py's matter.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

Row = dict[str, Any]
Rows = list[Row]

USES_PREPARED = frozenset({"preprocessing", "training"})
"""Types that write the prepared slices of an upload, and so never run on the same upload together."""

LONGEST_REST_S = 3_600.0
"""No failed try rests longer."""


def in_order(pending: Rows) -> Rows:
    """Return the pending rows in the order of their submission."""
    return sorted(pending, key=lambda row: row["seq"])


def positions(pending: Rows) -> dict[str, int]:
    """Return by job id the place in its lane, 1 for the job that starts next."""
    counts: dict[str, int] = {}
    places: dict[str, int] = {}
    for row in in_order(pending):
        counts[row["type"]] = counts.get(row["type"], 0) + 1
        places[row["id"]] = counts[row["type"]]
    return places


def next_up(job_type: str, pending: Rows, running: Collection[Row], now_s: float) -> Row | None:
    """Return the job of this type that may start now, None if there is none.

    Args:
        job_type: Lane.
        pending: All pending rows, in any order.
        running: Rows of the jobs that children work on.
        now_s: Seconds since the epoch; a row whose `not_before` is a little later rests from a failed try.
    """
    for row in in_order(pending):
        # So far ahead no rest was ever set: the clock has been put back since.
        rests = 0 < row["not_before"] - now_s <= LONGEST_REST_S
        if row["type"] != job_type or rests:
            continue
        if not _upload_is_busy(row, pending, running):
            return row
        if job_type == "training":
            # A training holds its place: what blocks it is short, or a training ahead of it.
            return None
    return None


def _upload_is_busy(row: Row, pending: Rows, running: Collection[Row]) -> bool:
    """Whether somebody else works on the prepared slices that this job needs."""
    if row["type"] not in USES_PREPARED:
        return False
    upload = row["upload_id"]
    if any(other["upload_id"] == upload and other["type"] in USES_PREPARED for other in running):
        return True
    return row["type"] == "training" and any(
        other["type"] == "preprocessing" and other["upload_id"] == upload and other["seq"] < row["seq"]
        for other in pending
    )
