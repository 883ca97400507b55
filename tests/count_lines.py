"""How large the program is: `python -m tests.count_lines` prints files, lines and lines of code.

A line of code is none that is blank, a comment, part of a docstring or part of an import.
"""

from __future__ import annotations

import ast
import gc
from pathlib import Path
from typing import TypeGuard

from rvc.files import ROOT


def parsed(source: str) -> ast.Module:
    """Parse without the garbage collector: CPython 3.11 raises SystemError when it runs in between."""
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()


def sources() -> list[Path]:
    """Every Python file of the program."""
    return [ROOT / "app.py", *(path for room in ("ui", "pipelines", "rvc") for path in files_of(ROOT / room))]


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def is_text(node: ast.AST) -> TypeGuard[ast.Expr]:
    """Whether it is a docstring, or a sentence below a constant."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def code_lines(source: str) -> int:
    left_out: set[int] = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import | ast.ImportFrom) or is_text(node):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        1
        for number, line in enumerate(source.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#") and number not in left_out
    )


def main() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sources()]
    lines, code = sum(len(text.splitlines()) for text in texts), sum(code_lines(text) for text in texts)
    print(f"{len(texts)} files, {lines} lines, {code} lines of code")


if __name__ == "__main__":
    main()
