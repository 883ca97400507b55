"""What is kept of the right to use a voice: who stated it and when, the spoken consent, the lock.

    card.json     consent {statement, given_at, stated_by, spoken {speaker, sentence, recorded_at, seconds}},
                  locked
    consent.mp3   what was spoken, exported with the voice

A recording is checked for its sound and length, never for who speaks: it can be shown, and no more. A lock
keeps a voice from being exported by page, programs and command line; whoever can read the data folder, or its
backups, has the files all the same.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from pipelines.store.records import Caller, Row, checked_name, now
from pipelines.voices import bundle as bundles
from pipelines.voices.library import Library
from rvc.audio.spoken_consent import keep_spoken
from rvc.errors import ConfigError, UnknownNameError

logger = logging.getLogger(__name__)


def record_consent(library: Library, caller: Caller, model_id: str, file: Path, spoken: Row) -> Row:
    """Keep a spoken consent with a voice, in the place of an earlier one, and return the voice's row.

    `spoken`: speaker, sentence (that was to be read), and name, what messages call the file.

    Raises:
        AudioError: The recording is too short or too long, or holds almost no sound.
    """
    row = library.changeable(caller, model_id)
    speaker = checked_name(spoken["speaker"], "speaker")
    home = library.folder(caller, model_id)
    with library.staging("incoming") as staging:
        made = staging / bundles.SPOKEN_CONSENT
        seconds = keep_spoken(file, spoken["name"], made)
        at = bundles.moment_of(now())
        said = {"speaker": speaker, "sentence": spoken["sentence"], "recorded_at": at, "seconds": seconds}
        stated = row.get("consent") or {"statement": bundles.GIVEN}
        consent = stated | {"spoken": said}
        shutil.copyfile(made, home / f".{bundles.SPOKEN_CONSENT}.part")
        (home / f".{bundles.SPOKEN_CONSENT}.part").replace(home / bundles.SPOKEN_CONSENT)
    library.rewrite(row, {"consent": consent}, consent=consent)
    return library.get(caller, model_id)


def consent_recording(library: Library, caller: Caller, model_id: str) -> Path:
    """Return the spoken consent of a voice."""
    row = library.get(caller, model_id)
    path = library.folder(caller, model_id) / bundles.SPOKEN_CONSENT
    if not path.is_file():
        name = row["model_name"]
        raise UnknownNameError(f"No spoken consent is kept with {name}; record one on the Voices tab.")
    return path


def set_lock(library: Library, caller: Caller, model_id: str, locked: object) -> Row:
    """Lock a voice against export, or take the lock off; return its row."""
    if not isinstance(locked, bool):
        raise ConfigError(f"Whether the voice is locked is {str(locked)[:20]!r}; give true or false.")
    row = library.changeable(caller, model_id)
    library.rewrite(row, {"locked": locked}, locked=locked)
    return library.get(caller, model_id)


def blends_of(library: Library, caller: Caller, model_id: str) -> list[str]:
    """Return the names of the caller's voices that a voice is part of."""
    with suppress(OSError):
        own = bundles.fingerprint(library.folder(caller, model_id))
        rows = library.list(caller)
        return [
            str(row["model_name"])
            for row in rows
            if any(parent["fingerprint"] == own for parent in row.get("parents") or ())
        ]
    return []
