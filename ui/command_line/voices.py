"""voices, import and export; and how a voice is named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipelines.store.records import Row, Rows
from rvc.errors import ConfigError, UnknownNameError
from ui.command_line.files import STANDARD, deliver, find_files, require_no_terminal, require_writable
from ui.command_line.options import Overwrite, command
from ui.command_line.session import Session, passing_folder

MOST_NAMED = 12
SHOWN_OF_ID = 12  # characters; any beginning that no other id has will do
HEAD = ("ID", "NAME", "ENGINE", "LANGUAGE", "MEDIAN", "FROM")


@command()
def voices(session: Session) -> None:
    with passing_folder() as folder, session.backend(folder) as backend:
        rows = backend.voices()
    if session.screen.as_json:
        for row in rows:
            session.screen.result(row, "")
        return
    table = [HEAD, *map(_cells, rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(HEAD))]
    for cells in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        session.screen.result({}, line.rstrip())


@command()
def import_(
    session: Session,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="a .zip, or a .pth and its .index")],
    name: Annotated[str, typer.Option(metavar="NAME", help="what it is called; else as its files say")] = "",
) -> None:
    session.require_owner()
    with passing_folder() as folder:
        found = [(one.path, one.name) for one in find_files(files, folder)]
        with session.backend(folder) as backend:
            row = backend.import_voice(found, name)
    session.screen.result(row, f"{row['id']}  {row['model_name']}")


@command()
def export(
    session: Session,
    voice: Annotated[str, typer.Argument(metavar="VOICE", help="its name, or the beginning of its id")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE|-", help="where the zip goes")],
    form: Annotated[
        str, typer.Option("--format", help="bundle, or rvc for other RVC programs", metavar="bundle|rvc")
    ] = "bundle",
    overwrite: Overwrite = False,
) -> None:
    target = None if output == STANDARD else Path(output)
    if target is not None:
        require_writable(target, overwrite=overwrite)
    elif session.screen.as_json:
        raise ConfigError("Standard output cannot take a zip and JSON; leave out one of them.")
    else:
        require_no_terminal()
    with passing_folder() as folder, session.backend(folder) as backend:
        row = find_voice(backend.voices(), voice)
        deliver(backend.export_voice(row["id"], form), target)
    if target is not None:
        session.screen.result(row | {"output": str(target)}, str(target))


def find_voice(rows: Rows, wanted: str) -> Row:
    """Return the voice of an id, of a name in whatever case, or whose id alone begins like this."""
    for same in (
        lambda row: row["id"] == wanted,
        lambda row: str(row["model_name"]).casefold() == wanted.strip().casefold(),
        lambda row: bool(wanted) and str(row["id"]).startswith(wanted),
    ):
        found = [row for row in rows if same(row)]
        if len(found) > 1:
            raise ConfigError(f"{wanted!r} may be {len(found)} voices; give an id: {_listed(found)}.")
        if found:
            return found[0]
    raise UnknownNameError(f"There is no voice {wanted[:40]!r}; choose one of: {_listed(rows)}.")


def _listed(rows: Sequence[Row]) -> str:
    said = [f"{row['model_name']} ({row['id'][:SHOWN_OF_ID]})" for row in rows[:MOST_NAMED]]
    more = len(rows) - MOST_NAMED
    return ", ".join(said) + (f", and {more} more" if more > 0 else "")


def _cells(row: Row) -> tuple[str, ...]:
    short = row["id"] if row["builtin"] else row["id"][:SHOWN_OF_ID]
    median = f"{row['f0']['median_hz']:.0f} Hz" if row.get("f0") else ""
    return (short, row["model_name"], row["engine"], row["language"] or "", median, row["origin"])
