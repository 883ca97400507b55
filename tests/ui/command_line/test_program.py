"""Every command and every setting has its words, and the documents name all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields

import pytest

import app
from pipelines.job_spec import PrepareSettings
from rvc.engine.options import ConvertOptions
from rvc.files import ROOT
from rvc.training.settings import TrainSettings
from tests.ui.command_line.conftest import Call
from ui.command_line.options import HELP, NOT_OFFERED
from ui.command_line.program import COMMANDS

README = (ROOT / "README.md").read_text(encoding="utf-8")
LIGHT = "import sys, app\ntry:\n    app.main(sys.argv[1:])\nfinally:\n    print(sorted(sys.modules))"


def test_the_readme_names_every_command_and_what_it_does() -> None:
    named = dict(
        re.findall(r"^\| `python app\.py ([a-z][a-z-]*)[^|]*` \| ([^|;]+?)[;|]", README, re.MULTILINE)
    )
    assert {name: does.strip() for name, does in named.items()} == {
        name: does for name, (_, does) in COMMANDS.items()
    }


def test_the_help_of_the_program_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.rsplit(": ", 1)[1].rstrip(".").split(", ") == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(call: Call, name: str) -> None:
    ended = call(name, "--help")
    assert ended.status == 0
    assert COMMANDS[name][1][1:] in " ".join(ended.out.split())
    assert "--json" in ended.out


def test_every_setting_is_an_option() -> None:
    kinds = (ConvertOptions, TrainSettings, PrepareSettings)
    names = {field.name for kind in kinds for field in fields(kind)}
    assert names <= HELP.keys() | set(NOT_OFFERED)


@pytest.mark.parametrize("arguments", [["--help"], ["voices"], ["convert", "--help"]])
def test_what_is_answered_at_once_loads_nothing_heavy(arguments: list[str]) -> None:
    command = [sys.executable, "-c", LIGHT, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    loaded = done.stdout.splitlines()[-1]
    assert not [name for name in ("torch", "gradio", "gradio_client", "scipy") if f"'{name}'" in loaded]
