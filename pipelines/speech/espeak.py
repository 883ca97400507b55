"""eSpeak NG: every language, at once, from rules; it sounds like the machine that it is.

Its library and data come in the package espeakng-loader, or with the system. The library keeps its state from
sentence to sentence and even over its own end; so each sentence is spoken in a child of its own, which makes
it sound the same whatever was said before, and which can be spared if a text breaks the library down.

    python -m rvc.sandbox pipelines.speech.espeak PARENT_PID    speak one sentence; samples on standard output
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.job_spec import LANGUAGE
from rvc.errors import TextError
from rvc.sandbox import ChildDiedError, Order, TooSlowError, run_sandboxed, serve

RATE_HZ = 22_050
WORDS_A_MINUTE = 175  # at speed 1
_PATIENCE_S = 60.0
_DATA = "espeak-ng-data"
_LIBRARIES = {"win32": "espeak-ng.dll", "darwin": "libespeak-ng.dylib"}
_SYSTEM = ("/usr/lib", "/usr/share", "/usr/local/lib", "/usr/local/share", "/opt/homebrew/share")
_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000  # espeak_AUDIO_OUTPUT, an option of espeak_Initialize
_UTF8, _RATE_PARAMETER = 1, 1
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(ctypes.c_char)
)


class Espeak:
    rate_hz = RATE_HZ

    def __init__(self, language: str, speed: float) -> None:
        self._order: Order = {
            "voice": _voices()[language][0],
            "words_a_minute": round(WORDS_A_MINUTE * speed),
            "cpu_s": 30,
            "file_bytes": 1,
            "memory_bytes": 200_000_000,
        }

    def say(self, sentence: str) -> NDArray[np.float32]:
        """Return the samples, (N,), in -1..1; TextError for what breaks the library down."""
        order = {**self._order, "sentence": sentence}
        try:
            samples = run_sandboxed("pipelines.speech.espeak", order, _PATIENCE_S)
        except (ChildDiedError, TooSlowError) as error:
            raise TextError(
                f"The sentence {sentence[:40]!r} cannot be spoken; leave it out, or write it in another way."
            ) from error
        return np.frombuffer(samples, dtype=np.int16).astype(np.float32) / np.float32(32_768)


def espeak_languages() -> Mapping[str, str]:
    """Return by tag, in small letters, what espeak-ng calls its languages; none where it is not installed."""
    return {tag: name for tag, (_, name) in _voices().items()}


@lru_cache(maxsize=1)
def _voices() -> Mapping[str, tuple[str, str]]:
    """Return by tag the file of a language, in the folder of them, and what it is called there."""
    data, found = _home() / _DATA, {}
    for path in sorted((data / "lang").rglob("*")):
        if path.is_file():
            lines = path.read_text("utf-8", errors="replace").splitlines()
            pairs = [line.split(maxsplit=1) for line in lines]
            said = {
                pair[0]: pair[1].strip() for pair in reversed(pairs) if len(pair) == 2
            }  # the first of each
            tag = said["language"].split()[0].lower()
            dictionary = said.get("dictionary", tag.partition("-")[0])
            # Of some languages there is no dictionary, and Klingon's tag is none.
            if (data / f"{dictionary}_dict").is_file() and LANGUAGE.fullmatch(tag):
                name = said["name"].partition("//")[0].strip()
                found[tag.replace("cmn", "zh")] = path.relative_to(data / "lang").as_posix(), name
    return found


def _home() -> Path:
    """Return the folder that holds the data; one that does not exist where there is none."""
    package = find_spec("espeakng_loader")
    packaged = [Path(package.origin).parent] if package and package.origin else []
    system = [folder for place in _SYSTEM for folder in (Path(place), *Path(place).glob("*-linux-gnu*"))]
    return next((one for one in (*packaged, *system) if (one / _DATA / "lang").is_dir()), Path("espeak-ng"))


def _say(order: Order) -> bytes:
    """Be the child: speak a sentence; returns its samples, 16 bits each."""
    home = _home()
    name = _LIBRARIES.get(sys.platform, "libespeak-ng.so.1")
    library = ctypes.CDLL(str(home / name) if (home / name).is_file() else name)
    spoken: list[bytes] = []

    def keep(samples: ctypes._Pointer[ctypes.c_short], count: int, _: object) -> int:
        if samples and count > 0:
            spoken.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _CALLBACK(keep)
    os.chdir(home)  # a path of more than 160 bytes has no room in the library
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, b".", _DO_NOT_EXIT)
    if rate != RATE_HZ:
        raise RuntimeError(f"espeak-ng cannot be started from {home} ({rate})")
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(order["voice"].encode()) != 0:
        raise RuntimeError(f"espeak-ng has no voice {order['voice']}")
    library.espeak_SetParameter(_RATE_PARAMETER, order["words_a_minute"], 0)
    text = order["sentence"].encode() + b"\0"
    library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None)
    return b"".join(spoken)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], _say))
