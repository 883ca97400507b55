"""convert: recordings, one or many, in a voice; what they leave in the data folder is removed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipelines.store.records import Row
from pipelines.zips import is_zip
from rvc.engine.options import ConvertOptions
from rvc.errors import ConfigError
from ui.command_line.backend import Backend, BatchLimits
from ui.command_line.exits import REFUSED, require_completed
from ui.command_line.files import STANDARD, Planned, deliver, find_files, find_result_form, plan
from ui.command_line.options import Overwrite, command
from ui.command_line.screen import Screen
from ui.command_line.session import Session, passing_folder
from ui.command_line.voices import find_voice
from ui.command_line.work import deliver_result, follow, passing

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="FILE|FOLDER|-...", help="recordings, folders of them, or standard input"),
]
Voice = Annotated[
    str, typer.Option("--voice", "-v", metavar="VOICE", help="its name, or the beginning of its id")
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", "--out", metavar="FILE|FOLDER|-", help="where the result goes; - is standard output"
    ),
]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="leave out what has its result already")]


@command(ConvertOptions)
def convert(  # noqa: PLR0913 -- one parameter for each option
    session: Session,
    settings: Row,
    inputs: Inputs,
    voice: Voice,
    output: Output,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
) -> None:
    form = require_form(session, output, settings)
    with passing_folder() as folder:
        found = find_files(inputs, folder, leave_out=Path(output))
        several = len(found) > 1 or any(Path(one).is_dir() for one in inputs)
        plans = plan(found, output, form, several=several, overwrite=overwrite, skip_existing=skip_existing)
        with session.backend(folder) as backend:
            model = find_voice(backend.voices(), voice)
            conversion = Conversion(backend, session.screen, model, settings | {"format": form})
            if conversion.run(plans):
                raise typer.Exit(REFUSED)


def require_form(session: Session, output: str, settings: Row) -> str:
    """Return the form of the result; ConfigError if it cannot go where it shall."""
    if output == STANDARD and session.screen.as_json:
        raise ConfigError("Standard output cannot take a recording and JSON; leave out one of them.")
    return find_result_form(output, settings.get("format"))


class Conversion:
    """Recordings on their way into one voice."""

    def __init__(self, backend: Backend, screen: Screen, model: Row, settings: Row) -> None:
        self._backend, self._screen, self._model, self._settings = backend, screen, model, settings

    def run(self, plans: Sequence[Planned]) -> int:
        """Convert them all and return how many failed; one alone that fails is its error."""
        if len(plans) == 1:
            self._one(plans[0])
            return 0
        if zips := [one.source.name for one in plans if is_zip(one.source.path)]:
            raise ConfigError(f"{zips[0]} is a zip; unpack it, and give the folder.")
        failed = sum(self._many(part) for part in batches(plans, self._backend.limits()))
        if failed:
            self._screen.say(f"{failed} of {len(plans)} recordings could not be converted.")
        return failed

    def _one(self, planned: Planned) -> None:
        row = self._started("conversion", [planned])
        row = deliver_result(self._backend, self._screen, row, planned.target)
        self._tell(planned, row["files"][0] | (row["result"] or {}) | {"status": "completed"})

    def _many(self, plans: Sequence[Planned]) -> int:
        """Convert recordings as one batch, each written as soon as it is done; return how many failed."""
        told: set[int] = set()
        with passing(self._backend, self._started("batch", plans)) as row:

            def take(row: Row) -> None:
                for number, file in enumerate(row["files"]):
                    if number not in told and file["status"] in ("completed", "failed"):
                        told.add(number)
                        if file["status"] == "completed":
                            deliver(self._backend.result(row["id"], number + 1), plans[number].target)
                        self._tell(plans[number], file)

            row = follow(self._backend, self._screen, row, take)
            failed = sum(file["status"] == "failed" for file in row["files"])
            if row["status"] != "failed" or row["dead_letter"] or not failed:
                require_completed(row)
        return failed

    def _started(self, kind: str, plans: Sequence[Planned]) -> Row:
        files = [(one.source.path, one.source.name) for one in plans]
        return self._backend.start(kind, files, self._settings, model_id=self._model["id"])

    def _tell(self, planned: Planned, file: Row) -> None:
        """Print what became of a recording; to people only what failed, or where the result lies."""
        done = file["status"] == "completed"
        row = {
            "input": str(planned.source.path),
            "output": str(planned.target) if done and planned.target else None,
            "status": file["status"],
            "reason": file.get("reason"),
            "seconds": file.get("seconds"),
            "transpose_semitones": file.get("transpose_semitones"),
            "model_id": self._model["id"],
            "model_name": self._model["model_name"],
        }
        if not done:
            self._screen.say(f"{planned.source.name}: {file.get('reason')}")
        if self._screen.as_json or (done and planned.target):
            self._screen.result(row, str(planned.target))


def batches(plans: Sequence[Planned], limits: BatchLimits) -> Iterator[list[Planned]]:
    """Divide recordings into what one batch may hold, in their order."""
    part: list[Planned] = []
    size_mb = 0.0
    for one in plans:
        more_mb = one.source.path.stat().st_size / 1e6
        if part and (len(part) == limits.files or size_mb + more_mb > limits.megabytes):
            yield part
            part, size_mb = [], 0.0
        part.append(one)
        size_mb += more_mb
    if part:
        yield part
