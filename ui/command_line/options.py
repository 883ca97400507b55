"""Options of commands: those that all have, and settings made from the dataclasses that hold them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, Protocol, get_args, get_type_hints

import typer

from pipelines.settings import absolute
from rvc.errors import RvcError
from rvc.files import is_disk_full
from ui.command_line.exits import FAULT, STOPPED, status_of
from ui.command_line.screen import Screen
from ui.command_line.session import Session

Command = Callable[..., None]
DISK_FULL = "The disk is full, so nothing was kept; free some room on it, and try again."

# Of settings whose name is not what one would type.
SHORT = {"transpose_semitones": "--transpose", "total_steps": "--steps", "sample_rate_hz": "--sample-rate"}
HELP = {
    "transpose_semitones": "move the melody by so many semitones; by itself it suits the voice",
    "index_rate": "share of the content that comes from the voice's own recordings",
    "protect": "how much of that share breath and consonants get",
    "follow_loudness": "how far the recording's loudness is followed",
    "f0_estimator": "what finds the pitch; by itself what suits the voice",
    "format": "what the result is written as, when its name does not tell",
    "chunk_s": "seconds that are spoken at once",
    "engine": "lite, or rvc for a voice that RVC programs read",
    "total_steps": "steps at most; by itself as many as suit the recordings; 0: a voice without training",
    "batch_size": "slices in one step",
    "score_every": "steps between two scorings",
    "checkpoint_every": "steps between two checkpoints",
    "patience": "scorings in a row without a better one that end it",
    "seed": "of everything that is random",
    "threads": "that compute; all cores when not given",
    "version": "rvc: v1 or v2",
    "sample_rate_hz": "rvc: 32000, 40000 or 48000",
    "f0": "rvc: whether the voice follows a melody",
    "precision": "rvc: float32, tf32, bfloat16 or float16",
    "gradient_checkpointing": "rvc: take less memory and more time",
    "from_scratch": "rvc: begin with random weights",
    "gpus": "rvc: how many compute each step together; the voice is that of one",
    "language": "that is spoken, such as en or pt-BR",
    "voice_gain_db": "how much louder the voice is",
    "backing_gain_db": "how much louder the backing is",
    "reverb": "share of what rings after the original vocals that is kept",
    "speed": "times as fast as it is spoken by itself",
    "synthesiser": "what reads aloud; by itself the best that is here",
    "reduce_noise": "reduce noise first; dulls a clean recording",
    "highpass_hz": "remove what lies below",
    "slice_level_db": "level of the speech that every slice is given, dBFS",
    "shortest_slice_s": "of the slices that recordings are cut to, in seconds",
    "longest_slice_s": "of the slices that recordings are cut to, in seconds",
}


NOT_OFFERED = ("patience_from",)  # noted by the program


def _folder(text: str) -> Path:
    try:
        return absolute(Path(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


AsJson = Annotated[bool, typer.Option("--json", help="print results as JSON, one object a line")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        parser=_folder, metavar="FOLDER", help="folder of voices and jobs (default: DATA_DIR or ./data)"
    ),
]
Server = Annotated[
    str,
    typer.Option(
        envvar="TIMBRE_SERVER", metavar="URL", help="work on this running server, not on the folder"
    ),
]
Token = Annotated[
    str,
    typer.Option(
        envvar="TIMBRE_TOKEN", metavar="TOKEN", help="a token of that server, made under Account on its page"
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace files that exist")]


class Settings(Protocol):
    """A dataclass that knows what its fields may be."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    ranges: ClassVar[Mapping[str, tuple[float, float]]]
    choices: ClassVar[Mapping[str, Collection[object]]]


def command(*kinds: type[Settings], remote: bool = True) -> Callable[[Command], Command]:
    """Make a command of a function: its first parameter, a Session, comes of the options that all have.

    With `kinds`, dataclasses of settings, the second, `settings`, is given those of them that were set. What
    goes wrong is one sentence, and an exit status.
    """
    settings = {name: parameter for kind in kinds for name, parameter in _settings_of(kind).items()}
    common: dict[str, tuple[object, object]] = {"as_json": (AsJson, False), "data_dir": (DataDir, None)}
    common |= {"server": (Server, ""), "token": (Token, "")} if remote else {}

    def decorate(function: Command) -> Command:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        own = own[1:] if kinds else own

        @wraps(function)
        def run(**given: Any) -> None:  # noqa: ANN401
            place = {name: given.pop(name) for name in common}
            asked = {name: given.pop(name) for name in settings}
            if kinds:
                given["settings"] = {name: value for name, value in asked.items() if value is not None}
            _ended(function, Session(screen=Screen(as_json=place.pop("as_json")), **place), given)

        last = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for name, (kind, default) in common.items()
        ]
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        parameters += [*settings.values(), *last]
        shown: Any = run
        shown.__signature__ = inspect.Signature(parameters)
        shown.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _ended(function: Command, session: Session, given: dict[str, Any]) -> None:
    try:
        session.start_logging()
        function(session, **given)
    except RvcError as error:
        session.screen.say(str(error))
        raise typer.Exit(status_of(error)) from error
    except KeyboardInterrupt as error:
        session.screen.say("Stopped.")
        raise typer.Exit(STOPPED) from error
    except OSError as error:
        if not is_disk_full(error):
            raise
        session.screen.say(DISK_FULL)
        raise typer.Exit(FAULT) from error


def _settings_of(kind: type[Settings]) -> dict[str, inspect.Parameter]:
    """Return an option for each field of a dataclass; None stands for what was not set."""
    hints, found = get_type_hints(kind), {}
    for field in fields(kind):
        if field.name in NOT_OFFERED:
            continue
        plain = next((one for one in get_args(hints[field.name]) if one is not NoneType), hints[field.name])
        limits: dict[str, Any] = {}
        if field.name in kind.ranges and plain in (int, float):
            limits = dict(zip(("min", "max"), map(plain, kind.ranges[field.name]), strict=True))
        allowed = [one for one in kind.choices.get(field.name, ()) if one is not None]
        if plain is str and allowed:
            plain = Literal[tuple(allowed)]
        long = "--" + field.name.replace("_", "-")
        names = [SHORT.get(field.name, long)]
        if plain is bool:
            names = [f"{long}/--no{long[1:]}"]
        option = typer.Option(*names, help=HELP[field.name], show_default=False, **limits)
        found[field.name] = inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[plain | None, option],
        )
    return found
