"""Many recordings at once, as files or in zips, for a batch: kept as they came, and judged one by one.

    <folder>/inputs/000.original.mp3    the bytes as they came, extension by content

Unlike an upload of single recordings, one that is refused does not refuse the others: it stays in the list
with its reason. Nothing is decoded here, which would take minutes; the batch does, file by file. A zip that
is itself not in order, or too much altogether, refuses everything.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipelines.recordings.uploads import StoredFile, copy, readable_name
from pipelines.settings import Settings
from pipelines.store.records import Row, Rows
from pipelines.users.quota import Spend
from pipelines.zips import Entry, extract, is_zip, list_recordings, opened
from rvc.audio.reader import probe
from rvc.errors import AudioError, ConfigError

_SPARE_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True)
class _Source:
    """One file that was sent in, by itself or within a zip."""

    path: Path
    name: str
    size_bytes: int
    zipped: zipfile.ZipFile | None = None
    entry: Entry | None = None


def receive_batch(
    files: Sequence[tuple[Path, str]], folder: Path, settings: Settings, spend: Spend | None = None
) -> Rows:
    """Keep the recordings of a batch.

    Args:
        files: For each file or zip, where it lies now (it is copied, and stays) and what it was called.
        folder: An existing folder of the upload's job, without an `inputs` folder.
        settings: Gives the bounds.
        spend: Asks for room on the disk, in bytes, before it is taken; raises when there is none.

    Returns:
        One row for each recording, in order: those of `StoredFile` with status "waiting", and reason None;
        or, for one that is refused, name, size_bytes, seconds (0), status "failed" and reason.

    Raises:
        AudioError: No file, too many or too much in all, a zip that is not in order, or not one recording
            among them. Nothing is left behind then.
        LimitError: From `spend`; nothing is left behind either.
    """
    if not files:
        raise AudioError("No file was chosen; choose recordings, or a zip of them.")
    staging = folder / f".inputs.{uuid.uuid4().hex[:8]}"
    with ExitStack() as zips:
        sources = _listed(files, settings, zips)
        _check_room(sources, folder, spend)
        staging.mkdir()
        try:
            rows = [_keep(source, number, staging, settings) for number, source in enumerate(sources)]
            _require_one(rows)
            staging.rename(folder / "inputs")
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return rows


def batch_files(uploads: Rows, settings: Settings) -> Rows:
    """Return the rows of all recordings of some uploads as a batch begins with them.

    Args:
        uploads: Rows of uploads of any purpose.
        settings: Gives the bounds.

    Raises:
        ConfigError: They are too many.
    """
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


def _listed(files: Sequence[tuple[Path, str]], settings: Settings, zips: ExitStack) -> list[_Source]:
    """List what was sent in, zips opened, and check how much it is."""
    sources = []
    for path, called in files:
        name = readable_name(called)
        if path.is_file() and is_zip(path):
            zipped = zips.enter_context(opened(path, name))
            sources += [
                _Source(
                    path=path, name=readable_name(e.name), size_bytes=e.size_bytes, zipped=zipped, entry=e
                )
                for e in list_recordings(zipped, name, settings)
            ]
        else:
            size_bytes = path.stat().st_size if path.is_file() else 0  # a missing file is refused by probe
            sources.append(_Source(path=path, name=name, size_bytes=size_bytes))
    if len(sources) > settings.max_files:
        raise AudioError(f"These are {len(sources)} files; send at most {settings.max_files} at a time.")
    total_bytes = sum(source.size_bytes for source in sources)
    if total_bytes > settings.max_batch_bytes:
        raise AudioError(
            f"These files have {total_bytes / 1e6:.4g} MB in all; "
            f"send at most {settings.max_batch_mb:g} MB at a time."
        )
    return sources


def _check_room(sources: Sequence[_Source], folder: Path, spend: Spend | None) -> None:
    needed = sum(source.size_bytes for source in sources)
    if spend is not None:
        spend(needed)
    if shutil.disk_usage(folder).free < needed + _SPARE_BYTES:
        raise AudioError(
            "There is no room for these recordings on the server's disk; delete old jobs, or ask its owner."
        )


def _require_one(rows: Rows) -> None:
    refused = [row for row in rows if row["status"] == "failed"]
    if len(refused) == len(rows):
        said = str(refused[0]["reason"])
        raise AudioError(said if len(rows) == 1 else f"None of the {len(rows)} files can be used: {said}")


def _keep(source: _Source, number: int, staging: Path, settings: Settings) -> Row:
    """Put one recording into the folder and return its row."""
    arrived = staging / f"{number:03d}.part"
    try:
        _check_size(source, settings)
        if source.zipped is not None and source.entry is not None:
            extract(source.zipped, source.entry, arrived)
        info = probe(arrived if source.zipped else source.path, name=source.name)
        if source.zipped is None:
            sha256 = copy(source.path, arrived)
        else:
            with arrived.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except AudioError as error:
        arrived.unlink(missing_ok=True)
        return {
            "name": source.name,
            "size_bytes": source.size_bytes,
            "seconds": 0.0,
            "status": "failed",
            "reason": str(error),
        }
    original = arrived.with_name(f"{number:03d}.original.{info.container}")
    arrived.rename(original)
    stored = StoredFile(
        name=source.name,
        original=f"inputs/{original.name}",
        audio=f"inputs/{original.name}",
        seconds=min(info.seconds, settings.max_audio_seconds),
        sample_rate_hz=info.sample_rate_hz,
        channels=info.channels,
        codec=info.codec,
        sha256=sha256,
        size_bytes=source.size_bytes,
    )
    return stored.to_json() | {"status": "waiting", "reason": None}


def _check_size(source: _Source, settings: Settings) -> None:
    if source.size_bytes > settings.max_file_size_bytes:
        raise AudioError(
            f"{source.name} has {source.size_bytes / 1e6:.4g} MB; "
            f"send files of at most {settings.max_file_size_mb:g} MB."
        )
