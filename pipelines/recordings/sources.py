"""What was sent in: single files, and those in zips; judged by name and size before a byte is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipelines import zips
from pipelines.store.records import Rows
from rvc.audio import trial
from rvc.audio.reader import probe
from rvc.errors import AudioError, RvcError

_NAME_LENGTH = 120
_ZIP_WAY_OUT = "zip only the recordings themselves"

# For each file, where it lies now (it is copied, and stays) and what the person called it.
Named = Sequence[tuple[Path, str]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file that was sent in, by itself or within a zip."""

    path: Path  # where it lies, once it is unpacked if it came in a zip; else where that lies
    name: str
    size_bytes: int
    packed: zips.Packed | None = None
    archive: tuple[int, str] = (0, "")  # which of those that were sent in it came in, and what that is called
    refusal: RvcError | None = None  # of it, or of a zip that is not in order


def sources_of(files: Named, *, most: int, most_mb: float) -> list[Source]:
    """List what was sent in, and what is in the zips among it; AudioError if it is nothing, or too much."""
    refuse(not files, "No file was chosen; choose recordings, or a zip of them.")
    sources: list[Source] = []
    for number, (path, called) in enumerate(files):
        name, size = readable_name(called), size_of(path)
        if not size or not zips.is_zip(path):
            sources.append(Source(path=path, name=name, size_bytes=size))
            continue
        try:
            found = _recordings_in(path, name, most, most_mb)
        except AudioError as error:
            sources.append(Source(path=path, name=name, size_bytes=size, refusal=error))
            continue
        for packed in found:
            inner, size, archive = readable_name(packed.name), packed.size_bytes, (number, name)
            sources.append(Source(path=path, name=inner, size_bytes=size, packed=packed, archive=archive))
    refuse(len(sources) > most, f"These are {len(sources)} files; send at most {most} at a time.")
    total = sum(source.size_bytes for source in sources)
    _refuse_too_much(total, most_mb, f"These files have {total / 1e6:.4g} MB in all")
    return sources


def ready(sources: Sequence[Source], folder: Path, most_bytes: int) -> list[Source]:
    """Unpack what came in zips, and refuse what is not to be opened, before any of it is."""
    return tried(unpacked(sources, folder, most_bytes), most_bytes)


def unpacked(sources: Sequence[Source], folder: Path, most_bytes: int) -> list[Source]:
    """Unpack what came in zips, but for files of more than so many bytes; room was asked for before.

    A file of a zip that is damaged has its refusal, one that is not has its place in `folder`, which is made.
    """
    done: list[Source] = []
    for (number, name), group in groupby(sources, lambda source: source.archive):
        of_one = list(group)
        wanted = [one.packed for one in of_one if one.packed is not None and one.size_bytes <= most_bytes]
        if not wanted:
            done += of_one
            continue
        place = folder / str(number)
        place.mkdir(parents=True)
        faults: dict[int, str] = {}
        whole = None  # why nothing of it could be unpacked
        try:
            faults = zips.extract(of_one[0].path, wanted, place, _refusals(name))
        except AudioError as error:
            whole = error
        for one in of_one:
            if one.packed is not None and one.size_bytes <= most_bytes:
                fault = faults.get(one.packed.number)
                refusal = _refusals(one.name).of(fault) if fault else whole
                one = replace(one, path=place / str(one.packed.number), refusal=refusal)
            done.append(one)
    return done


def tried(sources: Sequence[Source], most_bytes: int) -> list[Source]:
    """Refuse what cannot be opened within limits, before this process opens any of it."""
    to_try = [one for one in sources if one.refusal is None and one.size_bytes <= most_bytes]
    found = trial.refusals([(one.path, one.name) for one in to_try])
    refused = {id(one): refusal for one, refusal in zip(to_try, found, strict=True)}
    return [replace(one, refusal=one.refusal or refused.get(id(one))) for one in sources]


def faults(files: Named, *, most: int, most_mb: float, most_bytes: int) -> Rows:
    """Return those files that are no recordings, by name and reason, as far as their beginnings tell.

    Zips are looked into, but not unpacked; files of more than `most_bytes` are left to the upload.
    """
    found: Rows = []
    given = sources_of(files, most=most, most_mb=most_mb)
    single = [source for source in given if source.packed is None and source.size_bytes <= most_bytes]
    for source in tried(single, most_bytes):
        try:
            if source.refusal is not None:
                raise source.refusal
            probe(source.path, name=source.name)
        except RvcError as error:
            found.append({"name": source.name, "reason": str(error)})
    return found


def refuse(wrong: bool, sentence: str) -> None:
    if wrong:
        raise AudioError(sentence)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0  # a missing file is refused by probe


def readable_name(name: str) -> str:
    """Reduce what a file was called, perhaps a path of any system, to 1 to 120 printable characters."""
    last = PureWindowsPath(PurePosixPath(name).name).name
    clean = "".join(character for character in last if character.isprintable()).strip()
    if len(clean) > _NAME_LENGTH:
        clean = f"{clean[: _NAME_LENGTH - 10]}…{clean[-9:]}"
    return clean or "unnamed file"


def _refuse_too_much(total: int, most_mb: float, said: str) -> None:
    sentence = f"{said}; send at most {most_mb:g} MB at a time."
    refuse(total > most_mb * 1e6, sentence)


def _refusals(name: str) -> zips.Refusals:
    damaged = f"{name} is damaged or of a kind that cannot be read; zip the files again."
    return zips.Refusals(
        error=AudioError,
        too_many=f"{name} holds too many files; {_ZIP_WAY_OUT}.",
        damaged=damaged,
        encrypted=f"{name} is protected by a password; zip the recordings without one.",
        lying=damaged,
    )


def _recordings_in(archive: Path, name: str, most: int, most_mb: float) -> list[zips.Packed]:
    """Check a zip as a whole and return what may be recordings in it; what is none is found later."""
    refusals = _refusals(name)
    found = zips.files_in(archive, refusals)
    refuse(not found, f"{name} holds no files; {_ZIP_WAY_OUT}.")
    refuse(len(found) > most, f"{name} holds {len(found)} files; send at most {most} at a time.")
    refuse(any(packed.is_encrypted for packed in found), refusals.encrypted)
    plain = all(packed.is_plain and packed.name.isprintable() for packed in found)
    refuse(not plain, f"{name} holds a link, or a file whose name points elsewhere; {_ZIP_WAY_OUT}.")
    total = sum(packed.size_bytes for packed in found)
    _refuse_too_much(total, most_mb, f"{name} unpacks to {total / 1e6:.4g} MB")
    return found
