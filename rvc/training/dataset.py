"""The slices of one voice as a training sees them: their features, who is held out, and when each is heard.

Features are cached on disk, one safetensors file a slice, named by a hash of the slice's bytes, the engine's
`features_key` and the seed: a second run computes only what changed. The files are mapped into memory, not
read, so an hour of features need not fit; a file is never changed in place.

The order remembers nothing: each answer follows from (seed, step, item) alone. That is why a training that
was stopped anywhere goes on exactly as if it had not been.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils import deterministic as memory

from rvc.audio.reader import load_mono
from rvc.errors import AudioError
from rvc.files import atomic_write
from rvc.training.task import Features, Task

logger = logging.getLogger(__name__)

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


class AudioSlice(Protocol):
    """A piece of a recording on disk."""

    @property
    def path(self) -> Path: ...

    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Slice:
    key: str  # SHA-256 of the sound file's bytes
    seconds: float
    features: Features


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """All slices of one voice: what is trained on and what is only scored; a single slice is in both."""

    train: tuple[Slice, ...]
    held_out: tuple[Slice, ...]

    @classmethod
    def divide(cls, slices: Sequence[Slice]) -> TrainingSet:
        """Hold some slices out, chosen by their content; at least one slice, each content once."""
        by_key = {piece.key: piece for piece in slices}
        train, held_out = (tuple(by_key[key] for key in keys) for keys in split_held_out(list(by_key)))
        return cls(train=train, held_out=held_out)

    @property
    def slices(self) -> list[Slice]:
        """All of them, each once, in a fixed order."""
        return list({piece.key: piece for piece in (*self.train, *self.held_out)}.values())

    @property
    def seconds(self) -> float:
        return sum(piece.seconds for piece in self.slices)

    @property
    def digest(self) -> str:
        """A hash of which slices there are."""
        return hashlib.sha256(" ".join(sorted(piece.key for piece in self.slices)).encode()).hexdigest()


def extract_features(
    task: Task, slices: Sequence[AudioSlice], folder: Path, seed: int
) -> Generator[int, None, list[Slice]]:
    """Extract the features of all slices, or read them from the cache; of the same bytes the first counts.

    Yields the number of slices that are done. Features that belong to none of the slices are deleted.
    AudioError if a slice cannot be read or there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Slice] = {}
    cached: set[Path] = set()
    for number, piece in enumerate(slices, start=1):
        try:
            key = hashlib.sha256(piece.path.read_bytes()).hexdigest()
        except OSError as error:
            raise AudioError(
                f"The slice {piece.path.name} of the prepared recordings cannot be read; "
                "prepare the recordings again."
            ) from error
        if key not in found:
            name = hashlib.sha256(f"{key} {task.features_key} {seed}".encode()).hexdigest()
            path = folder / f"{name}.safetensors"
            cached.add(path)
            features = _read(path)
            if features is None:
                wav, rate_hz = load_mono(piece.path)
                _write(path, task.extract(wav, rate_hz, seed_of(seed, "features", key)))
                # Through the file even now, so that the first run sees just what a resumed one sees.
                features = load_file(path)
            found[key] = Slice(key=key, seconds=piece.seconds, features=features)
        yield number
    if not found:
        raise AudioError("There are no slices to train on; prepare the recordings first.")
    for path in folder.iterdir():
        if path not in cached:
            path.unlink()
    return list(found.values())


def _read(path: Path) -> dict[str, Tensor] | None:
    if not path.exists():
        return None
    try:
        return load_file(path)
    except SafetensorError:
        logger.warning("features: %s is damaged and will be extracted again", path.name)
        return None


def _write(path: Path, features: dict[str, Tensor]) -> None:
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in features.items()}
    with atomic_write(path) as partial:
        save_file(plain, partial)
