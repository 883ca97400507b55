"""What a conversion needs before it begins: published weights, the loaded voice, and who finds the melody.

Weights are found or downloaded here, with progress, so that nothing is fetched while a voice speaks. What was
loaded last stays loaded: a converter that waits for the next job starts at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from pipelines.events import Done, Events, Progress
from pipelines.weights import WeightStore
from rvc.engine.card import read_card
from rvc.errors import DownloadError
from rvc.pitch.estimators import F0_ESTIMATORS
from rvc.pitch.f0 import F0Estimator
from rvc.voice import ENGINES, Voice

logger = logging.getLogger(__name__)

WARM_VOICES = 2
"""How many voices stay loaded."""

DOWNLOAD_SHARE = 0.3
"""How much of a conversion's progress bar the downloads get, if any are needed."""

RETRY_S = 600.0
"""For how long weights that could not be had, and that can be done without, are not asked for again."""

ESTIMATOR_WEIGHTS = {"rmvpe": "rmvpe"}
"""F0 estimators that need published weights -> their names in the manifest."""

_gave_up_s: dict[str, float] = {}

Found = Generator[Progress, None, Path]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ready:
    """All that a conversion needs.

    Attributes:
        voice: Loaded.
        estimator: Who finds the melody; None where the voice has no use for one.
        estimator_name: Its name in `F0_ESTIMATORS`.
        share: How much of the progress bar the preparation took.
    """

    voice: Voice
    estimator: F0Estimator | None
    estimator_name: str | None
    share: float


def ready_voice(folder: Path, f0_estimator: str | None, store: WeightStore) -> Events[Ready]:
    """Get a voice ready.

    Args:
        folder: The voice's bundle.
        f0_estimator: A name in `F0_ESTIMATORS`; None takes the best one for its engine whose weights can
            be had.
        store: Where published weights are.

    Yields:
        Progress up to `Ready.share` of the whole conversion, then Done.

    Raises:
        CheckpointError: The voice cannot be loaded, or needs a content encoder that is not known here.
        DownloadError: Weights that it needs are not here and cannot be had.
        UnknownNameError: There is no such engine or estimator.
    """
    card = read_card(folder)
    loader = ENGINES.build(card.engine)
    names = loader.weights(card)
    candidates = (f0_estimator,) if f0_estimator else loader.defaults.f0_estimators
    if card.document.get("uses_f0") is False:
        candidates = ()
    wanted = [*names, *(ESTIMATOR_WEIGHTS[name] for name in candidates[:1] if name in ESTIMATOR_WEIGHTS)]
    share = DOWNLOAD_SHARE if any(store.find(name) is None for name in wanted) else 0.0
    weights = {}
    for number, name in enumerate(names):
        weights[name] = yield from fitted(store.fetch(name), share, number, len(wanted))
    chosen, path = yield from fetched_estimator(candidates, store, share)
    yield Progress(stage="Loading the voice", fraction=share)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    voice = _voice(folder, (folder / "model.safetensors").stat().st_mtime_ns, device, tuple(weights.items()))
    estimator = None if chosen is None else _estimator(chosen, path, device)
    yield Done(result=Ready(voice=voice, estimator=estimator, estimator_name=chosen, share=share))


def fetched_estimator(
    candidates: Sequence[str], store: WeightStore, share: float
) -> Generator[Progress, None, tuple[str | None, Path | None]]:
    """Choose the first estimator whose weights can be had; return its name, and the file of its weights.

    Args:
        candidates: Names in `F0_ESTIMATORS`, the best first.
        store: Where published weights are.
        share: How much of a progress bar the downloads get.

    Raises:
        DownloadError: The last one's cannot be had.
    """
    for name in candidates:
        needed = ESTIMATOR_WEIGHTS.get(name)
        if needed is None:
            return name, None
        last = name == candidates[-1]
        if not last and time.monotonic() - _gave_up_s.get(needed, -RETRY_S) < RETRY_S:
            continue
        try:
            path = yield from fitted(store.fetch(needed), share, len(candidates) - 1, len(candidates))
        except DownloadError as error:
            if last:
                raise
            _gave_up_s[needed] = time.monotonic()
            logger.warning("the melody is found without %s: %s", name, error)
            yield Progress(stage="Looking for weights", fraction=share, message=f"Doing without {name}.")
        else:
            return name, path
    return None, None


def fitted(work: Events[Path], share: float, number: int, of: int) -> Found:
    """Pass a download's progress on as the so-manieth part of the share; return its file."""
    for event in work:
        if isinstance(event, Done):
            return event.result
        yield replace(event, fraction=share * (number + event.fraction) / of, eta_s=None)
    raise RuntimeError("The download ended without a file.")


@lru_cache(maxsize=WARM_VOICES)
def _voice(folder: Path, mtime_ns: int, device: str, weights: tuple[tuple[str, Path], ...]) -> Voice:
    """Load a voice, or return it as it was loaded last; the time is part of the key only."""
    return Voice.load(folder, device, dict(weights))


@lru_cache(maxsize=1)
def _estimator(name: str, weights: Path | None, device: str) -> F0Estimator:
    """Make an estimator, or return the one made last."""
    if weights is None:
        return F0_ESTIMATORS.build(name)
    return F0_ESTIMATORS.build(name, weights=weights, device=device)
