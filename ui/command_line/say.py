"""say: a text, spoken in a voice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.job_spec import SpeechOptions
from pipelines.store.records import Row
from ui.command_line.convert import Output, Voice, require_form
from ui.command_line.files import STANDARD, Found, find_files, plan
from ui.command_line.options import Overwrite, command
from ui.command_line.session import Session, passing_folder
from ui.command_line.voices import find_voice
from ui.command_line.work import deliver_result, tell_made


@command(SpeechOptions)
def say(  # noqa: PLR0913 -- one parameter for each option
    session: Session,
    settings: Row,
    text: Annotated[str, typer.Argument(metavar="TEXT|-", help="what is said; - is standard input")],
    voice: Voice,
    output: Output,
    overwrite: Overwrite = False,
) -> None:
    form = require_form(session, output, settings)
    with passing_folder() as folder:
        spoken = Found(path=folder / "text", name="text", place=Path("text"))
        (planned,) = plan([spoken], output, form, several=False, overwrite=overwrite)
        if text == STANDARD:
            (given,) = find_files([text], folder)
            text = given.path.read_text(encoding="utf-8", errors="replace")
        with session.backend(folder) as backend:
            model = find_voice(backend.voices(), voice)
            row = backend.say(text, settings | {"format": form}, model["id"])
            deliver_result(backend, session.screen, row, planned.target)
    tell_made(session.screen, planned.target, model)
