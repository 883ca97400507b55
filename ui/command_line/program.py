"""The commands of `python app.py COMMAND ...`.

Exit status: 0 done, 1 a fault of the program or the machine, 2 what was given cannot be used, 3 stopped.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

import typer

from ui.command_line.convert import convert
from ui.command_line.cover import cover
from ui.command_line.doctor import doctor
from ui.command_line.exits import DONE, STOPPED
from ui.command_line.is_synthetic import is_synthetic
from ui.command_line.live_test import live_test
from ui.command_line.say import say
from ui.command_line.sbom import sbom
from ui.command_line.train import prepare, train
from ui.command_line.voices import export, import_, voices

PROGRAM = "python app.py"
# What each does, as README's table says it too.
COMMANDS = {
    "convert": (convert, "converts recordings, one or a folder of them, into a voice"),
    "cover": (cover, "sings a song in a voice, over its own backing"),
    "say": (say, "speaks a text in a voice"),
    "train": (train, "trains a voice on recordings, and goes on with a training that was stopped"),
    "prepare": (prepare, "reports on recordings of a voice before it is trained"),
    "voices": (voices, "lists the voices"),
    "import": (import_, "adds a voice from a file, of Timbre or of another RVC program"),
    "export": (export, "writes a voice to a file"),
    "is-synthetic": (is_synthetic, "says which marks of synthetic sound recordings have"),
    "live-test": (live_test, "measures the delay of Live on a running server, and whether it keeps up"),
    "sbom": (sbom, "writes a software bill of materials (CycloneDX), or a table of licences"),
    "doctor": (doctor, "says what works on this machine, and what to do about the rest"),
}


def build_program() -> typer.Typer:
    program = typer.Typer(
        name=PROGRAM,
        help="Clone a voice, and convert any recording into it. Without a command it serves the page.",
        add_completion=False,
        rich_markup_mode=None,  # errors in a line, not in a box
        pretty_exceptions_enable=False,
        no_args_is_help=True,
    )
    for name, (function, does) in COMMANDS.items():
        program.command(name, help=f"{does[0].upper()}{does[1:]}.")(function)
    return program


def run(arguments: Sequence[str]) -> int:
    """Run a command with its options, and return the exit status; SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        build_program()(args=list(arguments), prog_name=PROGRAM)
    except SystemExit as ended:
        return int(ended.code or DONE)
    except KeyboardInterrupt:
        return STOPPED
    return DONE
