"""Work that is done in steps: a generator that says how far it is and at its end returns its result."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar, cast

Step = TypeVar("Step")
Event = TypeVar("Event")
Result = TypeVar("Result")


def result_of(steps: Generator[Any, None, Result]) -> Result:
    """Take all steps at once, unheard, and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return cast("Result", stop.value)


def relay(
    steps: Generator[Step, None, Result], to_event: Callable[[Step], Event]
) -> Generator[Event, None, Result]:
    """Pass each step on as an event; return the result. Closing this closes the steps."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                return cast("Result", stop.value)
            yield to_event(step)
