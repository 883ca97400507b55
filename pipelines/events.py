"""What a pipeline says while it works: Progress, Progress, ..., then one Done.

A pipeline is a generator of these events. It yields at least once a second and only at points where it
may be stopped: not calling `next` pauses it, closing it cancels it, and the same function serves the
page, the worker process, the command line and the tests.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from rvc import steps

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One sign of life.

    Attributes:
        stage: What is being done, in a word or three ("Training").
        fraction: Share of the whole pipeline that is done, 0..1.
        message: One short sentence for a person; may be empty.
        eta_s: Estimated seconds until the pipeline ends; None while unknown.
        needs_device: Whether the work after this event computes on the device (GPU lease).
        data: JSON-able facts for curves and players (losses, a path of a sample, ...).
    """

    stage: str
    fraction: float
    message: str = ""
    eta_s: float | None = None
    needs_device: bool = False
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Done(Generic[T]):
    """The last event: the result."""

    result: T


Events = Generator["Progress | Done[T]", None, None]


def result_of(work: Events[T], *, since: float = 0.0, until: float = 1.0) -> Generator[Progress, None, T]:
    """Pass a pipeline's progress on, its fraction fitted between two others; return its result.

    Raises:
        RuntimeError: The pipeline ended without a Done.
    """
    # Closed here and not when it is collected, so that a checkpoint that cannot be saved is heard of.
    with closing(work):
        for event in work:
            if isinstance(event, Done):
                return event.result
            eta_s = event.eta_s if until == 1.0 else None
            yield replace(event, fraction=since + (until - since) * event.fraction, eta_s=eta_s)
    raise RuntimeError("The pipeline ended without a result.")


def finish(work: Events[T]) -> T:
    """Drain a pipeline and return its result.

    Raises:
        RuntimeError: The pipeline ended without a Done.
    """
    return steps.result_of(result_of(work))
