"""What may come in: recordings of known type and bounded size, each decoded once.

An upload is taken whole or not at all. Its files get numbers for names, so that nothing a person typed
becomes a path; what the person called them is kept in `StoredFile.name` for messages and lists.

    <folder>/inputs/000.original.mp3    the bytes as they came, extension by content
    <folder>/inputs/000.wav             mono float32 at the recording's own rate

Not here: telling and decoding formats (rvc.audio.reader), judging the sound's quality (prepare.py).
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from pipelines.settings import Settings
from pipelines.users.quota import Spend
from rvc.audio.reader import AudioInfo, AudioWriter, blocks, probe
from rvc.errors import AudioError

MIN_SECONDS = 0.5
MIN_VOICE_SECONDS = 10.0
"""Of all recordings of a voice together: less does not hold the sounds of a language."""

# -60 dB below full scale: the noise of a muted microphone is lower, the faintest usable speech is not.
SILENCE_PEAK = 1e-3

_NAME_LENGTH = 120
_COPY_BYTES = 1 << 20
_SAMPLE_BYTES = 4
_SPARE_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One recording of an upload, on disk.

    Attributes:
        name: What the person called it, for messages; never a path.
        original: Path of the bytes as they came, relative to the upload's folder.
        audio: Path of the decoded recording (WAV, mono, float32), relative to the upload's folder.
        seconds: Decoded length.
        sample_rate_hz: Rate of the original and of `audio`.
        channels: Channels of the original.
        codec: Codec of the original ("pcm_16", "mp3", "opus", ...).
        sha256: Of the original bytes, in hex.
        size_bytes: Of the original.
    """

    name: str
    original: str
    audio: str
    seconds: float
    sample_rate_hz: int
    channels: int
    codec: str
    sha256: str
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StoredFile:
        """Make one from what `to_json` gave; keys of later versions are ignored."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def receive(
    files: Sequence[tuple[Path, str]], folder: Path, settings: Settings, spend: Spend | None = None
) -> list[StoredFile]:
    """Check, keep and decode the files of one upload; all of them or none.

    Args:
        files: For each file, where it lies now (it is copied, and stays) and what the person called it.
        folder: Folder of the upload's job, made if need be; must not hold an `inputs` folder yet.
        settings: Gives the bounds.
        spend: Asks for room on the disk, in bytes, before it is taken; raises when there is none.

    Returns:
        The stored files, in the order given.

    Raises:
        AudioError: No file, too many, too large, no sound file, cut short or damaged, more than two
            channels, too short, too long, silent, too much when decoded, or no room on the disk. The sentence
            names the file. Nothing is left behind then.
        LimitError: From `spend`; nothing is left behind either.
    """
    named = [(path, readable_name(name)) for path, name in files]
    _check_sizes(named, settings)
    probed = [(path, name, probe(path, name=name)) for path, name in named]
    meter = _Meter(settings, spend)
    meter.plan(sum(_planned_bytes(path, info, settings) for path, _, info in probed))
    made_folder = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".inputs.{uuid.uuid4().hex[:8]}"
    staging.mkdir()
    try:
        stored = [
            _store(path, name, info, _Place(staging=staging, number=number, settings=settings, meter=meter))
            for number, (path, name, info) in enumerate(probed)
        ]
        staging.rename(folder / "inputs")
    except BaseException:
        shutil.rmtree(folder if made_folder else staging, ignore_errors=True)
        raise
    return stored


def require_enough(stored: Sequence[StoredFile]) -> None:
    """Refuse recordings of a voice that are too short in all to learn it from.

    Args:
        stored: The recordings.

    Raises:
        AudioError: They are shorter than 10 s together.
    """
    seconds = sum(file.seconds for file in stored)
    if seconds < MIN_VOICE_SECONDS:
        what = stored[0].name if len(stored) == 1 else "All of this together"
        raise AudioError(
            f"{what} is {seconds:.1f} seconds long; a voice needs at least {MIN_VOICE_SECONDS:.0f} seconds, "
            "and sounds best from five minutes."
        )


def readable_name(name: str) -> str:
    """Reduce what a file was called to its last part, printable and of bounded length.

    Args:
        name: As it came: perhaps a path of any system, perhaps with control characters.

    Returns:
        1 to 120 printable characters.
    """
    last = PureWindowsPath(PurePosixPath(name).name).name
    clean = "".join(character for character in last if character.isprintable()).strip()
    if len(clean) > _NAME_LENGTH:
        clean = f"{clean[: _NAME_LENGTH - 10]}…{clean[-9:]}"
    return clean or "unnamed file"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where one file of an upload goes, and under which bounds."""

    staging: Path
    number: int
    settings: Settings
    meter: _Meter


class _Meter:
    """Counts what one upload takes on the disk: first what its files say, then what they turn out to be.

    A recording of a few MB may decode to gigabytes, so it is the decoded size that is bounded.
    """

    def __init__(self, settings: Settings, spend: Spend | None) -> None:
        self._settings = settings
        self._spend = spend
        self._allowed = 0
        self._written = 0

    def plan(self, count: int) -> None:
        """Ask for this many bytes more.

        Raises:
            AudioError: The upload takes more than one may.
            LimitError: Its owner has no room.
        """
        if self._allowed + count > self._settings.max_decoded_bytes:
            raise AudioError(
                f"These recordings take more than {self._settings.max_decoded_mb:g} MB when decoded; "
                "upload fewer or shorter ones, or at a lower sample rate."
            )
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


def _check_sizes(files: Sequence[tuple[Path, str]], settings: Settings) -> None:
    if not files:
        raise AudioError("No file was chosen; choose at least one recording.")
    if len(files) > settings.max_files:
        raise AudioError(f"You chose {len(files)} files; upload at most {settings.max_files} at a time.")
    for path, name in files:
        size = path.stat().st_size if path.is_file() else 0  # a missing file is refused by probe
        if size > settings.max_file_size_bytes:
            raise AudioError(
                f"{name} has {size / 1e6:.4g} MB; upload files of at most {settings.max_file_size_mb:g} MB"
                " (FLAC or MP3 take less room than WAV)."
            )


def _store(path: Path, name: str, info: AudioInfo, place: _Place) -> StoredFile:
    original = place.staging / f"{place.number:03d}.original.{info.container}"
    audio = place.staging / f"{place.number:03d}.wav"
    _check_room(path, name, info, place)
    place.meter.wrote(path.stat().st_size)
    sha256 = copy(path, original)
    max_seconds = place.settings.max_audio_seconds
    steps = decoding(original, audio, name, max_seconds, wrote=place.meter.wrote)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            seconds = float(stop.value)
            break

    return StoredFile(
        name=name,
        original=f"inputs/{original.name}",
        audio=f"inputs/{audio.name}",
        seconds=seconds,
        sample_rate_hz=info.sample_rate_hz,
        channels=info.channels,
        codec=info.codec,
        sha256=sha256,
        size_bytes=original.stat().st_size,
    )


def _check_room(path: Path, name: str, info: AudioInfo, place: _Place) -> None:
    needed = _planned_bytes(path, info, place.settings) + _SPARE_BYTES
    if shutil.disk_usage(place.staging).free < needed:
        raise AudioError(
            f"There is no room for {name} on the server's disk; delete old jobs, or ask its owner."
        )


def copy(source: Path, destination: Path) -> str:
    """Copy a file and return the sha256 of its bytes."""
    digest = hashlib.sha256()
    with source.open("rb") as reading, destination.open("wb") as writing:
        while chunk := reading.read(_COPY_BYTES):
            digest.update(chunk)
            writing.write(chunk)
    return digest.hexdigest()


def decoding(
    original: Path,
    audio: Path,
    name: str,
    max_seconds: float,
    wrote: Callable[[int], None] = lambda count: None,
) -> Generator[float, None, float]:
    """Decode to a WAV of mono float32 at the recording's own rate.

    Args:
        original: The recording as it came.
        audio: Where the WAV shall be.
        name: What a message shall call the recording.
        max_seconds: Longest that it may be.
        wrote: Hears of the bytes of every block before it is written, and may refuse them.

    Yields:
        The seconds decoded so far, about every second of sound.

    Returns:
        The seconds.

    Raises:
        AudioError: It is damaged, too short, too long or silent; nothing is left behind then.
    """
    rate_hz = probe(original, name=name).sample_rate_hz
    peak = 0.0
    with AudioWriter(audio, rate_hz, "wav", bits=32) as out:
        for block in blocks(original, max_seconds=max_seconds, name=name):
            wrote(block.size * _SAMPLE_BYTES)
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            out.write(block)
            yield out.samples / rate_hz
        seconds = out.samples / rate_hz
        if seconds < MIN_SECONDS:
            raise AudioError(f"{name} is only {seconds:.2f} seconds long; record at least half a second.")
        if peak < SILENCE_PEAK:
            raise AudioError(f"{name} is silent; check the microphone or the export, and record it again.")
    return seconds
