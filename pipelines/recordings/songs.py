"""A song that is sent in: one file, or its vocals and its backing as two, told apart by their names."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

from pipelines.recordings.sources import Named, readable_name, refuse
from pipelines.recordings.uploads import StoredFile, receive
from pipelines.settings import Settings
from pipelines.users.limits import Spend

VOCALS, BACKING = "vocals", "backing"
LENGTHS_APART_S = 0.1  # by which two files of one song may differ: encoders pad
# As programs that separate songs, and people, call them. What says "no vocals" names the backing.
_BACKING = re.compile(
    r"(?:no|non|minus|without|off)[ _-]?(?:vocals?|voice)|backing|instrumentals?|inst|karaoke|accompaniment"
    r"|playback|music"
)
_VOCALS = re.compile(r"vocals?|vox|voice|a[ _-]?cap+ella|singing|lead")


def receive_song(
    files: Named, folder: Path, settings: Settings, spend: Spend | None = None
) -> list[StoredFile]:
    """Check, keep and decode a song, with both channels if it has two, as `receive` does.

    Returns its one file, or the vocals and then the backing.
    """
    refuse(len(files) > 2, "A song is one file, or its vocals and its backing as two; send those alone.")
    if len(files) == 2:
        files = _vocals_first(files)
    stored = receive(files, folder, settings, spend, stereo=True)
    if len(stored) == 1:
        return [_with_note(stored[0])]
    try:
        _require_alike(*stored)
    except BaseException:
        shutil.rmtree(folder / "inputs")
        raise
    vocals, backing = stored
    return [replace(vocals, part=VOCALS), replace(_with_note(backing), part=BACKING)]


def _vocals_first(files: Named) -> Named:
    names = [readable_name(name) for _, name in files]
    parts = [_part_of(name) for name in names]
    refuse(
        parts[0] == parts[1],
        f"{names[0]} and {names[1]} do not say which is which; call one of them vocals and one backing.",
    )
    vocals = parts.index(VOCALS) if VOCALS in parts else 1 - parts.index(BACKING)
    return [files[vocals], files[1 - vocals]]


def _part_of(name: str) -> str | None:
    """Return what of a song a file holds, by its name."""
    for part, words in ((BACKING, _BACKING), (VOCALS, _VOCALS)):
        if re.search(rf"(?<![a-z])(?:{words.pattern})(?![a-z])", Path(name).stem.lower()):
            return part
    return None


def _with_note(backing: StoredFile) -> StoredFile:
    """Say that a mix of a mono song is none in stereo."""
    if backing.channels > 1 or backing.note is not None:
        return backing
    return replace(backing, note=f"{backing.name} is mono, so the mix is mono too.")


def _require_alike(vocals: StoredFile, backing: StoredFile) -> None:
    """Refuse two files that are not of one song."""
    rates = (vocals.sample_rate_hz, backing.sample_rate_hz)
    refuse(
        rates[0] != rates[1],
        f"{vocals.name} has {rates[0]} Hz and {backing.name} {rates[1]} Hz; export both at the same rate.",
    )
    refuse(
        abs(vocals.seconds - backing.seconds) > LENGTHS_APART_S,
        f"{vocals.name} is {vocals.seconds:.1f} seconds long and {backing.name} {backing.seconds:.1f}; "
        "export both from the beginning of the song to its end.",
    )
