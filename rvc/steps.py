"""Work that is done in steps: a generator that says how far it is and at its end returns its result."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


def result_of(steps: Generator[Any, None, T]) -> T:
    """Take all steps at once.

    Args:
        steps: The work; what it yields is not heard.

    Returns:
        Its result.
    """
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
