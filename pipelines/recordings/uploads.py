"""What may come in: recordings of known type and bounded size.

    <folder>/inputs/000.original.mp3    the bytes as they came, extension by content
    <folder>/inputs/000.wav             mono float32 at the recording's own rate; not of a batch

Files get numbers for names, so that nothing a person typed becomes a path; what they were called is kept for
messages and lists. An upload is taken whole or not at all. One for a batch may hold zips, and a recording
that is refused stays in the list with its reason; the batch decodes the others, file by file.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from pipelines import zips
from pipelines.settings import Settings
from pipelines.store.records import Row, Rows
from pipelines.users.limits import Spend
from rvc.audio.reader import AudioInfo, blocks, probe
from rvc.audio.writer import AudioWriter
from rvc.errors import AudioError, ConfigError

MIN_SECONDS = 0.5
MIN_VOICE_SECONDS = 10.0  # of all recordings of a voice together: less does not hold the sounds of a language
# -60 dB below full scale: the noise of a muted microphone is lower, the faintest usable speech is not.
SILENCE_PEAK = 1e-3

_NAME_LENGTH = 120
_SAMPLE_BYTES = 4
_SPARE_BYTES = 200_000_000
_ZIP_WAY_OUT = "zip only the recordings themselves"

# For each file, where it lies now (it is copied, and stays) and what the person called it.
Named = Sequence[tuple[Path, str]]


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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StoredFile:
        """Make one from what `to_json` gave; keys of later versions are ignored."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def receive(files: Named, folder: Path, settings: Settings, spend: Spend | None = None) -> list[StoredFile]:
    """Check, keep and decode the files of one upload, in the order given; all of them or none.

    `folder` is made if need be and holds no `inputs` yet; `spend` asks for room on the disk. AudioError if
    one is no recording that can be used, or is too much, LimitError from `spend`; nothing is left then.
    """
    _refuse(not files, "No file was chosen; choose at least one recording.")
    most = settings.max_files
    _refuse(len(files) > most, f"You chose {len(files)} files; upload at most {most} at a time.")
    named = [(path, readable_name(name)) for path, name in files]
    for path, name in named:
        size, most_mb = _size_of(path), settings.max_file_size_mb
        said = f"{name} has {size / 1e6:.4g} MB; upload files of at most {most_mb:g} MB"
        too_large = size > settings.max_file_size_bytes
        _refuse(too_large, f"{said} (FLAC or MP3 take less room than WAV).")
    probed = [(path, name, probe(path, name=name)) for path, name in named]
    meter = _Meter(settings, spend)
    meter.plan(sum(_planned_bytes(path, info, settings) for path, _, info in probed))
    stored = []
    with _inputs(folder) as inputs:
        for number, (path, name, info) in enumerate(probed):
            _require_room(inputs, _planned_bytes(path, info, settings), name)
            meter.wrote(path.stat().st_size)
            kept = _store_original(path, inputs / f"{number:03d}", name, info)
            original, audio = inputs / Path(kept.original).name, inputs / f"{number:03d}.wav"
            seconds = 0.0
            with closing(decode(original, audio, name, settings.max_audio_seconds, info)) as steps:
                for decoded_s in steps:
                    meter.wrote(round((decoded_s - seconds) * info.sample_rate_hz) * _SAMPLE_BYTES)
                    seconds = decoded_s
            stored.append(replace(kept, audio=f"inputs/{audio.name}", seconds=seconds))
    return stored


def receive_batch(files: Named, folder: Path, settings: Settings, spend: Spend | None = None) -> Rows:
    """Keep the recordings of a batch, which may come in zips; `folder` exists, without `inputs` in it.

    Returns one row for each, in order: that of `StoredFile`, status "waiting" and reason None; or, of one
    that is refused, name, size_bytes, seconds (0), status "failed" and reason. AudioError if they are too
    much, a zip is not in order, or not one can be used, LimitError from `spend`; nothing is left behind then.
    """
    _refuse(not files, "No file was chosen; choose recordings, or a zip of them.")
    with ExitStack() as stack:
        sources = _sources(files, settings, stack)
        needed = sum(source.size_bytes for source in sources)
        if spend is not None:
            spend(needed)
        _require_room(folder, needed, "these recordings")
        with _inputs(folder) as inputs:
            rows = [_keep(source, inputs / f"{n:03d}", settings) for n, source in enumerate(sources)]
            said = "" if len(rows) == 1 else f"None of the {len(rows)} files can be used: "
            _refuse(all(row["status"] == "failed" for row in rows), f"{said}{rows[0]['reason']}")
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


def require_enough(stored: Sequence[StoredFile]) -> None:
    """Refuse recordings of a voice that are too short in all to learn it from."""
    seconds = sum(file.seconds for file in stored)
    what = stored[0].name if len(stored) == 1 else "All of this together"
    said = f"{what} is {seconds:.1f} seconds long; a voice needs at least {MIN_VOICE_SECONDS:.0f} seconds"
    _refuse(seconds < MIN_VOICE_SECONDS, f"{said}, and sounds best from five minutes.")


def readable_name(name: str) -> str:
    """Reduce what a file was called, perhaps a path of any system, to 1 to 120 printable characters."""
    last = PureWindowsPath(PurePosixPath(name).name).name
    clean = "".join(character for character in last if character.isprintable()).strip()
    if len(clean) > _NAME_LENGTH:
        clean = f"{clean[: _NAME_LENGTH - 10]}…{clean[-9:]}"
    return clean or "unnamed file"


def decode(
    original: Path, audio: Path, name: str, max_seconds: float, info: AudioInfo | None = None
) -> Generator[float, None, None]:
    """Decode to a WAV of mono float32 at the recording's own rate.

    Yields the seconds so far before each block is written, so that a caller may refuse it; the last are all.
    AudioError if it is damaged, too short, too long or silent; nothing is left behind then.
    """
    info = info or probe(original, name=name)
    rate_hz, peak = info.sample_rate_hz, 0.0
    with AudioWriter(audio, rate_hz, "wav", bits=32) as out:
        for block in blocks(original, max_seconds=max_seconds, name=name, info=info):
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            yield (out.samples + block.size) / rate_hz
            out.write(block)
        seconds = out.samples / rate_hz
        short = f"{name} is only {seconds:.2f} seconds long; record at least half a second."
        _refuse(seconds < MIN_SECONDS, short)
        silent = f"{name} is silent; check the microphone or the export, and record it again."
        _refuse(peak < SILENCE_PEAK, silent)


@contextmanager
def _inputs(folder: Path) -> Iterator[Path]:
    """Give a hidden folder that becomes `inputs` if all goes well; else all is as it was before."""
    made_folder = not folder.exists()
    staging = folder / f".inputs.{uuid.uuid4().hex[:8]}"
    staging.mkdir(parents=True)
    try:
        yield staging
        staging.rename(folder / "inputs")
    except BaseException:
        shutil.rmtree(folder if made_folder else staging, ignore_errors=True)
        raise


def _store_original(path: Path, place: Path, name: str, info: AudioInfo, move: bool = False) -> StoredFile:
    """Keep a recording as it came, at `place` with its extension behind."""
    original = place.with_name(f"{place.name}.original.{info.container}")
    if move:
        path.rename(original)
    else:
        shutil.copyfile(path, original)
    with original.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return StoredFile(
        name=name,
        original=f"inputs/{original.name}",
        audio=f"inputs/{original.name}",
        seconds=info.seconds,
        sample_rate_hz=info.sample_rate_hz,
        channels=info.channels,
        codec=info.codec,
        sha256=sha256,
        size_bytes=original.stat().st_size,
    )


class _Meter:
    """Counts what one upload takes on the disk, decoded: first what its files say, then what they are."""

    def __init__(self, settings: Settings, spend: Spend | None) -> None:
        self._settings, self._spend = settings, spend
        self._allowed = self._written = 0

    def plan(self, count: int) -> None:
        sentence = (
            f"These recordings take more than {self._settings.max_decoded_mb:g} MB when decoded; "
            "upload fewer or shorter ones, or at a lower sample rate."
        )
        _refuse(self._allowed + count > self._settings.max_decoded_bytes, sentence)
        if self._spend is not None:
            self._spend(count)
        self._allowed += count

    def wrote(self, count: int) -> None:
        """Count bytes that are about to be written; ask for more where the plan fell short."""
        self._written += count
        if self._written > self._allowed:
            self.plan(self._written - self._allowed)


def _planned_bytes(path: Path, info: AudioInfo, settings: Settings) -> int:
    """Return what a file takes with its decoded recording, as far as it says so itself."""
    seconds = min(info.seconds, settings.max_audio_seconds) if info.length_is_stated else 0.0
    return path.stat().st_size + round(seconds * info.sample_rate_hz * _SAMPLE_BYTES)


def _require_room(folder: Path, count: int, what: str) -> None:
    sentence = f"There is no room for {what} on the server's disk; delete old jobs, or ask its owner."
    _refuse(shutil.disk_usage(folder).free < count + _SPARE_BYTES, sentence)


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0  # a missing file is refused by probe


def _refuse(wrong: bool, sentence: str) -> None:
    if wrong:
        raise AudioError(sentence)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """One file that was sent in for a batch, by itself or within a zip."""

    path: Path
    name: str
    size_bytes: int
    entry: tuple[zipfile.ZipFile, zipfile.ZipInfo] | None = None


def _sources(files: Named, settings: Settings, stack: ExitStack) -> list[_Source]:
    """List what was sent in, zips opened, and check how much it is."""
    sources = []
    for path, called in files:
        name = readable_name(called)
        if path.is_file() and zips.is_zip(path):
            refusals = _refusals(name)
            zipped = stack.enter_context(zips.opened(path, refusals))
            for info in _recordings_in(zipped, name, settings, refusals):
                inner, size = readable_name(info.filename), info.file_size
                sources.append(_Source(path=path, name=inner, size_bytes=size, entry=(zipped, info)))
        else:
            sources.append(_Source(path=path, name=name, size_bytes=_size_of(path)))
    most, total = settings.max_files, sum(source.size_bytes for source in sources)
    _refuse(len(sources) > most, f"These are {len(sources)} files; send at most {most} at a time.")
    _refuse_too_much(total, settings, f"These files have {total / 1e6:.4g} MB in all")
    return sources


def _refuse_too_much(total: int, settings: Settings, said: str) -> None:
    sentence = f"{said}; send at most {settings.max_batch_mb:g} MB at a time."
    _refuse(total > settings.max_batch_bytes, sentence)


def _refuse_too_large(size: int, settings: Settings, said: str) -> None:
    sentence = f"{said} {size / 1e6:.4g} MB; send files of at most {settings.max_file_size_mb:g} MB."
    _refuse(size > settings.max_file_size_bytes, sentence)


def _refusals(name: str) -> zips.Refusals:
    damaged = f"{name} is damaged or of a kind that cannot be read; zip the files again."
    return zips.Refusals(
        error=AudioError,
        too_many=f"{name} holds too many files; {_ZIP_WAY_OUT}.",
        damaged=damaged,
        encrypted=f"{name} is protected by a password; zip the recordings without one.",
        lying=damaged,
    )


def _recordings_in(
    zipped: zipfile.ZipFile, name: str, settings: Settings, refusals: zips.Refusals
) -> list[zipfile.ZipInfo]:
    """Check a zip as a whole and return what may be recordings in it; what is none is found later."""
    infos = zips.files_of(zipped)
    most, total = settings.max_files, sum(info.file_size for info in infos)
    _refuse(not infos, f"{name} holds no files; zip the recordings that shall be converted.")
    _refuse(len(infos) > most, f"{name} holds {len(infos)} files; send at most {most} at a time.")
    zips.refuse_encrypted(infos, refusals)
    for info in infos:
        plain = zips.is_plain(info) and info.filename.isprintable()
        _refuse(not plain, f"{name} holds a link, or a file whose name points elsewhere; {_ZIP_WAY_OUT}.")
        _refuse_too_large(info.file_size, settings, f"{name} holds a file of")
    _refuse_too_much(total, settings, f"{name} unpacks to {total / 1e6:.4g} MB")
    for info in infos:
        with zipped.open(info) as file:
            _refuse(file.read(4) == zips.START_OF_ZIP, f"{name} holds another zip; {_ZIP_WAY_OUT}.")
    return infos


def _keep(source: _Source, place: Path, settings: Settings) -> Row:
    path = source.path if source.entry is None else place.with_suffix(".part")
    try:
        _refuse_too_large(source.size_bytes, settings, f"{source.name} has")
        if source.entry is not None:
            zips.extract(source.entry[0], {path: source.entry[1]})
        info = probe(path, name=source.name)
    except AudioError as error:
        place.with_suffix(".part").unlink(missing_ok=True)
        refused = {"name": source.name, "size_bytes": source.size_bytes, "seconds": 0.0}
        return refused | {"status": "failed", "reason": str(error)}
    stored = _store_original(path, place, source.name, info, move=source.entry is not None)
    stored = replace(stored, seconds=min(info.seconds, settings.max_audio_seconds))
    return stored.to_json() | {"status": "waiting", "reason": None}
