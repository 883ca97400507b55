"""A voice as files, card.json, model.safetensors and, for retrieval, index.faiss; and the same as a zip.

A stranger may have made it: names, counts and sizes of a zip are checked before a byte is written, and what a
card says besides what an engine needs is left out where it is not of the kind that it should be: a row of the
library never holds what a page could trip over. Loading the weights is the engine's work, in a child process.
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import orjson

import rvc.engine.card
from pipelines import zips
from rvc.engine.card import CARD_FILE, MAX_CARD_BYTES
from rvc.errors import CheckpointError
from rvc.files import atomic_write

CARD, WEIGHTS, INDEX = CARD_FILE, "model.safetensors", "index.faiss"
REQUIRED = frozenset({CARD, WEIGHTS})
ALLOWED = REQUIRED | {INDEX}
MAX_UNPACKED_BYTES = 2_000_000_000
MAX_HEADER_BYTES = 100_000_000
MAX_ENTRIES = 32
LONGEST_TEXT = 500
MAX_FACTS = 12
GIVEN = "Given by the person who made it"
_LONGEST_SECONDS = 1e8

REFUSALS = zips.Refusals(
    error=CheckpointError,
    too_many="The zip holds too many files for a voice; zip only the files of one voice.",
    damaged="The file is not a zip, or it is damaged; export the voice again.",
    encrypted="The zip is protected by a password; zip the voice without one.",
    lying="The zip is damaged: a file is not as long as it says; export the voice again.",
)


def read_card(folder: Path) -> dict[str, Any]:
    """Return card.json of a bundle, checked as an engine will check it, and its parts for the library."""
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
    with atomic_write(folder / CARD) as path:
        path.write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")


def check_weights(path: Path) -> None:
    """Refuse what is no whole safetensors file: header within it, tensors filling it exactly."""
    try:
        whole = _tensors_fill(path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
        whole = False  # whatever a wrong header trips over
    if not whole:
        raise CheckpointError("The voice's model.safetensors is damaged or of another kind; export it again.")


def unpack(zipped: zipfile.ZipFile, folder: Path) -> None:
    """Write the files of a voice, maybe with a folder around them, from an open zip into an empty folder."""
    extract(zipped, {folder / name: info for name, info in _checked_entries(zipped).items()})


def extract(zipped: zipfile.ZipFile, wanted: Mapping[Path, zipfile.ZipInfo]) -> None:
    """Write entries of a zip to paths that the caller has chosen, unless they are encrypted or too large."""
    zips.refuse_encrypted(wanted.values(), REFUSALS)
    if sum(info.file_size for info in wanted.values()) > MAX_UNPACKED_BYTES:
        limit = MAX_UNPACKED_BYTES // 1_000_000
        raise CheckpointError(f"The zip unpacks to more than a voice can have ({limit} MB); check the file.")
    zips.extract(zipped, wanted)


def pack(folder: Path, archive: Path) -> None:
    pack_files([folder / name for name in sorted(ALLOWED) if (folder / name).is_file()], archive)


def pack_files(paths: Sequence[Path], archive: Path) -> None:
    # Weights hardly shrink, so they are stored: packing and unpacking stay as fast as the disk.
    with atomic_write(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as zipped:
        for path in paths:
            zipped.write(path, path.name)


def size_bytes(folder: Path) -> int:
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
    """Return by plain name the entries that make up a voice: at most one folder deep, and that the same."""
    infos = zips.files_of(zipped)
    if len(zipped.infolist()) > MAX_ENTRIES:
        raise CheckpointError(REFUSALS.too_many)
    paths = [PurePosixPath(info.filename) for info in infos]
    entries = {path.name: info for path, info in zip(paths, infos, strict=True)}
    plain = all(zips.is_plain(info) for info in infos) and all(len(path.parts) <= 2 for path in paths)
    one_folder = len({path.parent for path in paths}) <= 1 and len(entries) == len(infos)
    if not plain or not one_folder or not set(entries) <= ALLOWED:
        raise CheckpointError(
            f"The zip holds more than {', '.join(sorted(ALLOWED))}; zip only the files of one voice."
        )
    if not set(entries) >= REQUIRED:
        missing = " and ".join(sorted(REQUIRED - set(entries)))
        raise CheckpointError(f"The zip holds no {missing}, so it is not a voice; export the voice again.")
    if entries[CARD].file_size > MAX_CARD_BYTES:
        raise CheckpointError("The zip's card.json is too large to be one; export the voice again.")
    return entries


def seconds_of_audio(card: Mapping[str, Any]) -> float | None:
    seconds = card.get("training", {}).get("seconds_of_audio")
    return float(seconds) if _is_number(seconds) and 0 <= seconds < _LONGEST_SECONDS else None


def consent(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was stated about the right to use the voice: statement, and given_at if it is known."""
    said = card.get("consent")
    parts = said if isinstance(said, dict) else {"statement": said}
    statement = GIVEN if parts.get("statement") is True else parts.get("statement")
    if not isinstance(statement, str) or not statement.strip():
        return None
    given_at = moment_of(parts.get("given_at"))
    return {"statement": _text(statement)} | ({"given_at": given_at} if given_at else {})


def public_facts(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else its maker wrote by name: licence, info, and facts such as epochs and author."""
    named = card.get("facts")
    found: dict[str, Any] = {name: card.get(name) for name in ("licence", "info", "vocoder")}
    found |= {str(name): value for name, value in named.items()} if isinstance(named, dict) else {}
    plain = {
        _text(name): _text(value) if isinstance(value, str) else value
        for name, value in found.items()
        if (isinstance(value, str) and value.strip()) or _is_number(value)
    }
    return dict(list(plain.items())[:MAX_FACTS])


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text[:LONGEST_TEXT])
    return " ".join(shown.split())


def moment_of(stamp: object) -> str | None:
    """Return a time of day as rows hold it; None for what is none."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None
