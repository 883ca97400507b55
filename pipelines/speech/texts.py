"""Texts that are sent in to be spoken: checked, and kept as the files of an upload.

A text is one file, as it was typed. A text file of many lines becomes one file for each, so that a batch
takes them like recordings: a line that cannot be spoken has the reason in its row, and the rest goes on.
"""

from __future__ import annotations

import hashlib
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from pipelines.speech.sentences import can_be_said
from pipelines.store.records import TEXT, Row, Rows
from pipelines.users.limits import Spend, require_room
from rvc.errors import TextError

MOST_CHARACTERS = 20_000  # of one text: about 20 minutes of speech
MOST_BYTES = 2_000_000  # of a file of lines
BEGINNING_CHARACTERS = 48
_LETTER_S, _CHARACTER_S = 0.07, 0.25  # of speech, of a letter and of a Chinese character
_FIRST_CHARACTER = 0x2E80
_ALLOWED = frozenset("\t\n\f\r")


@contextmanager
def typed(text: object) -> Iterator[list[tuple[Path, str]]]:
    """Give a text as the file that it is sent in as; TextError if it cannot be spoken."""
    checked = checked_text(text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text(checked, encoding="utf-8")
        yield [(path, path.name)]


def checked_text(text: object, name: str = "The text") -> str:
    """Return a text that can be spoken, without what no voice says; TextError for any other."""
    if not isinstance(text, str):
        raise TextError("The text is no text; send letters.")
    # Half a character, as JSON may carry it, is none.
    clean = "".join(one for one in text if one in _ALLOWED or unicodedata.category(one) not in ("Cc", "Cs"))
    clean = clean.strip()
    if not clean:
        raise TextError(f"{name} is empty; write what shall be said.")
    if len(clean) > MOST_CHARACTERS:
        raise TextError(
            f"{name} has {len(clean):,} characters; send at most {MOST_CHARACTERS:,} at a time, "
            "or a text file with one sound file a line."
        )
    if not can_be_said(clean):
        raise TextError(f"{name} holds no word that could be spoken; write what shall be said.")
    return clean


def receive_text(path: Path, folder: Path, spend: Spend) -> Rows:
    """Keep one text in the folder of its upload; returns the one row of its files."""
    text = checked_text(_read(path, "The text"))
    return [_keep(text, folder, 0, beginning(text), spend)]


def receive_lines(path: Path, called: str, folder: Path, most: int, spend: Spend) -> Rows:
    """Keep every line of a text file; returns one row for each, as a batch has them.

    A line that cannot be spoken has the status "failed" and a reason. TextError if none can, or there are
    more than `most`.
    """
    name = PureWindowsPath(called).name or "The file"
    text = _read(path, name).replace("\r\n", "\n").replace("\r", "\n").rstrip()
    lines = text.split("\n")  # as editors count them
    if not text:
        raise TextError(f"{name} is empty; write one line for each sound file.")
    if len(lines) > most:
        raise TextError(f"{name} has {len(lines):,} lines; send at most {most:,} at a time.")
    rows: Rows = []
    for number, line in enumerate(lines, 1):
        title = beginning(f"{number:0{len(str(len(lines)))}d} {line}")
        try:
            text = checked_text(line, f"Line {number}")
        except TextError as error:
            row = {"name": title, "size_bytes": len(line.encode("utf-8", "ignore")), "seconds": 0.0}
            rows.append(row | {"status": "failed", "reason": str(error)})
        else:
            kept = _keep(text, folder, number, title, spend)
            rows.append(kept | {"status": "waiting", "reason": None})
    if all(row["status"] == "failed" for row in rows):
        raise TextError(f"{name} holds no line that could be spoken: {rows[0]['reason']}")
    return rows


def beginning(text: str) -> str:
    """Return the first words of a text, as a file of it is called."""
    words = " ".join(text.replace("/", " ").replace("\\", " ").split())
    if len(words) > BEGINNING_CHARACTERS:
        head = words[: BEGINNING_CHARACTERS + 1]
        words = (head.rpartition(" ")[0] or head[:BEGINNING_CHARACTERS]).rstrip() + "…"
    clean = "".join(one for one in words if one.isprintable())
    return f"{clean.strip(' .') or 'text'}.txt"


def _read(path: Path, name: str) -> str:
    """Read a file of text in UTF-8, or in UTF-16 as far as it says so."""
    if path.stat().st_size > MOST_BYTES:
        raise TextError(f"{name} is larger than {MOST_BYTES / 1e6:g} MB; send less text at a time.")
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise TextError(f"{name} is no text in UTF-8; save it as a text file (.txt) and send that.")
    return text


def _keep(text: str, folder: Path, number: int, name: str, spend: Spend) -> Row:
    data = text.encode()
    spend(len(data))
    require_room(folder, len(data), name)
    (folder / "inputs").mkdir(exist_ok=True)
    kept = f"inputs/{number:03d}.txt"
    (folder / kept).write_bytes(data)
    seconds = sum(_CHARACTER_S if ord(one) >= _FIRST_CHARACTER else _LETTER_S for one in text)
    # As the rows of recordings; how long it will be is guessed.
    return {
        "name": name, "original": kept, "audio": kept, "seconds": round(max(seconds, 0.5), 1),
        "sample_rate_hz": 0, "channels": 0, "codec": TEXT,
        "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), "note": None,
    }  # fmt: skip
