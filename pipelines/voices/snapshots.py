"""What a training had learned at its scorings: each a voice that can be published, several of them kept.

    <work>/snapshots/index.faiss    the retrieval index, the same for all of them
    <work>/snapshots/00000300/      card.json and model.safetensors, as an export writes them
    <work>/samples/000300.wav       the held-out sentence as that voice says it
    <work>/samples/reference.wav    and as it was recorded

The training writes them, in a child process; the server reads them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.voices import bundle as bundles
from rvc.errors import CheckpointError, UnknownNameError

MOST, FEWEST = 12, 3
MOST_BYTES = 400_000_000  # of one training's snapshots, unless its voices are so large that three are more


class Snapshots:
    def __init__(self, work: Path) -> None:
        self._folder = work / "snapshots"
        self._samples = work / "samples"

    @property
    def index(self) -> Path:
        return self._folder / bundles.INDEX

    def folder(self, step: int) -> Path:
        """Return where the snapshot of a step is, or shall be."""
        return self._folder / f"{step:08d}"

    def steps(self) -> list[int]:
        found = self._folder.glob(f"[0-9]*/{bundles.CARD}")
        return sorted(int(path.parent.name) for path in found if path.parent.name.isdecimal())

    def thin(self, best_step: int | None) -> None:
        """Remove those that are too many, after one more was written."""
        steps = self.steps()
        size = bundles.size_bytes(self.folder(steps[-1])) if steps else 0
        most = max(FEWEST, min(MOST, MOST_BYTES // max(size, 1)))
        for step in superfluous(steps, best_step, most):
            shutil.rmtree(self.folder(step), ignore_errors=True)

    def distances(self) -> dict[int, float | None]:
        """Return by step how far each scored state was from the recordings, None where that is infinite."""
        steps = self.steps()
        if not steps:
            return {}
        scores: list[dict[str, Any]] = bundles.read_card(self.folder(steps[-1]))["training"]["scores"]
        return {int(score["step"]): score["total"] for score in scores}

    def sample(self, step: int) -> Path:
        """Return what the voice of a step says; of step 0, how the sentence was recorded."""
        path = self._samples / (f"{step:06d}.wav" if step else "reference.wav")
        if not path.is_file():
            raise UnknownNameError(f"There is no sample of step {step}; list_samples names those there are.")
        return path

    def heard(self) -> list[int]:
        """Return the steps whose voice can be heard and published."""
        return [step for step in self.steps() if (self._samples / f"{step:06d}.wav").is_file()]

    def size_bytes(self, step: int) -> int:
        """Return how large the voice of a step is as a whole."""
        return sum(path.stat().st_size for path in self._files_of(step) if path.is_file())

    def _files_of(self, step: int) -> list[Path]:
        source = self.folder(step)
        sample = source / bundles.SAMPLE
        named = [source / bundles.CARD, source / bundles.WEIGHTS, self.index]
        return [*named, sample] if sample.is_file() else named

    def bundle(self, step: int, folder: Path) -> None:
        """Make a whole voice of a snapshot, in an empty folder."""
        source = self.folder(step)
        if not (source / bundles.CARD).is_file():
            raise UnknownNameError(f"The voice of step {step} was not kept; list_samples names those kept.")
        try:
            for path in self._files_of(step):
                shutil.copyfile(path, folder / path.name)
        except FileNotFoundError as error:
            raise CheckpointError(
                f"The voice of step {step} is no longer whole; choose another step."
            ) from error


def superfluous(steps: Sequence[int], best_step: int | None, most: int) -> list[int]:
    """Return which steps, in rising order, have to go so that `most` are left, evenly spaced.

    The first, the best and the newest stay: of the others the one goes that is missed least.
    """
    kept, gone = list(steps), []
    while len(kept) > max(most, FEWEST):
        inner = [n for n in range(1, len(kept) - 1) if kept[n] != best_step]
        least = min(inner, key=lambda n: (kept[n + 1] - kept[n - 1], n))
        gone.append(kept.pop(least))
    return gone
