"""live-test: how long Live takes from mouth to ear on a running server, and whether it keeps up."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

import typer

from rvc.errors import ConfigError
from rvc.files import ROOT
from ui.command_line.convert import Voice
from ui.command_line.exits import FAULT
from ui.command_line.files import find_files
from ui.command_line.options import command
from ui.command_line.session import Session, passing_folder
from ui.command_line.voices import find_voice

EXAMPLE = ROOT / "assets" / "examples" / "recordings" / "visitor.flac"
RATE_HZ = 48_000


@command()
def live_test(
    session: Session,
    voice: Voice,
    recording: Annotated[
        str, typer.Argument(metavar="FILE", help="what is spoken, in real time; the example when not given")
    ] = str(EXAMPLE),
    delay: Annotated[
        Literal["default", "low"], typer.Option("--delay", help="the usual delay, or a lower one")
    ] = "default",
) -> None:
    if not session.server:
        raise ConfigError("Live runs on a server; name it, for example --server http://127.0.0.1:7860.")
    from pipelines.live.loopback import measure
    from rvc.audio.reader import load_mono

    with passing_folder() as folder:
        found, *others = find_files([recording], folder)
        if others:
            raise ConfigError("One recording is spoken; name a single file.")
        wav, _ = load_mono(found.path, rate_hz=RATE_HZ, name=found.name)
        with session.backend(folder) as backend:
            model = find_voice(backend.voices(), voice)
    headers = {"x-timbre-token": session.token or secrets.token_urlsafe()}
    heard = measure(session.server, model["id"], wav, RATE_HZ, delay=delay, headers=headers)
    row = {"delay_s": heard.delay_s, "gaps": heard.gaps, "gap_s": heard.gap_s, "busy": heard.busy}
    row |= {"block_ms": heard.block_ms, "behind": heard.behind, "model_id": model["id"]}
    session.screen.result(
        row,
        f"{1e3 * heard.delay_s:.0f} ms from mouth to ear, {1e3 * heard.devices_s:.0f} of them for the "
        f"devices; {heard.gaps} gaps, {1e3 * heard.gap_s:.0f} ms in all; computing took "
        f"{100 * heard.busy:.0f} % of the time.",
    )
    if heard.behind:
        session.screen.say("The machine does not keep up; end other work on it, or choose the usual delay.")
        raise typer.Exit(FAULT)
