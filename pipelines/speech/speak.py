"""A text -> a recording of it, sentence by sentence, with one pause between them."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.events import Done, Events, Progress, result_of
from pipelines.job_spec import SpeechOptions
from pipelines.speech.sentences import sentences
from pipelines.speech.synthesisers import KINDS, Synthesiser, speakers
from pipelines.weights import WeightStore
from rvc.audio.writer import AudioWriter
from rvc.errors import DownloadError, TextError

logger = logging.getLogger(__name__)

PAUSE_S = 0.35
EDGE_S = 0.15  # of silence before the first word and behind the last
SILENCE_PEAK = 0.003  # -50 dB below full scale: what is fainter at the ends of a sentence is none of it
LOADING_SHARE = 0.2
RETRY_S = 600.0  # so long, weights that could not be had, and can be done without, are not asked for again

_gave_up_s: dict[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class Spoken:
    synthesiser: str
    language: str


def speak(text: Path, destination: Path, options: SpeechOptions, store: WeightStore) -> Events[Spoken]:
    """Speak the text of a file into a recording, which appears when it is complete.

    Raises:
        TextError: Nothing in it can be said in this language.
        ConfigError, UnknownNameError: As of `speakers`.
        DownloadError: The weights of the synthesiser that is asked for cannot be had.
    """
    able = speakers(options)
    since = LOADING_SHARE if any(KINDS[name].downloads for name in able) else 0.0
    name, synthesiser = yield from _loaded(able, options.speed, store, since)
    language = able[name]
    said = sentences(text.read_text(encoding="utf-8"), language)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with AudioWriter(destination, synthesiser.rate_hz, "flac", bits=16) as out:
        for number, sentence in enumerate(said):
            yield Progress(
                stage="Saying the text",
                fraction=since + (1.0 - since) * number / len(said),
                message=f"{number + 1} of {len(said)}",
            )
            samples = _trimmed(synthesiser.say(sentence))
            if samples.size:
                out.write(_silence(PAUSE_S if out.samples else EDGE_S, out.rate_hz))
                out.write(samples)
        if not out.samples:
            raise TextError(
                f"Nothing in this text can be said in the language {options.language!r}; choose its own."
            )
        out.write(_silence(EDGE_S, out.rate_hz))
    yield Done(result=Spoken(synthesiser=name, language=language))


def _loaded(
    able: Mapping[str, str], speed: float, store: WeightStore, share: float
) -> Generator[Progress, None, tuple[str, Synthesiser]]:
    """Load the first synthesiser, each with its tag of the language, whose weights can be had."""
    *_, last = able
    for name, language in able.items():
        if name != last and time.monotonic() - _gave_up_s.get(name, -RETRY_S) < RETRY_S:
            continue
        try:
            synthesiser = yield from result_of(KINDS[name].load(language, speed, store), until=share)
        except DownloadError as error:
            if name == last:
                raise
            _gave_up_s[name] = time.monotonic()
            logger.warning("the text is spoken without %s: %s", name, error)
            yield Progress(stage="Looking for weights", fraction=share, message=f"Doing without {name}.")
        else:
            return name, synthesiser
    raise RuntimeError("No synthesiser is left.")


def _silence(seconds: float, rate_hz: int) -> NDArray[np.float32]:
    return np.zeros(round(seconds * rate_hz), dtype=np.float32)


def _trimmed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the silence off both ends."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE_PEAK)
    return samples[loud[0] : loud[-1] + 1] if loud.size else samples[:0]
