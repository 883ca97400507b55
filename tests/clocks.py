"""Clocks that a test sets.

They are told to the modules that date things, and to no others: event loops of servers in the same process
sleep until a time, and would sleep for as long as a clock had jumped.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace

import pytest

from pipelines.jobs import cleanup, dispatcher, outcome
from pipelines.store import backup, clock, records, registry

_READ_TIME = (cleanup, clock, dispatcher, outcome, registry)
_READ_DATES = (backup, cleanup, records)


class Clocks:
    """Time as it passes; a clock on the wall that may be wrong, and a steady one that stands while asleep."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.passed_s = self.wrong_s = self.slept_s = 0.0
        clocks = self

        class Moment(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                return datetime.fromtimestamp(clocks.wall_s(), UTC)

        read = {
            "time": self.wall_s,
            "monotonic": lambda: time.monotonic() + self.passed_s - self.slept_s,
            "clock_gettime": lambda kind: time.clock_gettime(kind) + self.passed_s,
        }
        for module in _READ_TIME:
            set_time(patch, module, **read)
        for module in _READ_DATES:
            patch.setattr(module, "datetime", Moment)

    def wall_s(self) -> float:
        return time.time() + self.passed_s + self.wrong_s


def set_time(patch: pytest.MonkeyPatch, module: ModuleType, **read: object) -> None:
    """Let one module read other clocks."""
    patch.setattr(module, "time", SimpleNamespace(**{**vars(time), **read}))
