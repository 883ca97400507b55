"""Slices -> what the engine wants to know of each, cached on disk.

One safetensors file a slice, named by a hash of the slice's bytes, the engine's `features_key` and the seed:
a second run computes only what changed. The files are mapped into memory, not read, so an hour of features
need not fit; a file is never changed in place.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rvc.audio.reader import load_mono
from rvc.errors import AudioError
from rvc.files import atomic_write
from rvc.training.order import seed_of, split_held_out
from rvc.training.task import Features, Task

logger = logging.getLogger(__name__)


class AudioSlice(Protocol):
    """A piece of a recording on disk."""

    @property
    def path(self) -> Path: ...

    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One slice, ready for training."""

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
