"""The house: who may import whom, how long a file and a function may be, and what the server never loads."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from rvc.files import ROOT
from tests.count_lines import code_lines, files_of, parsed, sources

MAX_CODE_LINES = 300
MAX_FUNCTION_LINES = 60

# The rooms, one tuple a level, from the front to the back. A module may import from its own room and from
# those of the levels behind it, never from one in front or beside.
LEVELS = (
    ("app",),
    ("ui.page", "ui.command_line"),
    ("ui.endpoints",),
    ("ui.tabs",),
    ("ui.server",),
    ("ui.look",),
    ("pipelines.zerogpu",),
    (
        "pipelines.worker",
        "pipelines.cluster",
        "pipelines.demo",
        "pipelines.examples",
        "pipelines.commands",
        "pipelines.checking",
    ),
    ("pipelines.worker_tasks",),
    ("pipelines.jobs", "pipelines.training", "pipelines.live"),
    (
        "pipelines.conversion",
        "pipelines.recordings",
        "pipelines.speech",
        "pipelines.voices",
        "pipelines.spectrogram_picture",
        "pipelines.pictures",
    ),
    ("pipelines.users", "pipelines.weights", "pipelines.marks"),
    ("pipelines.store",),
    ("pipelines.events", "pipelines.job_spec", "pipelines.zips"),
    ("pipelines.settings", "pipelines.logs", "pipelines.monitoring", "pipelines.download"),
    ("rvc.pretrain", "rvc.live"),
    ("rvc.blend",),
    ("rvc.voice",),
    ("rvc.lite", "rvc.vits"),
    ("rvc.training",),
    ("rvc.engine",),
    ("rvc.pitch",),
    ("rvc.analysis",),
    ("rvc.audio",),
    ("rvc.torch_file", "rvc.sandbox", "rvc.checked"),
    ("rvc.errors", "rvc.files", "rvc.memory", "rvc.steps"),
)
LEVEL = {room: number for number, level in enumerate(LEVELS) for room in level}
PACKAGES = ("ui", "pipelines", "rvc")

# `pipelines.jobs` runs in the server, these run in its children; what both need stands behind both.
CHILD = (
    "pipelines.worker",
    "pipelines.worker_tasks",
    "pipelines.training",
    "pipelines.conversion",
    "pipelines.live",
)

# The server process: the page, and what it imports. The other modules of pipelines run in child processes.
SERVER = (
    "app",
    "pipelines.settings",
    "pipelines.store.registry",
    "pipelines.jobs.service",
    "pipelines.recordings.uploads",
    "pipelines.voices.library",
    "pipelines.weights",
)
HEAVY = ("torch", "torchaudio", "librosa", "silero_vad", "noisereduce", "faiss", "scipy", "ray")


def of_the_tests() -> list[Path]:
    """Every Python file of the tests, but the yardstick, which stays as it is."""
    return [path for path in files_of(ROOT / "tests") if path != ROOT / "tests/bench/score.py"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_name(path): path for path in sources()}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, also in a function or for a type checker."""
    for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its layer; write it out"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module or "" for name in whole)


@cache
def imports() -> dict[str, set[str]]:
    return {name: set(imported(path)) for name, path in MODULES.items()}


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("module", [name for name in MODULES if name not in PACKAGES])
def test_imports_go_from_the_app_to_the_model_and_never_back(module: str) -> None:
    own = room_of(module)
    for name in sorted(imports()[module] & MODULES.keys() - set(PACKAGES)):
        other = room_of(name)
        assert other == own or LEVEL[own] < LEVEL[other], f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_page_knows_gradio(module: str) -> None:
    if module.startswith(("pipelines", "rvc")):
        assert not {name.split(".")[0] for name in imports()[module]} & {"gradio", "gradio_client"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {name: found & MODULES.keys() for name, found in imports().items()}
    while leaves := {name for name, found in left.items() if not found & left.keys() - {name}}:
        left = {name: found for name, found in left.items() if name not in leaves}
    assert not left, f"a circle runs through some of {sorted(left)}"


def test_the_server_and_its_children_meet_only_in_what_stands_behind_both() -> None:
    for module, found in imports().items():
        if room_of(module) in CHILD:
            assert not {name for name in found if name.startswith(("pipelines.jobs", "ui"))}, module


@pytest.mark.parametrize("path", [*sources(), *of_the_tests()], ids=relative)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert code_lines(text) <= MAX_CODE_LINES
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def loaded_by(modules: list[str]) -> set[str]:
    """Import modules in a fresh process and tell which heavy libraries came with them."""
    program = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_server_process_never_loads_the_model_code_s_libraries() -> None:
    page = [name for name in MODULES if name.startswith("ui")]
    assert loaded_by([*page, *SERVER]) == set()


def test_the_packages_themselves_load_nothing() -> None:
    assert loaded_by(["rvc", "pipelines", "rvc.errors", "rvc.steps", "pipelines.events"]) == set()
