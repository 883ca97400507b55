"""doctor: what works on this machine, and what to do about the rest; or what a public server still lacks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ui.command_line.exits import FAULT
from ui.command_line.options import command
from ui.command_line.session import Session


@command(remote=False)
def doctor(
    session: Session,
    public: Annotated[
        bool, typer.Option("--public", help="look instead at what a server open to strangers must have")
    ] = False,
) -> None:
    from pipelines.checking import machine, public_server

    settings, screen = session.settings, session.screen
    place = public_server if public else machine
    findings = []
    for finding in public_server.check_server(settings) if public else machine.look_around(settings):
        findings.append(finding)
        screen.result(asdict(finding), finding.line)
    missing = [finding.name for finding in findings if finding.missing]
    if not screen.as_json:
        said = place.MISSING.format(names=", ".join(missing)) if missing else place.COMPLETE
        screen.result({}, said)
    if missing:
        raise typer.Exit(FAULT)
