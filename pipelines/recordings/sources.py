"""What was sent in: single files, and those in zips; judged by name and size before a byte is kept."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipelines import zips
from rvc.errors import AudioError

_NAME_LENGTH = 120
_ZIP_WAY_OUT = "zip only the recordings themselves"

# For each file, where it lies now (it is copied, and stays) and what the person called it.
Named = Sequence[tuple[Path, str]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file that was sent in, by itself or within a zip."""

    path: Path
    name: str
    size_bytes: int
    entry: tuple[zipfile.ZipFile, zipfile.ZipInfo] | None = None
    refusal: AudioError | None = None  # of a zip that is not in order

    def unpack(self, path: Path) -> Path:
        """Return where the file lies: if it came in a zip, at `path` now; AudioError if it is damaged."""
        if self.entry is None:
            return self.path
        with zips.refusing(_refusals(self.name)):
            zips.extract(self.entry[0], {path: self.entry[1]})
        return path


def sources_of(files: Named, stack: ExitStack, *, most: int, most_mb: float) -> list[Source]:
    """List what was sent in, zips open until the stack is left; AudioError if it is nothing, or too much."""
    refuse(not files, "No file was chosen; choose recordings, or a zip of them.")
    sources: list[Source] = []
    for path, called in files:
        name, size = readable_name(called), size_of(path)
        if not size or not zips.is_zip(path):
            sources.append(Source(path=path, name=name, size_bytes=size))
            continue
        try:
            refusals = _refusals(name)
            zipped = stack.enter_context(zips.open_checked(path, refusals))
            infos = _recordings_in(zipped, name, refusals, most, most_mb)
        except AudioError as error:
            sources.append(Source(path=path, name=name, size_bytes=size, refusal=error))
            continue
        for info in infos:
            inner, size = readable_name(info.filename), info.file_size
            sources.append(Source(path=path, name=inner, size_bytes=size, entry=(zipped, info)))
    refuse(len(sources) > most, f"These are {len(sources)} files; send at most {most} at a time.")
    total = sum(source.size_bytes for source in sources)
    _refuse_too_much(total, most_mb, f"These files have {total / 1e6:.4g} MB in all")
    return sources


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


def _recordings_in(
    zipped: zipfile.ZipFile, name: str, refusals: zips.Refusals, most: int, most_mb: float
) -> list[zipfile.ZipInfo]:
    """Check a zip as a whole and return what may be recordings in it; what is none is found later."""
    infos = zips.files_of(zipped)
    refuse(not infos, f"{name} holds no files; {_ZIP_WAY_OUT}.")
    refuse(len(infos) > most, f"{name} holds {len(infos)} files; send at most {most} at a time.")
    zips.refuse_encrypted(infos, refusals)
    for info in infos:
        plain = zips.is_plain(info) and info.filename.isprintable()
        refuse(not plain, f"{name} holds a link, or a file whose name points elsewhere; {_ZIP_WAY_OUT}.")
    total = sum(info.file_size for info in infos)
    _refuse_too_much(total, most_mb, f"{name} unpacks to {total / 1e6:.4g} MB")
    return infos
