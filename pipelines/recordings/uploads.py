"""What may come in: recordings of known type and bounded size.

    <folder>/inputs/000.original.mp3    the bytes as they came, extension by content
    <folder>/inputs/000.wav             float32 at its own rate, mono unless of a song; not of a batch

Files get numbers for names, so that nothing a person typed becomes a path; what they were called is kept for
messages and lists. Of a voice and of a batch, a file that cannot be used is listed with its reason and the
others are taken; both may come in zips. A batch decodes its recordings itself, file by file.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.recordings.sources import Named, Source, readable_name, ready, refuse, size_of, sources_of
from pipelines.settings import Settings
from pipelines.store.records import Row, Rows
from pipelines.users.limits import Spend, require_room
from rvc.audio.reader import AudioInfo, blocks, channels_read, probe
from rvc.audio.writer import AudioWriter
from rvc.errors import AudioError, ConfigError

MIN_SECONDS = 0.5
MIN_VOICE_SECONDS = 10.0  # of all recordings of a voice together: less does not hold the sounds of a language
# -80 dB below full scale: a converter adds less to silence, and speech in a float file may be this faint.
SILENCE_PEAK = 1e-4
MOST_NAMED = 10  # refused files in one sentence

_SAMPLE_BYTES = 4
_UNPACKED = ".unpacked"  # what came in zips, in the folder of the inputs until each is kept


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One recording of an upload, on disk; paths are relative to the upload's folder."""

    name: str  # what the person called it, for messages; never a path
    original: str  # the bytes as they came
    audio: str  # the decoded recording; of a batch the original
    seconds: float  # decoded length; of a batch what its header says
    sample_rate_hz: int  # of the original and of `audio`
    channels: int  # of the original
    codec: str  # of the original ("pcm_16", "mp3", "opus", ...)
    sha256: str  # of the original bytes, in hex
    size_bytes: int  # of the original
    note: str | None = None  # a sentence on how it was read, where the person should know
    part: str | None = None  # of a song that came as two files: "vocals" or "backing"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StoredFile:
        """Make one from what `to_json` gave; keys of other versions are ignored, or may lack."""
        return cls(**{field.name: row[field.name] for field in fields(cls) if field.name in row})


def receive(
    files: Named, folder: Path, settings: Settings, spend: Spend | None = None, *, stereo: bool = False
) -> list[StoredFile]:
    """Check, keep and decode the files of one upload, in the order given; all of them or none.

    `folder` is made if need be and holds no `inputs` yet; `spend` asks for room on the disk. AudioError if
    one is no recording that can be used, or is too much, LimitError from `spend`; nothing is left then.
    With `stereo`, what has two channels is decoded with both.
    """
    refuse(not files, "No file was chosen; choose at least one recording.")
    most = settings.max_files
    refuse(len(files) > most, f"You chose {len(files)} files; upload at most {most} at a time.")
    sources = [Source(path=path, name=readable_name(name), size_bytes=size_of(path)) for path, name in files]

    def not_taken(source: Source, error: AudioError) -> None:
        raise error

    with _inputs(folder) as inputs:
        return _decoded(sources, inputs, _Meter(settings, spend), not_taken, stereo=stereo)


def receive_voice(
    files: Named, folder: Path, settings: Settings, spend: Spend | None = None
) -> tuple[list[StoredFile], Rows]:
    """Check, keep and decode the recordings of a voice, which may come in zips, as `receive` does.

    Returns those that are taken, and name and reason of each that is not. AudioError if too little is left,
    or it is too much.
    """
    refused: Rows = []
    sources = sources_of(files, most=settings.max_voice_files, most_mb=settings.max_decoded_mb)
    with _inputs(folder) as inputs:
        stored = _decoded(
            sources, inputs, _Meter(settings, spend),
            lambda source, error: refused.append({"name": source.name, "reason": str(error)}),
        )  # fmt: skip
        _require_enough(stored, refused)
    return stored, refused


def receive_batch(files: Named, folder: Path, settings: Settings, spend: Spend | None = None) -> Rows:
    """Keep the recordings of a batch, which may come in zips; `folder` exists, without `inputs` in it.

    Returns one row for each, in order: that of `StoredFile`, status "waiting" and reason None; or, of one
    that is refused, name, size_bytes, seconds (0), status "failed" and reason. AudioError if they are too
    much, or not one can be used, LimitError from `spend`; nothing is left behind then.
    """
    rows: Rows = []
    sources = sources_of(files, most=settings.max_files, most_mb=settings.max_batch_mb)
    needed = sum(source.size_bytes for source in sources)
    if spend is not None:
        spend(needed)
    require_room(folder, needed, "these recordings")
    with _inputs(folder) as inputs:
        sources = ready(sources, inputs / _UNPACKED, settings.max_file_size_bytes)
        for number, source in enumerate(sources):
            try:
                stored, info = _keep(source, inputs / f"{number:03d}", settings)
            except AudioError as error:
                row = {"name": source.name, "size_bytes": source.size_bytes, "seconds": 0.0}
                rows.append(row | {"status": "failed", "reason": str(error)})
            else:
                stored = replace(stored, seconds=min(info.seconds, settings.max_audio_seconds))
                rows.append(stored.to_json() | {"status": "waiting", "reason": None})
        _refuse_if_none_is_left(sum(row["status"] == "waiting" for row in rows), rows)
    return rows


def batch_files(uploads: Rows, settings: Settings) -> Rows:
    """Return the rows of all recordings of some uploads as a batch begins with them."""
    files = [
        {"status": "waiting", "reason": None, **file, "upload_id": upload["id"]}
        for upload in uploads
        for file in upload["files"]
    ]
    if len(files) > settings.max_files:
        raise ConfigError(f"These are {len(files)} files; convert at most {settings.max_files} at a time.")
    return files


def has_more_to_do(row: Row) -> bool:
    """Whether a completed batch left out recordings that may be tried again; the row may be a public one."""
    files = row["files"] if row["type"] == "batch" and row["status"] == "completed" else []
    # Of what was refused at its upload nothing is known, nor kept.
    return any(file["status"] == "failed" and "codec" in file for file in files)


def tried_again(files: Rows) -> Row:
    """Return the changes with which a batch goes on: what has failed waits again."""
    waiting: Row = {"status": "waiting", "reason": None}
    rows = [file | waiting if file["status"] == "failed" and "codec" in file else file for file in files]
    dealt_with = sum(row["status"] != "waiting" for row in rows)
    return {"files": rows, "progress": dealt_with / len(rows)}


def _require_enough(stored: Sequence[StoredFile], refused: Rows) -> None:
    """Refuse recordings of a voice that are too short in all to learn it from."""
    _refuse_if_none_is_left(len(stored), refused)
    seconds = sum(file.seconds for file in stored)
    what = stored[0].name if len(stored) == 1 else "All of this together"
    said = f"{what} is {seconds:.1f} seconds long; a voice needs at least {MIN_VOICE_SECONDS:.0f} seconds"
    too_short = f"{said}, and sounds best from five minutes."
    if refused:
        too_short = f"{said}, and sounds best from five minutes; not used: {_in_brief(refused)}."
    refuse(seconds < MIN_VOICE_SECONDS, too_short)


def _refuse_if_none_is_left(left: int, refused: Rows) -> None:
    if not left:
        reason = str(refused[0]["reason"])
        said = f"None of the {len(refused)} files can be used: {_in_brief(refused)}."
        refuse(wrong=True, sentence=reason if len(refused) == 1 else said)


def _in_brief(refused: Rows) -> str:
    """Say of several files what is wrong with each, without the ways out."""
    said = [str(row["reason"]).partition(";")[0].rstrip(".") for row in refused[:MOST_NAMED]]
    more = len(refused) - MOST_NAMED
    return ", ".join(said) + (f", and {more} more" if more > 0 else "")


def decode(  # noqa: PLR0913 -- by name, and they have a default
    original: Path,
    audio: Path,
    name: str,
    max_seconds: float,
    info: AudioInfo | None = None,
    *,
    stereo: bool = False,
) -> Generator[float, None, None]:
    """Decode to a WAV of float32 at the recording's own rate, mono or, of two channels, with both.

    Yields the seconds so far before each block is written, so that a caller may refuse it; the last are all.
    AudioError if it is damaged, too short, too long or silent; nothing is left behind then.
    """
    info = info or probe(original, name=name)
    rate_hz, low, high, total = info.sample_rate_hz, math.inf, -math.inf, 0.0
    channels = channels_read(info, stereo=stereo)
    with AudioWriter(audio, rate_hz, "wav", bits=32, channels=channels) as out:
        for block in blocks(original, max_seconds=max_seconds, name=name, info=info, stereo=stereo):
            low, high = min(low, float(block.min())), max(high, float(block.max()))
            total += float(block.sum(dtype=np.float64))
            yield (out.samples + len(block)) / rate_hz
            out.write(block)
        seconds = out.samples / rate_hz
        short = f"{name} is only {seconds:.2f} seconds long; record at least half a second."
        refuse(seconds < MIN_SECONDS, short)
        mean = total / (out.samples * channels)  # an offset is no sound
        silent = f"{name} is silent; check the microphone or the export, and record it again."
        refuse(max(high - mean, mean - low) < SILENCE_PEAK, silent)


@contextmanager
def _inputs(folder: Path) -> Iterator[Path]:
    """Give a hidden folder that becomes `inputs` if all goes well; else all is as it was before."""
    made_folder = not folder.exists()
    staging = folder / f".inputs.{uuid.uuid4().hex[:8]}"
    staging.mkdir(parents=True)
    try:
        yield staging
        shutil.rmtree(staging / _UNPACKED, ignore_errors=True)
        staging.rename(folder / "inputs")
    except BaseException:
        shutil.rmtree(folder if made_folder else staging, ignore_errors=True)
        raise


def _decoded(
    sources: Sequence[Source],
    inputs: Path,
    meter: _Meter,
    not_taken: Callable[[Source, AudioError], object],
    *,
    stereo: bool = False,
) -> list[StoredFile]:
    """Keep and decode what was sent in; `not_taken` hears of what cannot be used, which leaves nothing."""
    meter.plan(sum(source.size_bytes for source in sources))
    from_zips = sum(source.size_bytes for source in sources if source.packed is not None)
    if from_zips:
        require_room(inputs, from_zips, "these recordings")
    stored: list[StoredFile] = []
    for source in ready(sources, inputs / _UNPACKED, meter.settings.max_file_size_bytes):
        place, before = inputs / f"{len(stored):03d}", meter.counts
        try:
            stored.append(_decoded_one(source, place, meter, stereo=stereo))
        except _TooMuchError:
            raise
        except AudioError as error:
            meter.go_back((before[0] - source.size_bytes, before[1]))
            not_taken(source, error)
    return stored


def _decoded_one(source: Source, place: Path, meter: _Meter, *, stereo: bool) -> StoredFile:
    settings = meter.settings
    require_room(place.parent, 0 if source.packed else source.size_bytes, source.name)
    kept, info = _keep(source, place, settings)
    original, audio, seconds = place.parent / Path(kept.original).name, place.with_suffix(".wav"), 0.0
    try:
        meter.wrote(kept.size_bytes)
        stated_s = min(info.seconds, settings.max_audio_seconds) if info.length_is_stated else 0.0
        frame_bytes = _SAMPLE_BYTES * channels_read(info, stereo=stereo)
        planned = round(stated_s * info.sample_rate_hz) * frame_bytes
        meter.plan(planned)
        require_room(place.parent, planned, source.name)
        work = decode(original, audio, source.name, settings.max_audio_seconds, info, stereo=stereo)
        with closing(work) as steps:
            for decoded_s in steps:
                meter.wrote(round((decoded_s - seconds) * info.sample_rate_hz) * frame_bytes)
                seconds = decoded_s
    except AudioError:
        original.unlink()
        raise
    return replace(kept, audio=f"inputs/{audio.name}", seconds=seconds)


def _keep(source: Source, place: Path, settings: Settings) -> tuple[StoredFile, AudioInfo]:
    """Keep a recording as it came, at `place` with its extension behind; AudioError if it is none."""
    if source.refusal is not None:
        raise source.refusal
    too_large = source.size_bytes > settings.max_file_size_bytes
    refuse(
        too_large,
        f"{source.name} has {source.size_bytes / 1e6:.4g} MB; upload files of at most "
        f"{settings.max_file_size_mb:g} MB (FLAC or MP3 take less room than WAV).",
    )
    try:
        info = probe(source.path, name=source.name)
        original = place.with_name(f"{place.name}.original.{info.container}")
        if source.packed is None:
            shutil.copyfile(source.path, original)
        else:
            source.path.rename(original)
    finally:
        if source.packed is not None:
            source.path.unlink(missing_ok=True)
    with original.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    stored = StoredFile(
        name=source.name,
        original=f"inputs/{original.name}",
        audio=f"inputs/{original.name}",
        seconds=info.seconds,
        sample_rate_hz=info.sample_rate_hz,
        channels=info.channels,
        codec=info.codec,
        sha256=sha256,
        size_bytes=original.stat().st_size,
        note=info.note,
    )
    return stored, info


class _TooMuchError(AudioError):
    """The upload as a whole is too much, whatever each of its files is."""


class _Meter:
    """Counts what one upload takes on the disk, decoded: first what its files say, then what they are."""

    def __init__(self, settings: Settings, spend: Spend | None) -> None:
        self.settings, self._spend = settings, spend
        self.counts = (0, 0)  # bytes that were planned, and written

    def plan(self, count: int) -> None:
        allowed, written = self.counts
        sentence = (
            f"These recordings take more than {self.settings.max_decoded_mb:g} MB when decoded; "
            "upload fewer or shorter ones, or at a lower sample rate."
        )
        if allowed + count > self.settings.max_decoded_bytes:
            raise _TooMuchError(sentence)
        if self._spend is not None:
            self._spend(count)
        self.counts = (allowed + count, written)

    def go_back(self, counts: tuple[int, int]) -> None:
        """Count as before a file that is not taken, and give back the room that was kept for it."""
        if self._spend is not None and counts[0] < self.counts[0]:
            self._spend(counts[0] - self.counts[0])
        self.counts = counts

    def wrote(self, count: int) -> None:
        """Count bytes that are about to be written; ask for more where the plan fell short."""
        allowed, written = self.counts
        self.counts = (allowed, written + count)
        if written + count > allowed:
            self.plan(written + count - allowed)
