"""A backup with the voices' files: a zip of registry.json and models/<id>/ with the files of each bundle.

The files are stored as they are, those of voices in the trash too. Who restores one keeps what was there.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipelines import zips
from pipelines.store.backup import (
    Restored,
    new_backup,
    put_back,
    read_registry,
    restore,
    restoring,
    row_count,
    tables_of,
)
from pipelines.store.layout import REGISTRY_NAME
from pipelines.store.records import ID
from pipelines.voices.bundle import ALLOWED, REQUIRED
from rvc.errors import ConfigError
from rvc.files import room_in

_CHUNK_BYTES = 1 << 20
_ENTRY = re.compile(rf"models/{ID.pattern}/(?:{'|'.join(map(re.escape, sorted(ALLOWED)))})")
_DAMAGED = "The backup is damaged, so nothing was restored; take another one."
REFUSALS = zips.Refusals(
    error=ConfigError,
    too_many="The file is no backup of Timbre: it holds too many files; take one that --backup wrote.",
    damaged=_DAMAGED,
    encrypted="The backup is protected by a password; unpack it, and zip it again without one.",
    lying=_DAMAGED,
)


@dataclass(frozen=True, kw_only=True)
class Archived:
    rows: int  # jobs and voices of the registry
    voices: int  # whose files are in it
    lost: int  # voices that had none


def back_up_all(data_dir: Path, target: Path) -> Archived:
    """Write the registry and the voices' files to a zip, replacing an older one."""
    content, tables = read_registry(data_dir)
    voices = tables.get("models", {})
    with new_backup(data_dir, target) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as zipped:
        zipped.writestr(REGISTRY_NAME, content)
        kept = sum(_add(zipped, data_dir / "models" / model_id) for model_id in voices)
    return Archived(rows=row_count(tables), voices=kept, lost=len(voices) - kept)


def restore_any(data_dir: Path, source: Path) -> Restored:
    """Put back a backup of either kind; its content tells which. ConfigError before anything is changed."""
    try:
        zipped = source.is_file() and zips.is_zip(source)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read ({error.strerror}); name another backup.") from error
    if not zipped:
        return restore(data_dir, source)
    entries = _checked_entries(source)
    wanted = _without_same(data_dir, entries)
    _require_room(data_dir, sum(packed.size_bytes for packed in wanted.values()), source)
    with restoring(data_dir) as staged:
        unpacked = staged / "unpacked"
        unpacked.mkdir()
        if zips.extract(source, list(wanted.values()), unpacked, REFUSALS, own=True):
            raise ConfigError(_DAMAGED)
        content = (unpacked / str(wanted.pop(REGISTRY_NAME).number)).read_bytes()
        tables = tables_of(content, source)
        for name, packed in wanted.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (unpacked / str(packed.number)).rename(staged / name)
        return put_back(data_dir, content, tables, staged)


def _add(zipped: zipfile.ZipFile, home: Path) -> bool:
    """Add a voice; all its files are held open first, so that they are whole whatever becomes of it."""
    with ExitStack() as stack:
        files = {}
        for name in sorted(ALLOWED):
            try:
                files[name] = stack.enter_context((home / name).open("rb"))
            except OSError:
                if name in REQUIRED:
                    return False
        for name, file in files.items():
            info = zipfile.ZipInfo(f"models/{home.name}/{name}")
            info.file_size = os.fstat(file.fileno()).st_size
            with zipped.open(info, "w", force_zip64=True) as out:
                shutil.copyfileobj(file, out, _CHUNK_BYTES)
    return True


def _checked_entries(source: Path) -> dict[str, zips.Packed]:
    """Return the entries by name; refuse what is not such a backup."""
    packed = zips.files_in(source, REFUSALS, own=True)
    entries = {one.name: one for one in packed}
    ours = all(name == REGISTRY_NAME or _ENTRY.fullmatch(name) for name in entries)
    if not ours or REGISTRY_NAME not in entries or len(packed) != len(entries):
        raise ConfigError(f"{source} is no backup of Timbre; name one that --backup wrote.")
    if not all(one.is_plain for one in packed) or not zips.is_whole(source):
        raise ConfigError(_DAMAGED)
    return entries


def _without_same(data_dir: Path, entries: Mapping[str, zips.Packed]) -> dict[str, zips.Packed]:
    """Leave out the voices that are there exactly so."""
    homes = {name.rpartition("/")[0] for name in entries} - {""}
    same = {
        home
        for home in homes
        if all(_is_same(data_dir / home / name, entries.get(f"{home}/{name}")) for name in ALLOWED)
    }
    return {name: packed for name, packed in entries.items() if name.rpartition("/")[0] not in same}


def _is_same(path: Path, packed: zips.Packed | None) -> bool:
    if packed is None or not path.is_file() or path.stat().st_size != packed.size_bytes:
        return packed is None and not path.exists()
    total = 0
    with path.open("rb") as file:
        while block := file.read(_CHUNK_BYTES):
            total = zlib.crc32(block, total)
    return total == packed.crc32


def _require_room(data_dir: Path, needed: int, source: Path) -> None:
    if needed and (room := room_in(data_dir)) < needed:
        raise ConfigError(
            f"The voices of {source} take {needed / 1e6:.0f} MB, and the disk of {data_dir} has "
            f"{max(room, 0) / 1e6:.0f} MB to spare; free some room, or name another folder with --data-dir."
        )
