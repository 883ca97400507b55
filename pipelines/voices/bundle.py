"""A voice as files: card.json, model.safetensors and, for retrieval, index.faiss; and the same as a zip.

    read_card      what a bundle says of itself, checked
    check_weights  the safetensors header fits the file (no tensor is loaded, no torch)
    unpack         a stranger's zip into a folder: names, count and size are checked before a byte is written
    pack           a bundle's files into a zip

Loading the weights and judging their shapes is the engine's work, in a child process.

What a voice's card says besides what an engine needs, fit to be kept and shown.

A stranger may have written it, so whatever is not of the kind that it should be is left out: a row of the
library never holds what a page could trip over.
"""

from __future__ import annotations

import json
import math
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

import rvc.engine.card
from pipelines.zips import is_short
from rvc.engine.card import CARD_FILE, FORMAT_VERSION, MAX_CARD_BYTES
from rvc.errors import CheckpointError

CARD, WEIGHTS, INDEX = CARD_FILE, "model.safetensors", "index.faiss"
__all__ = [
    "CARD",
    "FORMAT_VERSION",
    "INDEX",
    "WEIGHTS",
    "check_weights",
    "extract",
    "files_of",
    "opened",
    "pack",
    "pack_files",
    "read_card",
    "size_bytes",
    "unpack",
    "write_card",
]
REQUIRED = frozenset({CARD, WEIGHTS})
ALLOWED = REQUIRED | {INDEX}
MAX_UNPACKED_BYTES = 2_000_000_000
MAX_HEADER_BYTES = 100_000_000
MAX_ENTRIES = 32
_CHUNK_BYTES = 1 << 20
_ENCRYPTED = 0x1


def read_card(folder: Path) -> dict[str, Any]:
    """Return card.json of a bundle, checked as an engine will check it, and its parts for the library.

    Raises:
        CheckpointError: It is missing, no JSON object, of a newer format, or a field is missing or wrong.
    """
    card = dict(rvc.engine.card.read_card(folder).document)
    for name in ("training", "retrieval"):
        if not isinstance(card.get(name, {}), dict):
            raise CheckpointError(f"The voice's card.json has a wrong {name!r}; export the voice again.")
    try:
        orjson.dumps(card)
    except orjson.JSONEncodeError as error:  # half a character, or a number without end: no registry keeps it
        raise CheckpointError(
            f"The voice's card.json holds something that cannot be kept ({error}); export the voice again."
        ) from error
    return card


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Replace card.json in one step."""
    temporary = folder / (CARD + ".tmp")
    temporary.write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    temporary.replace(folder / CARD)


def check_weights(path: Path) -> None:
    """Check that a file is a whole safetensors file: header within it, tensors filling it exactly.

    Raises:
        CheckpointError: It is not.
    """
    try:
        whole = _tensors_fill(path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
        whole = False  # whatever a wrong header trips over
    if not whole:
        raise CheckpointError("The voice's model.safetensors is damaged or of another kind; export it again.")


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a voice from a zip into a folder.

    One folder around the files and what macOS adds are accepted; anything else is refused before
    anything is written.

    Args:
        archive: The zip, from anywhere.
        folder: An existing, empty folder.

    Raises:
        CheckpointError: It is no zip, not the zip of a voice, too large, encrypted or damaged.
    """
    with opened(archive) as zipped:
        extract(zipped, {folder / name: info for name, info in _checked_entries(zipped).items()})


@contextmanager
def opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open a stranger's zip.

    Raises:
        CheckpointError: It is no zip, or turns out to be damaged while it is read, or holds too many files.
    """
    if not is_short(archive):
        raise CheckpointError("The zip holds too many files for a voice; zip only the files of one voice.")
    try:
        with zipfile.ZipFile(archive) as zipped:
            yield zipped
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise CheckpointError("The file is not a zip, or it is damaged; export the voice again.") from error


def extract(zipped: zipfile.ZipFile, wanted: Mapping[Path, zipfile.ZipInfo]) -> None:
    """Write some entries of a zip to paths that the caller has chosen.

    Raises:
        CheckpointError: They are encrypted or damaged, or would unpack to too much; nothing is written if the
            zip says so itself.
    """
    if any(info.flag_bits & _ENCRYPTED for info in wanted.values()):
        raise CheckpointError("The zip is protected by a password; zip the voice without one.")
    if sum(info.file_size for info in wanted.values()) > MAX_UNPACKED_BYTES:
        limit = MAX_UNPACKED_BYTES // 1_000_000
        raise CheckpointError(f"The zip unpacks to more than a voice can have ({limit} MB); check the file.")
    for path, info in wanted.items():
        with zipped.open(info) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
        # The declared size is a promise that is held to.
        if path.stat().st_size != info.file_size:
            raise CheckpointError(
                "The zip is damaged: a file is not as long as it says; export the voice again."
            )


def files_of(zipped: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """List the files of a zip, without those that macOS adds."""
    return [info for info in zipped.infolist() if not info.is_dir() and not _added_by_macos(info.filename)]


def pack(folder: Path, archive: Path) -> None:
    """Write the files of a bundle into a zip, in one step.

    Raises:
        OSError: The disk refused.
    """
    pack_files([folder / name for name in sorted(ALLOWED) if (folder / name).is_file()], archive)


def pack_files(paths: Sequence[Path], archive: Path) -> None:
    """Write files side by side into a zip, in one step.

    Raises:
        OSError: The disk refused.
    """
    temporary = archive.with_name(archive.name + ".tmp")
    # Weights hardly shrink, so they are stored: packing and unpacking stay as fast as the disk.
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as zipped:
        for path in paths:
            zipped.write(path, path.name)
    temporary.replace(archive)


def size_bytes(folder: Path) -> int:
    """Return what the files of a bundle take on the disk."""
    return sum((folder / name).stat().st_size for name in ALLOWED if (folder / name).is_file())


def _tensors_fill(path: Path) -> bool:
    """Whether the header's tensors lie side by side and end where the file ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        if header_bytes > min(MAX_HEADER_BYTES, size - 8):
            return False
        header = json.loads(file.read(header_bytes))
    end = 0
    for start, stop in sorted(t["data_offsets"] for name, t in header.items() if name != "__metadata__"):
        if start != end or stop < start:
            return False
        end = stop
    return bool(end == size - 8 - header_bytes)


def _checked_entries(zipped: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return by plain name the entries that make up a voice."""
    infos = files_of(zipped)
    if len(zipped.infolist()) > MAX_ENTRIES:
        raise CheckpointError("The zip holds too many files for a voice; zip only the files of one voice.")
    parents = {str(PurePosixPath(info.filename).parent) for info in infos}
    entries = {PurePosixPath(info.filename).name: info for info in infos}
    plain = all(_is_plain(info) for info in infos)
    if not plain or len(parents) > 1 or len(entries) != len(infos) or not set(entries) <= ALLOWED:
        raise CheckpointError(
            f"The zip holds more than {', '.join(sorted(ALLOWED))}; zip only the files of one voice."
        )
    if not set(entries) >= REQUIRED:
        missing = " and ".join(sorted(REQUIRED - set(entries)))
        raise CheckpointError(f"The zip holds no {missing}, so it is not a voice; export the voice again.")
    if entries[CARD].file_size > MAX_CARD_BYTES:
        raise CheckpointError("The zip's card.json is too large to be one; export the voice again.")
    return entries


def _is_plain(info: zipfile.ZipInfo) -> bool:
    """Whether the entry is an ordinary file, at most one folder deep, without tricks in its name."""
    mode = info.external_attr >> 16
    parts = PurePosixPath(info.filename).parts
    tricks = "\\" in info.filename or ":" in info.filename or info.filename.startswith("/") or ".." in parts
    return not tricks and len(parts) <= 2 and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))


def _added_by_macos(name: str) -> bool:
    return name.startswith("__MACOSX/") or PurePosixPath(name).name == ".DS_Store"


Facts = dict[str, Any]
LONGEST_TEXT = 500
MAX_FACTS = 12
GIVEN = "Given by the person who made it"
_LONGEST_SECONDS = 1e8


def created_at(card: Mapping[str, Any]) -> str | None:
    """Return when the voice was made, ISO 8601; None if it does not say so."""
    return _moment(card.get("created_at"))


def seconds_of_audio(card: Mapping[str, Any]) -> float | None:
    """Return how much speech it was trained on; None if it does not say so."""
    seconds = card.get("training", {}).get("seconds_of_audio")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return float(seconds) if 0 <= seconds < _LONGEST_SECONDS else None


def consent(card: Mapping[str, Any]) -> Facts | None:
    """Return what was stated about the right to use the voice: statement, and given_at if it is known."""
    said = card.get("consent")
    statement = said.get("statement") if isinstance(said, dict) else said
    if statement is True:
        statement = GIVEN
    if not isinstance(statement, str) or not statement.strip():
        return None
    given_at = _moment(said.get("given_at")) if isinstance(said, dict) else None
    told: Facts = {"statement": _text(statement)}
    return told | ({"given_at": given_at} if given_at else {})


def told(card: Mapping[str, Any]) -> Facts:
    """Return what else its maker wrote by name: licence, info, and facts such as epochs and author."""
    named = card.get("facts")
    found: Facts = {name: card.get(name) for name in ("licence", "info", "vocoder")}
    found |= {str(name): value for name, value in named.items()} if isinstance(named, dict) else {}
    plain = {
        _text(name): _text(value) if isinstance(value, str) else value
        for name, value in found.items()
        if (isinstance(value, str) and value.strip()) or _is_number(value)
    }
    return dict(list(plain.items())[:MAX_FACTS])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(text: str) -> str:
    """Bound a text and make one printable line of it."""
    shown = "".join(character if character.isprintable() else " " for character in text[:LONGEST_TEXT])
    return " ".join(shown.split())


def _moment(stamp: object) -> str | None:
    """Return a time of day as rows hold it; None for what is none."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None
