"""Which slices are heard when, which are held out, and every random number's seed.

Nothing here remembers anything: each answer follows from (seed, step, item) alone. That is why a training
that was stopped anywhere goes on exactly as if it had not been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.utils import deterministic as memory

HELD_OUT_SHARE = 0.07
MAX_HELD_OUT = 12  # more would make scoring slow and take audio away without a surer score
TICKET_S = 2.0


def seed_of(seed: int, *parts: str | int) -> int:
    """Derive a seed of 63 bits for one purpose, for example ("step", 120), from the training's."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_of(device: torch.device | str, seed: int, *parts: str | int) -> torch.Generator:
    """Make a fresh generator for one purpose, see `seed_of`."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *parts))


def split_held_out(keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hold out about 7 %, at most 12, by content alone; sorted. A single slice is trained on and scored."""
    if not keys or len(set(keys)) != len(keys):
        raise ValueError("A split needs at least one slice and each only once.")
    # Hashed once more, so that the choice is not the first ones of the sorted cache folder.
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"held out {key}".encode()).hexdigest())
    if len(ranked) == 1:
        return ranked, ranked
    count = min(max(round(HELD_OUT_SHARE * len(ranked)), 1), MAX_HELD_OUT)
    return sorted(ranked[count:]), sorted(ranked[:count])


class Order:
    """One shuffled epoch after the other; a slice takes part once for each started 2 s of its length."""

    def __init__(self, seconds: Sequence[float], seed: int) -> None:
        self.seed = seed
        self.tickets = [
            item for item, length in enumerate(seconds) for _ in range(max(1, -int(-length // TICKET_S)))
        ]
        self._epoch = -1
        self._permutation: list[int] = []

    def items(self, step: int, batch_size: int) -> list[int]:
        """Give the slices of a step, as positions in `seconds`."""
        first = step * batch_size
        return [self._at(position) for position in range(first, first + batch_size)]

    def epoch(self, step: int, batch_size: int) -> int:
        """Say how many times everything was heard before a step."""
        return step * batch_size // len(self.tickets)

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, len(self.tickets))
        if epoch != self._epoch:
            generator = generator_of("cpu", self.seed, "epoch", epoch)
            self._permutation = torch.randperm(len(self.tickets), generator=generator).tolist()
            self._epoch = epoch
        return self.tickets[self._permutation[place]]


@contextmanager
def fixed_arithmetic(threads: int, device: torch.device) -> Iterator[None]:
    """Fix threads and, on the CPU, algorithms whose sums depend on which thread comes first."""
    threads_before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill: bool = memory.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        torch.set_num_threads(threads)
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True, warn_only=True)
            # Filling every new tensor costs time and matters only to code that reads unwritten memory.
            memory.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
