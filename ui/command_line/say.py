"""say: a text, spoken in a voice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.job_spec import SpeechOptions
from pipelines.store.records import Row
from rvc.errors import ConfigError
from ui.command_line.convert import Output, Voice
from ui.command_line.exits import require_completed
from ui.command_line.files import STANDARD, Found, deliver, find_files, find_result_form, plan
from ui.command_line.options import Overwrite, command
from ui.command_line.session import Session, passing_folder
from ui.command_line.voices import find_voice
from ui.command_line.work import follow, passing


@command(SpeechOptions)
def say(  # noqa: PLR0913 -- one parameter for each option
    session: Session,
    settings: Row,
    text: Annotated[str, typer.Argument(metavar="TEXT|-", help="what is said; - is standard input")],
    voice: Voice,
    output: Output,
    overwrite: Overwrite = False,
) -> None:
    form = find_result_form(output, settings.get("format"))
    if output == STANDARD and session.screen.as_json:
        raise ConfigError("Standard output cannot take a recording and JSON; leave out one of them.")
    with passing_folder() as folder:
        spoken = Found(path=folder / "text", name="text", place=Path("text"))
        (planned,) = plan([spoken], output, form, several=False, overwrite=overwrite)
        if text == STANDARD:
            (given,) = find_files([text], folder)
            text = given.path.read_text(encoding="utf-8", errors="replace")
        with session.backend(folder) as backend:
            model = find_voice(backend.voices(), voice)
            with passing(backend, backend.say(text, settings | {"format": form}, model["id"])) as row:
                row = require_completed(follow(backend, session.screen, row))
                deliver(backend.result(row["id"]), planned.target)
    if planned.target is not None:
        told = {"output": str(planned.target), "status": "completed", "model_id": model["id"]}
        session.screen.result(told | {"model_name": model["model_name"]}, str(planned.target))
