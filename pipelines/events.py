"""What a pipeline says while it works: Progress, Progress, ..., then one Done.

A pipeline is a generator of these events. It yields at least once a second and only at points where it
may be stopped: not calling `next` pauses it, closing it cancels it, and the same function serves the
page, the worker process, the command line and the tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

from rvc import steps

LAST_WORDS = ("done", "failed", "stopped")  # of a worker program about its job
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Progress:
    stage: str  # what is being done, in a word or three ("Training")
    fraction: float  # share of the whole pipeline that is done, 0..1
    message: str = ""  # one short sentence for a person
    eta_s: float | None = None  # estimated seconds until the pipeline ends; None while unknown
    needs_device: bool = False  # whether the work after this event computes on the device (GPU lease)
    data: dict[str, Any] = field(default_factory=dict)  # JSON-able facts for curves and players


@dataclass(frozen=True, kw_only=True)
class Done(Generic[T]):
    """The last event: the result."""

    result: T


Events = Generator["Progress | Done[T]", None, None]


def result_of(work: Events[T], *, since: float = 0.0, until: float = 1.0) -> Generator[Progress, None, T]:
    """Pass a pipeline's progress on, its fraction fitted between two others; return its result."""
    # Closed here and not when it is collected, so that a checkpoint that cannot be saved is heard of.
    with closing(work):
        for event in work:
            if isinstance(event, Done):
                return event.result
            eta_s = event.eta_s if until == 1.0 else None
            yield replace(event, fraction=since + (until - since) * event.fraction, eta_s=eta_s)
    raise RuntimeError("The pipeline ended without a result.")


def finish(work: Events[T]) -> T:
    """Drain a pipeline and return its result."""
    return steps.result_of(result_of(work))


def timed(work: Generator[S, None, T], count: Callable[[float], None]) -> Generator[S, None, T]:
    """Pass steps on and count the seconds of work, without those between two calls of `next`."""
    with closing(work):
        while True:
            started_s = time.perf_counter()
            try:
                step = next(work)
            except StopIteration as stop:
                return cast("T", stop.value)
            finally:
                count(time.perf_counter() - started_s)
            yield step
