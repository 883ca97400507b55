"""A voice as files, and the same as a zip.

    card.json, model.safetensors    always
    index.faiss, sample.mp3         maybe; and consent.mp3, a spoken consent

A stranger may have made it: names, counts and sizes of a zip are checked before a byte is written, and child
processes judge weights and index before they are taken in (`check`). What a card says besides what an engine
needs is left out where it is not of the kind that it should be: a row of the library never holds what a page
could trip over. Loading the weights is the engine's work, in a child process.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import orjson

import rvc.engine.card
from pipelines import zips
from pipelines.job_spec import LANGUAGE, check_settings
from pipelines.store.records import checked_name, checked_settings
from rvc.audio.sample_file import MAX_SAMPLE_BYTES, is_sample_apart
from rvc.audio.spoken_consent import LONGEST_S, MAX_BYTES
from rvc.engine.card import CARD_FILE, MAX_CARD_BYTES
from rvc.engine.index_file import check_index
from rvc.engine.weights_file import check_weights_apart
from rvc.errors import CheckpointError, RvcError
from rvc.files import atomic_write

CARD, WEIGHTS, INDEX, SAMPLE = CARD_FILE, "model.safetensors", "index.faiss", "sample.mp3"
SPOKEN_CONSENT = "consent.mp3"  # a spoken one
REQUIRED = frozenset({CARD, WEIGHTS})
ALLOWED = REQUIRED | {INDEX, SAMPLE, SPOKEN_CONSENT}
MAX_UNPACKED_BYTES = 2_000_000_000
MAX_ENTRIES = 32
LONGEST_TEXT = 500
MAX_FACTS = 12
MOST_PRESETS = 20
MOST_PARENTS = 16
GIVEN = "Given by the person who made it"
_LONGEST_SECONDS = 1e8
_FINGERPRINT = re.compile("[0-9a-f]{64}")

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


def check(folder: Path) -> None:
    """Refuse a stranger's bundle, by child processes, unless its weights and its index, if any, are whole.

    A sample that is none is left out.
    """
    card = rvc.engine.card.read_card(folder)
    check_weights_apart(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        check_index(folder / INDEX, card.content_dim)
    if (folder / SAMPLE).is_file() and not is_sample_apart(folder / SAMPLE):
        (folder / SAMPLE).unlink()  # a voice can do without
    spoken = folder / SPOKEN_CONSENT
    if spoken.is_file() and not is_sample_apart(spoken, most_bytes=MAX_BYTES, longest_s=LONGEST_S + 1):
        spoken.unlink()


def keep_spoken_consent(home: Path, bundle: Path) -> None:
    """Bring the spoken consent of a voice into a bundle that takes its place; if there is any."""
    if (home / SPOKEN_CONSENT).is_file() and bundle.is_dir() and not (bundle / SPOKEN_CONSENT).exists():
        shutil.copyfile(home / SPOKEN_CONSENT, bundle / SPOKEN_CONSENT)


def unpack(
    archive: Path, wanted: Mapping[Path, zips.Packed], unpacked: Path, room_for: Callable[[int], None]
) -> None:
    """Write files of a zip to paths that the caller has chosen, by way of the folder `unpacked`."""
    total = sum(packed.size_bytes for packed in wanted.values())
    if total > MAX_UNPACKED_BYTES:
        limit = MAX_UNPACKED_BYTES // 1_000_000
        raise CheckpointError(f"The zip unpacks to more than a voice can have ({limit} MB); check the file.")
    room_for(total)
    for fault in zips.extract(archive, list(wanted.values()), unpacked, REFUSALS).values():
        raise REFUSALS.of(fault)
    for path, packed in wanted.items():
        path.parent.mkdir(exist_ok=True)
        (unpacked / str(packed.number)).rename(path)


def pack(folder: Path, archive: Path) -> None:
    pack_files([folder / name for name in sorted(ALLOWED) if (folder / name).is_file()], archive)


def pack_files(paths: Sequence[Path], archive: Path) -> None:
    # Weights hardly shrink, so they are stored: packing and unpacking stay as fast as the disk.
    with atomic_write(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as zipped:
        for path in paths:
            zipped.write(path, path.name)


def size_bytes(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in ALLOWED if (folder / name).is_file())


def state(folder: Path) -> str:
    """Return what tells a voice's files from what they were before any of them was changed, in hex."""
    files = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.name in ALLOWED]
    facts = [(name, found.st_size, found.st_mtime_ns) for name, found in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def files_of_voice(files: Sequence[zips.Packed]) -> dict[str, zips.Packed]:
    """Return by plain name what makes up a voice in a zip: at most one folder deep, and that the same."""
    if len(files) > MAX_ENTRIES:
        raise CheckpointError(REFUSALS.too_many)
    paths = [PurePosixPath(packed.name) for packed in files]
    found = {path.name: packed for path, packed in zip(paths, files, strict=True)}
    plain = all(packed.is_plain for packed in files) and all(len(path.parts) <= 2 for path in paths)
    one_folder = len({path.parent for path in paths}) <= 1 and len(found) == len(files)
    if not plain or not one_folder or not set(found) <= ALLOWED:
        raise CheckpointError(
            f"The zip holds more than {', '.join(sorted(ALLOWED))}; zip only the files of one voice."
        )
    if not set(found) >= REQUIRED:
        missing = " and ".join(sorted(REQUIRED - set(found)))
        raise CheckpointError(f"The zip holds no {missing}, so it is not a voice; export the voice again.")
    if found[CARD].size_bytes > MAX_CARD_BYTES:
        raise CheckpointError("The zip's card.json is too large to be one; export the voice again.")
    for name, most in ((SAMPLE, MAX_SAMPLE_BYTES), (SPOKEN_CONSENT, MAX_BYTES)):
        if name in found and found[name].size_bytes > most:
            del found[name]
    return found


def seconds_of_audio(card: Mapping[str, Any]) -> float | None:
    seconds = card.get("training", {}).get("seconds_of_audio")
    return float(seconds) if _is_number(seconds) and 0 <= seconds < _LONGEST_SECONDS else None


def language(card: Mapping[str, Any]) -> str | None:
    """Return the language that the voice learned from, as a tag; None if nothing usable is said."""
    tag = card.get("language")
    return tag if isinstance(tag, str) and LANGUAGE.fullmatch(tag) else None


def presets(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return those presets (name, settings of a conversion) of a card that are in order, each name once."""
    found: dict[str, dict[str, Any]] = {}
    given = card.get("presets")
    for one in given[:MOST_PRESETS] if isinstance(given, list) else []:
        try:
            name, settings = checked_name(one["name"], "preset"), checked_settings(one["settings"])
            check_settings("conversion", settings)
        except (RvcError, KeyError, TypeError):
            continue
        found.setdefault(name.casefold(), {"name": name, "settings": settings})
    return list(found.values())


def consent(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was stated about the right to use the voice: statement, and what is known of it besides.

    That may be given_at, stated_by, and spoken {speaker, sentence, recorded_at, seconds}.
    """
    said = card.get("consent")
    parts = said if isinstance(said, dict) else {"statement": said}
    statement = GIVEN if parts.get("statement") is True else parts.get("statement")
    if not isinstance(statement, str) or not statement.strip():
        return None
    given_at, by = moment_of(parts.get("given_at")), parts.get("stated_by")
    known: dict[str, Any] = {"given_at": given_at} if given_at else {}
    known |= {"stated_by": _text(by)} if isinstance(by, str) and by.strip() else {}
    spoken = _spoken(parts.get("spoken"))
    return {"statement": _text(statement)} | known | ({"spoken": spoken} if spoken else {})


def _spoken(said: object) -> dict[str, Any] | None:
    """Return what is known of a recorded consent, if all of it is in order."""
    if not isinstance(said, dict):
        return None
    texts, at = [said.get(name) for name in ("speaker", "sentence")], moment_of(said.get("recorded_at"))
    seconds = said.get("seconds")
    if not all(isinstance(text, str) and text.strip() for text in texts) or at is None:
        return None
    if not _is_number(seconds) or not 0 < seconds <= LONGEST_S + 1:
        return None
    speaker, sentence = (_text(str(text)) for text in texts)
    return {"speaker": speaker, "sentence": sentence, "recorded_at": at, "seconds": seconds}


def parents(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return of whom a voice is a blend: name, share and fingerprint of each, and its consent and licence.

    Of a card that names one who is not in order, nobody: shares that are left say nothing.
    """
    given = card.get("parents")
    if not isinstance(given, list) or len(given) > MOST_PARENTS or not all(map(_is_parent, given)):
        return []
    return [
        {
            "name": _text(one["name"]),
            "share": one["share"],
            "fingerprint": one["fingerprint"],
            "consent": consent(one),
            "licence": licence(one),
        }
        for one in given
    ]


def _is_parent(given: object) -> bool:
    return (
        isinstance(given, dict)
        and isinstance(given.get("name"), str)
        and isinstance(given.get("fingerprint"), str)
        and _FINGERPRINT.fullmatch(given["fingerprint"]) is not None
        and _is_number(given.get("share"))
        and 0 < given["share"] <= 1
    )


def fingerprint(folder: Path) -> str:
    """Return what tells a voice's weights from any others', in hex, on whatever server they are."""
    with (folder / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def licence(card: Mapping[str, Any]) -> str | None:
    said = card.get("licence")
    return _text(said) if isinstance(said, str) and said.strip() else None


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
