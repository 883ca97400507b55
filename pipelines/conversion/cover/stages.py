"""A song -> the same song in another voice: separate, convert, mix.

    work/vocals.wav, backing.wav    the song's two parts; of one that came as two files they are its uploads
    work/voice.flac, voice.json     the vocals in the other voice, and what was found out while converting

Each stage leaves its files whole or not at all, and one whose files are there is not done again; a
separation goes on within (separating.py). The vocals are converted as a song always: moved by whole octaves
or not at all, so that they stay in the key of the backing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import soundfile as sf

from pipelines.conversion.cover.mixing import Parts, mix
from pipelines.conversion.cover.separating import FindsVocals, find_vocals, write_stems
from pipelines.events import Done, Events, Progress, result_of
from pipelines.job_spec import CoverOptions
from pipelines.marks.provenance import WATERMARK, Provenance
from pipelines.store.records import RESULTS, STEMS
from rvc.errors import AudioError
from rvc.files import atomic_write
from rvc.steps import relay

if TYPE_CHECKING:
    from pipelines.conversion.convert import ConvertResult

Sing: TypeAlias = "Callable[[Path, Path], Events[ConvertResult]]"  # vocals to a file of the same in a voice

MIXING_SHARE = 0.05  # of what follows the separation
WRITING_SHARE = 0.05  # of a separation
_KEPT = ("transpose_semitones", "source_median_hz", "source_marked")


@dataclass(frozen=True, kw_only=True)
class CoverResult:
    path: Path
    seconds: float
    sample_rate_hz: int
    channels: int
    transpose_semitones: float
    source_median_hz: float | None  # of the vocals; None if nothing in them is voiced
    source_marked: bool  # whether the song had this program's watermark itself
    gain_db: float  # 0, or below where the mix was made softer so that nothing is clipped


def is_separated(folder: Path) -> bool:
    """Whether the parts of a song are in a job's folder."""
    return all((folder / STEMS[stem]).is_file() for stem in ("vocals", "backing"))


def clear(folder: Path) -> None:
    """Remove from a job's folder what a try that was killed was writing."""
    for path in (*folder.glob("work/.*.part"), *folder.glob(f"{RESULTS}/.*.part")):
        path.unlink()


def separate(song: Path, name: str, folder: Path, load: Callable[[], FindsVocals]) -> Events[None]:
    """Leave vocals and backing of a song in a job's folder.

    Raises:
        AudioError: Nobody sings in what it calls `name`.
    """
    stems = (folder / STEMS["vocals"], folder / STEMS["backing"])
    found = stems[0].with_suffix(".raw")
    found.parent.mkdir(exist_ok=True)

    def finding(share: float) -> Progress:
        return Progress(stage="Separating", fraction=share * (1 - WRITING_SHARE), needs_device=True)

    def writing(share: float) -> Progress:
        return Progress(stage="Separating", fraction=1 - WRITING_SHARE * (1 - share))

    yield finding(0.0)
    separator = load()
    yield from relay(find_vocals(song, found, separator), finding)
    try:
        yield from relay(write_stems(song, found, separator.rate_hz, stems, name), writing)
    except AudioError:
        found.unlink()
        raise
    found.unlink()
    yield Done(result=None)


def convert_vocals(parts: Parts, folder: Path, sing: Sing) -> Events[dict[str, Any]]:
    """Leave the vocals in the other voice in a job's folder, unless they are there; returns the facts."""
    kept = folder / "work" / "voice.json"
    if not (parts.voice.is_file() and kept.is_file()):
        kept.unlink(missing_ok=True)
        parts.voice.parent.mkdir(exist_ok=True)
        result = yield from result_of(sing(parts.vocals, parts.voice))
        with atomic_write(kept) as path:
            path.write_text(json.dumps({name: getattr(result, name) for name in _KEPT}), encoding="utf-8")
    yield Done(result=json.loads(kept.read_text(encoding="utf-8")))


def make_cover(
    parts: Parts, folder: Path, options: CoverOptions, sing: Sing, record: Provenance
) -> Events[CoverResult]:
    """Convert the vocals of a song and mix them with its backing; the tags of the result tell the record.

    The result has a random name, as Gradio serves a file to whoever knows its path.

    Raises:
        AudioError: The vocals hold no sound.
        ConfigError: As of `convert`.
    """
    facts = yield from result_of(convert_vocals(parts, folder, sing), until=1 - MIXING_SHARE)

    def mixing(share: float) -> Progress:
        return Progress(stage="Mixing", fraction=1 - MIXING_SHARE * (1 - share))

    yield mixing(0.0)
    destination = folder / RESULTS / f"{secrets.token_hex(8)}.{options.format}"
    destination.parent.mkdir(exist_ok=True)
    moved = {"transpose_semitones": round(facts["transpose_semitones"], 3)}
    if facts["source_marked"]:
        record = record.with_source(WATERMARK)
    gain_db = yield from relay(mix(parts, options, destination, record, moved), mixing)
    info = sf.info(parts.backing)
    yield Done(
        result=CoverResult(
            path=destination,
            seconds=info.frames / info.samplerate,
            sample_rate_hz=info.samplerate,
            channels=info.channels,
            gain_db=round(gain_db, 2),
            **facts,
        )
    )
