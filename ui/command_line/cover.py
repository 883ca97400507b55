"""cover: a song with its vocals in a voice, or its vocals and its backing as two files."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.job_spec import CoverOptions
from pipelines.store.records import Row
from ui.command_line.convert import Output, Voice, require_form
from ui.command_line.files import find_files, plan
from ui.command_line.options import Overwrite, command
from ui.command_line.session import Session, passing_folder
from ui.command_line.voices import find_voice
from ui.command_line.work import deliver_result, tell_made

Song = Annotated[
    list[str], typer.Argument(metavar="SONG | VOCALS BACKING", help="one file, or two that are so named")
]


@command(CoverOptions)
def cover(  # noqa: PLR0913 -- one parameter for each option
    session: Session, settings: Row, song: Song, voice: Voice, output: Output, overwrite: Overwrite = False
) -> None:
    form = require_form(session, output, settings)
    with passing_folder() as folder:
        found = find_files(song, folder)
        (planned,) = plan(found[:1], output, form, several=False, overwrite=overwrite)
        with session.backend(folder) as backend:
            model = find_voice(backend.voices(), voice)
            files = [(one.path, one.name) for one in found]
            row = backend.start("cover", files, settings | {"format": form}, model_id=model["id"])
            deliver_result(backend, session.screen, row, planned.target)
    tell_made(session.screen, planned.target, model)
