"""Every text of the program that a visitor may read, as the catalogues hold it.

`python -m tests.texts` brings ui/look/languages/*.po up to date: what is new stands there untranslated, and
what is gone goes. `python -m tests.texts de` begins a language.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from rvc.files import ROOT
from tests.count_lines import files_of, is_text, parsed
from ui.look import language
from ui.look.filled_in import FILLED_IN

LOOKED_UP = ("tr", "tr_n", "tr_later")
# Names under which texts are given that are no errors; what is given else is a text if it is a sentence.
KEYWORDS = {"message", "stage", "reason", "note"}
NOT_SHOWN = ("logger", "parser", "logging", "print")  # what these are given
FAULTS = {
    "ValueError",
    "TypeError",
    "LookupError",
    "KeyError",
    "RuntimeError",
    "AttributeError",
}  # of the program
# What the command line says, and what is sent to other programs.
NOT_ON_THE_PAGE = (
    *(
        "app.py",
        "pipelines/checking",
        "pipelines/cluster",
        "pipelines/commands.py",
        "pipelines/demo.py",
        "rvc/voice.py",
    ),
    "ui/command_line",
    *("pipelines/settings.py", "pipelines/monitoring.py", "pipelines/store/backup.py", "rvc/pretrain"),
    *("pipelines/store/layout.py", "pipelines/training/distributed.py", "pipelines/users/accounts.py"),
    *(
        "rvc/training/group.py",
        "rvc/vits/config.py",
        "ui/server/gradio_changes.py",
        "ui/server/monitoring.py",
    ),
)
# What is called the same everywhere.
NAMES = {
    "Timbre",
    "RVC",
    "Python",
    "Anna",
    "1st",
    "2nd",
    "3rd",
    "rmvpe",
    "praat",
    "wav",
    "flac",
    "mp3",
    "ogg",
}
BUILTINS = {*dir(builtins), "join", "self"}
ENDS = (".", "…", ":", "?", "!")
# Of the head of a catalogue: who did what and when, which version control knows better.
UNSAID = tuple(
    f'"{name}' for name in ("POT-", "PO-", "Last-", "Language-Team", "Report-", "Generated-", "Project-")
)
Text = str | tuple[str, str]  # or one of something, many of it


def texts() -> list[Text]:
    """Return all texts, in order of where they stand, each once."""
    found: dict[Text, None] = {}
    for path in [*files_of(ROOT / "ui"), *files_of(ROOT / "pipelines"), *files_of(ROOT / "rvc")]:
        if not path.relative_to(ROOT).as_posix().startswith(NOT_ON_THE_PAGE):
            found |= dict.fromkeys(
                _texts_of(parsed(path.read_text(encoding="utf-8")), page=path.is_relative_to(ROOT / "ui"))
            )
    found |= dict.fromkeys([*labels(), *FILLED_IN])
    many = {text for pair in found if isinstance(pair, tuple) for text in pair}
    return [text for text in found if text not in many and _has_words(text)]


def labels() -> list[str]:
    """Return what the page shows before anybody has done anything."""
    from tests.ui.visitor import services_at
    from ui.page import build_page
    from ui.server.login import FORM

    said: dict[str, None] = {}

    def note(text: str) -> str:
        said[text] = None
        return text

    with TemporaryDirectory() as folder, services_at(Path(folder), started=False) as services:
        config = build_page(services).config
        language.LANGUAGE.set("none")
        with mock.patch.object(language, "retold", note):
            language.translated_page(config)
            language.translated_html(FORM)
        language.LANGUAGE.set(language.SOURCE)
    return [text for text in said if "{ " not in text]  # a style sheet


def _has_words(text: Text) -> bool:
    whole = text if isinstance(text, str) else text[1]
    plain = re.sub(r"\{\w+\}", "", whole)
    word = "[a-zA-Z][a-z]" if plain == whole else "[a-zA-Z]"  # a number may stand before the sign of a unit
    return (
        text not in NAMES
        and text not in language.languages().values()
        and re.search(word, plain) is not None
        and not re.fullmatch(r"\d+( [a-zA-Z]{1,3}|st|nd|rd|th)", plain)
    )


def constants() -> dict[str, str]:
    """Return the texts that stand in the program under one name each, which others are made with."""
    found: dict[str, set[str]] = {}
    for path in [*files_of(ROOT / "ui"), *files_of(ROOT / "pipelines"), *files_of(ROOT / "rvc")]:
        for node in parsed(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, set()).add(str(node.value.value))
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _texts_of(tree: ast.Module, *, page: bool) -> Iterator[Text]:
    not_shown = {id(node.value) for node in ast.walk(tree) if is_text(node)}  # docstrings
    named = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg in KEYWORDS
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name_of(node.func)
            if name in LOOKED_UP:
                yield from _asked_for(node)
            if name in (*LOOKED_UP, *FAULTS) or name.split(".")[0] in NOT_SHOWN:
                not_shown |= {id(part) for part in ast.walk(node)}
        elif isinstance(node, ast.JoinedStr):
            not_shown |= {id(part) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) not in not_shown and isinstance(node, ast.Constant | ast.JoinedStr):
            text = _template(node)
            if _is_sentence(text) or (id(node) in named and not page):
                yield text


def _asked_for(call: ast.Call) -> Iterator[Text]:
    """Give what is looked up by `tr` or `tr_n`."""
    given = [str(arg.value) for arg in call.args if isinstance(arg, ast.Constant)]
    if _name_of(call.func) == "tr_n":
        yield given[0], given[1]
    else:
        yield given[0]


def _is_sentence(text: str) -> bool:
    begins = text[:1].isupper() or text[:1] == "{"
    return begins and " " in text and text.rstrip().endswith(ENDS) and "\n" not in text and "</" not in text


def _template(node: ast.Constant | ast.JoinedStr) -> str:
    """Return the text, or with {names} what an f-string looks like."""
    if isinstance(node, ast.Constant):
        return node.value.strip() if isinstance(node.value, str) else ""
    text, known = "", dict[str, str]()
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        elif isinstance(part, ast.FormattedValue):
            written = ast.unparse(part.value)
            if written in CONSTANTS:
                text += CONSTANTS[written]
                continue
            words = re.findall(r"\b[a-zA-Z_]\w*", written)
            name = next((word.lower() for word in reversed(words) if word not in BUILTINS), "value")
            while known.get(name, written) != written:
                name += "_"
            known[name] = written
            text += f"{{{name}}}"
    return text.strip()


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


CONSTANTS = constants()


def update(path: Path) -> None:
    """Bring a catalogue up to date, or begin it."""
    tag, known = path.stem, Catalog()
    if path.exists():
        with path.open("rb") as file:
            known = read_po(file)
    made = Catalog(locale=tag.replace("-", "_"), project="Timbre", header_comment="", fuzzy=False)
    for text in texts():
        entry = known.get(text[0] if isinstance(text, tuple) else text)
        made.add(text, string=entry.string if entry else None)
    written = BytesIO()
    write_po(written, made, width=0, no_location=True)
    lines = written.getvalue().decode().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(UNSAID)), encoding="utf-8")


if __name__ == "__main__":
    if not sys.argv[1:]:
        for present in sorted(language.FOLDER.glob("*.po")):
            update(present)
    for wanted in sys.argv[1:]:
        update(language.FOLDER / f"{wanted}.po")
