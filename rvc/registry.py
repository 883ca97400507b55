"""A named choice: factories by name, with a sentence for a name that does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from rvc.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Factories by name, in the order in which they were registered.

    Args:
        kind: What the entries are, as it shall read in a message ("F0 estimator").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._factories: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Return a decorator that enters a factory under `name`."""

        def enter(factory: Callable[..., T]) -> Callable[..., T]:
            self._factories[name] = factory
            return factory

        return enter

    def build(self, name: str, **settings: Any) -> T:  # noqa: ANN401 -- each factory has its own
        """Make the entry called `name`.

        Args:
            name: One of the names.
            **settings: What this entry's factory asks for; most ask for nothing.

        Raises:
            UnknownNameError: No entry has that name; the message lists those that exist.
        """
        if name not in self._factories:
            known = ", ".join(self._factories)
            raise UnknownNameError(f"Unknown {self.kind} {name!r}. Choose one of: {known}.")
        return self._factories[name](**settings)

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __contains__(self, name: object) -> bool:
        return name in self._factories
