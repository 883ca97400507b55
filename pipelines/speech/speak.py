"""A text -> a recording of it, sentence by sentence, with one pause between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.events import Done, Events, Progress, result_of
from pipelines.job_spec import SpeechOptions
from pipelines.speech.sentences import sentences
from pipelines.speech.synthesisers import KINDS, chosen
from pipelines.weights import WeightStore
from rvc.audio.writer import AudioWriter
from rvc.errors import TextError

PAUSE_S = 0.35
EDGE_S = 0.15  # of silence before the first word and behind the last
SILENCE_PEAK = 0.003  # -50 dB below full scale: what is fainter at the ends of a sentence is none of it
LOADING_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Spoken:
    synthesiser: str
    language: str


def speak(text: Path, destination: Path, options: SpeechOptions, store: WeightStore) -> Events[Spoken]:
    """Speak the text of a file into a recording, which appears when it is complete.

    Raises:
        TextError: Nothing in it can be said in this language.
        ConfigError, UnknownNameError, DownloadError: As `chosen` and the weights have it.
    """
    name, language = chosen(options, store)
    kind = KINDS[name]
    since = LOADING_SHARE if kind.weights else 0.0
    synthesiser = yield from result_of(kind.load(language, options.speed, store), until=since)
    said = sentences(text.read_text(encoding="utf-8"), language)
    destination.parent.mkdir(exist_ok=True)
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


def _silence(seconds: float, rate_hz: int) -> NDArray[np.float32]:
    return np.zeros(round(seconds * rate_hz), dtype=np.float32)


def _trimmed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the silence off both ends."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE_PEAK)
    return samples[loud[0] : loud[-1] + 1] if loud.size else samples[:0]
