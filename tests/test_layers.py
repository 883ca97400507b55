"""The house: who may import whom, how long a file and a function may be, and what the server never loads."""

from __future__ import annotations

import ast
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("app", "ui", "pipelines", "rvc")  # each may import those behind it
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# The server process: the page, and what it imports. The other modules of pipelines run in child processes.
SERVER = (
    "app",
    "pipelines.settings",
    "pipelines.registry",
    "pipelines.jobs",
    "pipelines.uploads",
    "pipelines.library",
    "pipelines.weights",
)
HEAVY = ("torch", "torchaudio", "librosa", "silero_vad", "noisereduce", "faiss")


def parsed(source: str) -> ast.Module:
    """Parse without the garbage collector: CPython 3.11 raises SystemError when it runs in between."""
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()


def sources() -> list[Path]:
    """Every Python file of the program, the page included."""
    folders = [*sorted((ROOT / "ui").rglob("*.py")), *sorted((ROOT / "pipelines").rglob("*.py"))]
    return [
        path for path in [ROOT / "app.py", *folders, *sorted((ROOT / "rvc").rglob("*.py"))] if path.exists()
    ]


def of_the_tests() -> list[Path]:
    """Every Python file of the tests, but the yardstick, which stays as it is."""
    return [path for path in sorted((ROOT / "tests").rglob("*.py")) if path != ROOT / "tests/bench/score.py"]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its layer; write it out"
            yield node.module or ""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_imports_go_from_the_app_to_the_model_and_never_back(path: Path) -> None:
    layer = relative(path).split("/")[0].removesuffix(".py")
    forbidden = set(LAYERS[: LAYERS.index(layer)])
    if layer in ("pipelines", "rvc"):
        forbidden |= {"gradio", "gradio_client"}
    met = {name.split(".")[0] for name in imported(path)} & forbidden
    assert not met, f"{relative(path)} imports {met}"


@pytest.mark.parametrize("path", [*sources(), *of_the_tests()], ids=relative)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
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


def module_name(path: Path) -> str:
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_the_server_process_never_loads_the_model_code_s_libraries() -> None:
    page = [module_name(path) for path in sources() if relative(path).startswith("ui/")]
    assert loaded_by([*page, *SERVER]) == set()


def test_the_packages_themselves_load_nothing() -> None:
    assert loaded_by(["rvc", "pipelines", "rvc.errors", "rvc.registry", "pipelines.events"]) == set()
