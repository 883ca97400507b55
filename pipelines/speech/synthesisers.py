"""Who speaks a text: what a synthesiser is, which there are, and which is taken for a language.

Light: the server reads it to say what can be spoken here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.events import Done, Events
from pipelines.job_spec import SYNTHESISERS, SpeechOptions
from pipelines.speech.espeak import Espeak, espeak_languages
from pipelines.speech.kokoro import kokoro_languages, load_kokoro
from pipelines.store.records import Rows
from pipelines.weights import WeightStore
from rvc.errors import ConfigError, UnknownNameError

# Of a language that is asked for without its region, what is taken where it is no language by itself.
_USUAL = {"en": "en-us", "fr": "fr-fr"}


class Synthesiser(Protocol):
    """A voice that reads sentences aloud; the same sentences in the same order sound the same."""

    rate_hz: int

    def say(self, sentence: str) -> NDArray[np.float32]:
        """Return the samples, (N,), in -1..1; none if nothing in it can be said."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    languages: Callable[[], Mapping[str, str]]  # tag in small letters -> English name; none if not installed
    load: Callable[[str, float, WeightStore], Events[Any]]  # a Synthesiser, for a language and a speed
    downloads: bool = False  # whether it needs weights that may not be had


def _load_espeak(language: str, speed: float, store: WeightStore) -> Events[Espeak]:
    del store  # its data is in the package
    yield Done(result=Espeak(language, speed))


KINDS: Mapping[str, Kind] = {
    "kokoro": Kind(languages=kokoro_languages, load=load_kokoro, downloads=True),
    "espeak-ng": Kind(languages=espeak_languages, load=_load_espeak),
}


def languages() -> Rows:
    """List what can be spoken here: language (a tag), its English name, synthesisers (the best first)."""
    names: dict[str, str] = {}
    for kind in KINDS.values():
        names |= kind.languages()
    return [
        {
            "language": tag,
            "name": name,
            "synthesisers": [kind for kind in SYNTHESISERS if tag in KINDS[kind].languages()],
        }
        for tag, name in sorted(names.items(), key=lambda item: item[1])
    ]


def speakers(options: SpeechOptions) -> dict[str, str]:
    """Return who can speak, the best first, each with its tag of the language; one, or none is asked for.

    Raises:
        ConfigError: No synthesiser is installed, or not the one that is asked for.
        UnknownNameError: It does not speak the language.
    """
    installed = [name for name in SYNTHESISERS if KINDS[name].languages()]
    asked = options.synthesiser
    if not installed:
        raise ConfigError(
            "No speech synthesiser is installed on this server, so it cannot read text aloud; "
            "install the package espeakng-loader, or convert a recording."
        )
    if asked and asked not in installed:
        raise ConfigError(
            f"The synthesiser {asked} is not installed on this server; leave it out, or choose one of: "
            f"{', '.join(installed)}."
        )
    tried = {name: _tag(options.language, name) for name in ([asked] if asked else installed)}
    able = {name: tag for name, tag in tried.items() if tag}
    if not able:
        who = f"The synthesiser {asked} speaks" if asked else "The synthesisers of this server speak"
        raise UnknownNameError(
            f"{who} no language {options.language!r}; choose one that speech_languages lists, such as 'en'."
        )
    return able


def _tag(language: str, synthesiser: str) -> str | None:
    """Return the synthesiser's own tag for a language: that itself, or with less or the usual region."""
    known, tag = KINDS[synthesiser].languages(), language.lower()
    while tag and tag not in known and _USUAL.get(tag) not in known:
        tag = tag.rpartition("-")[0]
    return tag if tag in known else _USUAL.get(tag)
