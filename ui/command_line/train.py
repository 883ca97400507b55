"""train and prepare: recordings of a person, made ready and reported on, and made a voice."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.job_spec import CONSENT, PrepareSettings
from pipelines.store.records import Row
from rvc.errors import ConfigError, NotAllowedError, RvcError
from rvc.training.settings import TrainSettings
from ui.command_line.backend import Backend
from ui.command_line.convert import Inputs
from ui.command_line.exits import FaultError, StoppedError, require_completed
from ui.command_line.files import find_files
from ui.command_line.options import command
from ui.command_line.screen import Screen
from ui.command_line.session import Session, passing_folder
from ui.command_line.work import follow, remove
from ui.look.report_sentences import shared_sentences

Recordings = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE|FOLDER|-...", help="recordings of one person, zips or folders of them"),
]


@command(TrainSettings, PrepareSettings)
def train(  # noqa: PLR0913 -- one parameter for each option
    session: Session,
    settings: Row,
    inputs: Recordings = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="what the voice is called")] = "",
    consent: Annotated[bool, typer.Option("--consent", help=f"say: {CONSENT}")] = False,
    stated_by: Annotated[
        str, typer.Option(metavar="PERSON", help="who states that; for the card, with the date")
    ] = "",
    language: Annotated[
        str | None, typer.Option(metavar="TAG", help="that is spoken, such as en or nl-BE; for the card")
    ] = None,
    prepared: Annotated[
        str, typer.Option(metavar="ID", help="take the recordings that `prepare` was given")
    ] = "",
    resume: Annotated[str, typer.Option(metavar="ID", help="go on with a training that was stopped")] = "",
) -> None:
    if sum(map(bool, (inputs, prepared, resume))) != 1:
        raise ConfigError("Give recordings to train on, or --prepared ID, or --resume ID.")
    if resume and (settings or name or language):
        raise ConfigError("A training goes on as it began; leave out its name, language and settings.")
    if not resume and not consent:
        raise NotAllowedError(f"A voice needs its owner's permission; give --consent, which says: {CONSENT}.")
    session.require_owner()
    settings = settings | {"consent": True} | ({"language": language} if language else {})
    settings |= {"stated_by": stated_by} if stated_by else {}
    with passing_folder() as folder:
        files = [(one.path, one.name) for one in find_files(inputs or [], folder)]
        with session.backend(folder) as backend:
            if resume:
                row = backend.resume(resume)
            elif prepared:
                row = backend.train_prepared(prepared, settings, name)
            else:
                row = backend.start("training", files, settings, model_name=name)
            model = _trained(session, backend, row)
    session.screen.result(model, f"{model['id']}  {model['model_name']}")


def _trained(session: Session, backend: Backend, row: Row) -> Row:
    """Follow a training to its voice; one that was stopped can go on from what it has saved."""
    tell_refused(session.screen, row)
    try:
        row = require_completed(follow(backend, session.screen, row))
    except (KeyboardInterrupt, StoppedError, FaultError):
        session.screen.say(f"It goes on with: python app.py train --resume {row['id']}{session.place}")
        raise
    except RvcError:
        remove(backend, row)  # its recordings will not get better
        raise
    return next(model for model in backend.voices() if model["id"] == row["model_id"])


@command(PrepareSettings)
def prepare(session: Session, settings: Row, inputs: Inputs) -> None:
    session.require_owner()
    with passing_folder() as folder:
        files = [(one.path, one.name) for one in find_files(inputs, folder)]
        with session.backend(folder) as backend:
            row = backend.start("preprocessing", files, settings)
            try:
                require_completed(follow(backend, session.screen, row))
                report = backend.report(row["id"])
            except (KeyboardInterrupt, RvcError):
                remove(backend, row)
                raise
    session.screen.result(report | {"job_id": row["id"]}, "\n".join(report_lines(report)))
    session.screen.say(
        f"Train on them: python app.py train --prepared {row['id']} --name NAME --consent{session.place}"
    )


def report_lines(report: Row) -> list[str]:
    """Return the report on recordings for people: what all are like, what would help, and what of each."""
    noise = "" if report["snr_db"] is None else f", {report['snr_db']:.0f} dB above the noise"
    band = "" if report["bandwidth_hz"] is None else f", up to {report['bandwidth_hz'] / 1_000:.1f} kHz"
    lines = [f"{report['verdict']}: {report['speech_minutes']:.1f} minutes of speech{noise}{band}"]
    lines += [f"- {sentence}" for sentence in report["advice"]]
    shared, own = shared_sentences(report["files"])
    lines += [f"{one.about}: {one.sentence}" for one in shared]
    lines += [
        f"{file['name']}: {' '.join(said)}" for file, said in zip(report["files"], own, strict=True) if said
    ]
    return lines + [f"not used: {file['reason']}" for file in report.get("refused", ())]


def tell_refused(screen: Screen, row: Row) -> None:
    for file in row["refused"]:
        screen.say(f"Not used: {file['reason']}")
