"""Recordings that are named on the command line, and where what is made of them goes."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rvc.audio.containers import sniff
from rvc.audio.writer import WRITABLE
from rvc.errors import ConfigError, UnknownNameError
from rvc.files import atomic_write

STANDARD = "-"  # standard input, or output
STDIN_NAME = "standard input"


@dataclass(frozen=True, kw_only=True)
class Found:
    path: Path
    name: str  # what messages call it
    place: Path  # in a folder of results, without its ending there


@dataclass(frozen=True, kw_only=True)
class Planned:
    source: Found
    target: Path | None  # None: standard output


def find_files(inputs: Sequence[str], folder: Path, *, leave_out: Path | None = None) -> list[Found]:
    """Return the files that are named, and the recordings in folders; ConfigError of what cannot be read.

    In a folder what is a recording by its content is taken, at any depth, without hidden files and what lies
    in `leave_out`. Standard input is kept in `folder`.
    """
    found: list[Found] = []
    for given in inputs:
        path = Path(given)
        if given == STANDARD:
            found.append(_from_stdin(folder))
        elif path.is_dir():
            inside = [
                Found(path=one, name=str(one.relative_to(path)), place=one.relative_to(path))
                for one in _files_in(path, leave_out)
                if _is_recording(one)
            ]
            if not inside:
                raise UnknownNameError(f"There are no recordings in the folder {given}; choose another.")
            found += inside
        else:
            _require_readable(path)
            found.append(Found(path=path, name=path.name, place=Path(path.name)))
    return found


def find_result_form(output: str, form: str | None) -> str:
    """Return the form of the result, by the name of its file or as it was asked for."""
    ending = Path(output).suffix.removeprefix(".").lower()
    if output == STANDARD or not ending or _is_folder(output):
        return form or "wav"
    if ending not in WRITABLE:
        raise ConfigError(f"{output} ends in .{ending}; write to one of: {', '.join(WRITABLE)}.")
    if form not in (None, ending):
        raise ConfigError(f"{output} is not called .{form}; leave out --format, or change the name.")
    return ending


def plan(  # noqa: PLR0913 -- what was asked for
    found: Sequence[Found],
    output: str,
    form: str,
    *,
    several: bool,
    overwrite: bool,
    skip_existing: bool = False,
) -> list[Planned]:
    """Say where the result of each recording goes; ConfigError before anything is done for nothing."""
    if output == STANDARD:
        if len(found) > 1:
            raise ConfigError("Standard output takes one result; name a folder for several with --output.")
        require_no_terminal()
        return [Planned(source=found[0], target=None)]
    folder = Path(output)
    if several or _is_folder(output):
        planned = [Planned(source=one, target=folder / place) for one, place in _places(found, form)]
    else:
        planned = [Planned(source=found[0], target=folder)]
    _require_apart(planned)
    if skip_existing:
        planned = [one for one in planned if one.target and not one.target.exists()]
    for one in planned:
        if one.target is not None:
            require_writable(one.target, overwrite=overwrite, source=one.source.path)
    return planned


def require_no_terminal() -> None:
    if sys.stdout.isatty():
        raise ConfigError("A terminal cannot show this; say where it goes, with --output FILE or > FILE.")


def require_writable(target: Path, *, overwrite: bool, source: Path | None = None) -> None:
    """Refuse to write where something is already, or nothing can be written."""
    if os.path.lexists(target):
        if source is not None and source.exists() and target.exists() and source.samefile(target):
            raise ConfigError(f"{target} is the recording itself; write the result somewhere else.")
        if not target.is_file():
            raise ConfigError(f"{target} is no file that could be replaced; give another name.")
        if not overwrite:
            raise ConfigError(f"{target} exists already; give another name, or --overwrite.")
    there = next(path for path in target.absolute().parents if os.path.lexists(path))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{target} cannot be written: {there} is no folder to write in; choose another.")


def deliver(made: Path, target: Path | None) -> None:
    """Copy a result to where it goes, whole or not at all; to standard output for None."""
    if target is None:
        with made.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as part:
            shutil.copyfile(made, part)
    except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise ConfigError(f"{target} cannot be written ({error.strerror}); choose another place.") from error


def _places(found: Sequence[Found], form: str) -> Iterator[tuple[Found, Path]]:
    """Give each recording a place in the folder of results; those that would meet keep their endings."""
    plain = [one.place.with_suffix(f".{form}") for one in found]
    times = Counter(str(place).casefold() for place in plain)
    for one, place in zip(found, plain, strict=True):
        alone = times[str(place).casefold()] == 1
        yield one, place if alone else one.place.with_name(f"{one.place.name}.{form}")


def _require_apart(planned: Sequence[Planned]) -> None:
    """Refuse that one result would replace another."""
    taken: dict[str, Planned] = {}
    for one in planned:
        other = taken.setdefault(str(one.target).casefold(), one)
        if other is not one:
            raise ConfigError(
                f"{other.source.path} and {one.source.path} would both become {one.target}; convert them "
                "into folders of their own."
            )


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _files_in(folder: Path, leave_out: Path | None) -> list[Path]:
    without = leave_out.resolve() if leave_out is not None else None
    return sorted(
        path
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
        and (without is None or without == folder.resolve() or not path.resolve().is_relative_to(without))
    )


def _is_recording(path: Path) -> bool:
    try:
        return sniff(path) is not None
    except OSError:
        return False


def _require_readable(path: Path) -> None:
    if not os.path.lexists(path):
        raise UnknownNameError(f"There is no file {path}; check the name.")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no file; give a recording, a folder, or - for standard input.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); choose another file.") from error


def _from_stdin(folder: Path) -> Found:
    if sys.stdin.isatty():
        raise ConfigError("Nothing comes from standard input; give it a recording, as in: ... - < in.wav.")
    path = folder / STDIN_NAME
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return Found(path=path, name=STDIN_NAME, place=Path("standard-input"))
