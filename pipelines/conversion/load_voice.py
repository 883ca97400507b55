"""What a conversion needs before it begins: published weights, the loaded voice, and who finds the melody.

Weights are found or downloaded here, with progress, so that nothing is fetched while a voice speaks. What was
loaded last stays loaded: a converter that waits for the next job starts at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from pipelines.events import Done, Events, Progress, result_of
from pipelines.weights import WeightStore
from rvc.engine.card import VoiceCard, read_card
from rvc.engine.options import engine_defaults
from rvc.errors import DownloadError
from rvc.pitch.estimators import f0_estimator
from rvc.pitch.f0 import F0Estimator
from rvc.voice import Voice, engine_loader

logger = logging.getLogger(__name__)

WARM_VOICES = 2  # so many stay loaded
DOWNLOAD_SHARE = 0.3  # of a conversion's progress bar, if anything must be downloaded
RETRY_S = 600.0  # so long, weights that could not be had, and can be done without, are not asked for again
ESTIMATOR_WEIGHTS = {"rmvpe": "rmvpe"}  # F0 estimators that need weights -> their names in the manifest

_gave_up_s: dict[str, float] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedVoice:
    voice: Voice
    estimator: F0Estimator | None  # None where the voice has no use for one
    estimator_name: str | None
    share: float  # how much of the progress bar the preparation took


def load_voice(folder: Path, asked: str | None, store: WeightStore) -> Events[LoadedVoice]:
    """Get the voice of a bundle ready, and the asked estimator; None takes the best one that can be had."""
    card = read_card(folder)
    names = engine_loader(card.engine).weights(card)
    candidates = (asked,) if asked else engine_defaults(card.engine).f0_estimators
    if card.document.get("uses_f0") is False:
        candidates = ()
    wanted = [*names, *(ESTIMATOR_WEIGHTS[name] for name in candidates[:1] if name in ESTIMATOR_WEIGHTS)]
    share = DOWNLOAD_SHARE if any(store.find(name) is None for name in wanted) else 0.0
    weights = []
    for number, name in enumerate(names):
        since, until = share * number / len(wanted), share * (number + 1) / len(wanted)
        path = yield from result_of(store.fetch(name), since=since, until=until)
        weights.append((name, path))
    chosen, of_estimator = yield from fetched_estimator(candidates, store, share)
    yield Progress(stage="Loading the voice", fraction=share)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    changed_ns = (folder / "model.safetensors").stat().st_mtime_ns
    voice = _voice(folder, changed_ns, card, device, tuple(weights))
    estimator = None if chosen is None else _estimator(chosen, of_estimator, device)
    yield Done(result=LoadedVoice(voice=voice, estimator=estimator, estimator_name=chosen, share=share))


def fetched_estimator(
    candidates: Sequence[str], store: WeightStore, share: float
) -> Generator[Progress, None, tuple[str | None, Path | None]]:
    """Choose the first estimator whose weights can be had; return its name and their file."""
    since = share * (len(candidates) - 1) / max(len(candidates), 1)
    for name in candidates:
        needed = ESTIMATOR_WEIGHTS.get(name)
        if needed is None:
            return name, None
        last = name == candidates[-1]
        if not last and time.monotonic() - _gave_up_s.get(needed, -RETRY_S) < RETRY_S:
            continue
        try:
            path = yield from result_of(store.fetch(needed), since=since, until=share)
        except DownloadError as error:
            if last:
                raise
            _gave_up_s[needed] = time.monotonic()
            logger.warning("the melody is found without %s: %s", name, error)
            yield Progress(stage="Looking for weights", fraction=share, message=f"Doing without {name}.")
        else:
            return name, path
    return None, None


@lru_cache(maxsize=WARM_VOICES)
def _voice(
    folder: Path, changed_ns: int, card: VoiceCard, device: str, weights: tuple[tuple[str, Path], ...]
) -> Voice:
    """Load a voice, or return it as it was loaded last; the time is part of the key only."""
    return Voice.load(folder, device, dict(weights), card)


@lru_cache(maxsize=1)
def _estimator(name: str, weights: Path | None, device: str) -> F0Estimator:
    """Make an estimator, or return the one made last."""
    if weights is None:
        return f0_estimator(name)
    return f0_estimator(name, weights=weights, device=device)
