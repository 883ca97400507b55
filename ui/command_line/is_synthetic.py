"""is-synthetic: which marks recordings have."""

from __future__ import annotations

from typing import Annotated

import typer

from ui.command_line.files import find_files
from ui.command_line.options import command
from ui.command_line.session import Session, passing_folder


@command()
def is_synthetic(
    session: Session,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="recordings, or folders of them")],
) -> None:
    with passing_folder() as folder:
        found = find_files(files, folder)
        with session.backend(folder) as backend:
            for one in found:
                row = backend.is_synthetic(one.path, one.name)
                lines = [f"{one.name}: {row['sentence']}"]
                for kind in ("watermark", "manifest", "tags"):
                    lines.append(f"  {kind}: {row[kind]['sentence']} {row[kind]['proves']}")
                session.screen.result(row, "\n".join(lines))
