"""sbom: what Timbre is made of, for whoever has to account for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from rvc.files import atomic_write
from ui.command_line.files import STANDARD, require_writable
from ui.command_line.options import Overwrite, command
from ui.command_line.session import Session


@command(remote=False)
def sbom(
    session: Session,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE|-", help="where it goes")] = STANDARD,
    licences: Annotated[
        bool, typer.Option("--licences", help="instead a table of packages and licences, in Markdown")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    from pipelines.checking.packages import bill_of_materials, licence_table

    text = licence_table() if licences else json.dumps(bill_of_materials(), indent=1) + "\n"
    if output == STANDARD:
        sys.stdout.write(text)
        return
    target = Path(output)
    require_writable(target, overwrite=overwrite)
    with atomic_write(target) as path:
        path.write_text(text, encoding="utf-8")
    session.screen.result({"output": output}, output)
