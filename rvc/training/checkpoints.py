"""What a training writes and may not lose: its states, and the finished voice.

A state is one file, `step-00000300.ckpt`, whose checksum tells whether the disk has damaged it since:

    timbre-checkpoint 1 <sha256 of everything after this line>
    {"step": 300, "best_step": 200}
    <what torch.save writes>
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch

from rvc.errors import CheckpointError
from rvc.files import atomic_write, flush

logger = logging.getLogger(__name__)
MAGIC = b"timbre-checkpoint 1 "
HEX_DIGITS = 64
KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Found:
    """The newest good state, tensors on the CPU; `message` is one sentence if newer ones were damaged."""

    step: int
    state: dict[str, Any]
    message: str


class CheckpointStore:
    """One training's checkpoints: the last two, as one may be lost, and what each calls the best."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in (".*.part", "*.partial"):  # the second is what older versions left
            for leftover in folder.glob(pattern):
                leftover.unlink(missing_ok=True)  # a group's processes all come here

    def save(self, step: int, best_step: int | None, state: dict[str, Any]) -> Path:
        """Write one state for good; drop those that are neither among the last two nor their best."""
        path = self._path(step)
        with atomic_write(path) as partial, partial.open("wb+") as file:
            _write(file, {"step": step, "best_step": best_step}, state)
        self._prune()
        return path

    def read(self, step: int) -> dict[str, Any]:
        """Read the state of one step, tensors on the CPU; CheckpointError if it is not there or damaged."""
        path = self._path(step)
        try:
            with path.open("rb") as file:
                return _read(file, path.name)
        except FileNotFoundError as error:
            raise CheckpointError(f"There is no checkpoint of step {step}.") from error
        except OSError as error:
            raise CheckpointError(f"The disk cannot read the checkpoint of step {step}: {error}.") from error

    def newest(self) -> Found | None:
        """Find the newest good state, setting damaged ones aside; CheckpointError if all are."""
        damaged: list[Path] = []
        for step in sorted(self._steps(), reverse=True):
            try:
                state = self.read(step)
            except CheckpointError as error:
                logger.warning("%s", error)
                damaged.append(self._path(step))
                continue
            for path in damaged:
                path.replace(path.with_suffix(".damaged"))
            names = ", ".join(path.name for path in sorted(damaged))
            message = f"Damaged and left out: {names}; the training goes on from step {step} instead."
            return Found(step=step, state=state, message=message if damaged else "")
        lost = len(damaged) + len(list(self.folder.glob("*.damaged")))
        if lost:
            # Going on from step 0 would throw hours away without a word.
            raise CheckpointError(
                f"All checkpoints of this training are damaged ({lost} of {lost} unreadable), so it "
                "cannot be resumed; start a new training from the same recordings."
            )
        return None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.ckpt"

    def _steps(self) -> list[int]:
        return [int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.ckpt")]

    def _prune(self) -> None:
        steps = sorted(self._steps())
        last = steps[-KEPT:]
        kept = {*last, *(self._best_step(step) for step in last)}
        for step in steps:
            if step not in kept:
                self._path(step).unlink()
        if len(steps) >= KEPT:
            for path in self.folder.glob("*.damaged"):
                path.unlink()

    def _best_step(self, step: int) -> int | None:
        """Read which state this one calls the best, without its weights."""
        try:
            with self._path(step).open("rb") as file:
                file.readline()
                return cast("int | None", json.loads(file.readline())["best_step"])
        except (OSError, ValueError, KeyError):
            return None


def _write(file: BufferedRandom, facts: dict[str, int | None], state: dict[str, Any]) -> None:
    file.write(MAGIC + b"0" * HEX_DIGITS + b"\n")
    start = file.tell()
    file.write(json.dumps(facts).encode() + b"\n")
    torch.save(state, file)
    file.seek(start)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(len(MAGIC))
    file.write(digest.encode())


def _read(file: BufferedReader, name: str) -> dict[str, Any]:
    line = file.readline(len(MAGIC) + HEX_DIGITS + 1)
    start = file.tell()
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if line != MAGIC + digest.encode() + b"\n":
        raise CheckpointError(f"The checkpoint {name} is damaged: its checksum does not match.")
    file.seek(start)
    file.readline()
    try:
        return cast("dict[str, Any]", torch.load(file, map_location="cpu", weights_only=True))
    except (RuntimeError, UnpicklingError, EOFError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint {name} holds something else than weights and numbers."
        ) from error


@contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `folder` if the block ends well, and else is deleted."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (folder.with_name(f".{folder.name}.{end}") for end in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for path in [*partial.iterdir(), partial]:
            flush(path)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():  # a folder that is full cannot be replaced
            folder.replace(old)
        partial.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
        flush(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
