"""Kokoro: natural speech in some languages, from published weights that are downloaded once.

The package is kokoro-onnx (requirements-text.txt).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.events import Done, Events, Progress, result_of
from pipelines.weights import WeightStore

WEIGHTS = ("kokoro", "kokoro-voices")  # their names in the manifest
DOWNLOAD_SHARE = 0.9  # of getting ready, that the first of them takes
# By tag in small letters, the voice; of the languages whose sounds the package itself finds.
_VOICES = {
    "en-us": "af_heart",
    "en-gb": "bf_emma",
    "es": "ef_dora",
    "fr-fr": "ff_siwis",
    "hi": "hf_alpha",
    "it": "if_sara",
    "pt-br": "pf_dora",
}
_NAMES = {
    "en-us": "English (America)",
    "en-gb": "English (Great Britain)",
    "es": "Spanish (Spain)",
    "fr-fr": "French (France)",
    "hi": "Hindi",
    "it": "Italian",
    "pt-br": "Portuguese (Brazil)",
}


class Kokoro:
    rate_hz = 24_000

    def __init__(self, model: Any, language: str, speed: float) -> None:  # noqa: ANN401 -- of an extra package
        self._model, self._language, self._speed = model, language, speed

    def say(self, sentence: str) -> NDArray[np.float32]:
        """Return the samples, (N,), in -1..1; none of a sentence without a sound that it knows."""
        phonemes = self._model.tokenizer.phonemize(sentence, self._language)
        if not phonemes:
            return np.empty(0, dtype=np.float32)
        voice = _VOICES[self._language]
        samples, _ = self._model.create(phonemes, voice, self._speed, is_phonemes=True)
        return np.asarray(samples, dtype=np.float32)


def kokoro_languages() -> Mapping[str, str]:
    """Return its languages by tag, in small letters; none where it is not installed."""
    return _NAMES if find_spec("kokoro_onnx") else {}


def load_kokoro(language: str, speed: float, store: WeightStore) -> Events[Kokoro]:
    """Fetch the weights, and load them anew: so the noise in a text depends on no text before it."""
    model_path = yield from result_of(store.fetch(WEIGHTS[0]), until=DOWNLOAD_SHARE)
    voices_path = yield from result_of(store.fetch(WEIGHTS[1]), since=DOWNLOAD_SHARE)
    yield Progress(stage="Loading the synthesiser", fraction=1.0)
    import kokoro_onnx
    import onnxruntime

    onnxruntime.set_seed(0)
    yield Done(result=Kokoro(kokoro_onnx.Kokoro(str(model_path), str(voices_path)), language, speed))
