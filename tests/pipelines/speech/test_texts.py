"""Texts that are sent in: what is kept, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.speech.texts import (
    MOST_BYTES,
    MOST_CHARACTERS,
    beginning,
    checked_text,
    receive_lines,
    receive_text,
    typed,
)
from rvc.errors import LimitError, TextError


def free(_: int) -> None:
    """Room for all."""


def lines(tmp_path: Path, content: str | bytes, most: int = 10) -> list[dict[str, object]]:
    path = tmp_path / "sent"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    folder = tmp_path / "upload"
    folder.mkdir()
    return receive_lines(path, "C:\\game\\lines.txt", folder, most, free)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The text is empty"),
        (" \n\t ", "The text is empty"),
        ("\x00\x01", "The text is empty"),
        ("?! ...", "no word that could be spoken"),
        ("x" * 100_000, "The text has 100,000 characters; send at most 20,000"),
        (None, "no text"),
        (["a"], "no text"),
    ],
)
def test_what_is_no_text_is_refused_in_one_sentence(text: object, said: str) -> None:
    with pytest.raises(TextError, match=said) as refused, typed(text):
        pass
    assert str(refused.value).count(". ") == 0


@pytest.mark.parametrize("text", ["Hello", "😀", "42", "你好", "x" * MOST_CHARACTERS, "a\nb"])
def test_a_text_is_kept_as_it_was_typed(text: str, tmp_path: Path) -> None:
    with typed(f"  {text}\n") as ((path, _),):
        (row,) = receive_text(path, tmp_path, free)
    assert (tmp_path / str(row["original"])).read_text(encoding="utf-8") == text
    assert row["codec"] == "text"
    assert not path.exists()


def test_half_a_character_as_json_may_carry_it_is_left_out() -> None:
    assert checked_text("a\ud800b\u0007") == "ab"


def test_each_line_becomes_a_file_called_after_its_number_and_beginning(tmp_path: Path) -> None:
    rows = lines(tmp_path, "\ufeffHello there.\r\nA/B \\ c\r\n\r\n...\n" + "long " * 30 + "\n\n\n")
    assert [row["name"] for row in rows] == [
        "1 Hello there.txt", "2 A B c.txt", "3.txt", "4.txt",
        "5 long long long long long long long long long….txt",
    ]  # fmt: skip
    assert [row["status"] for row in rows] == ["waiting", "waiting", "failed", "failed", "waiting"]
    assert str(rows[2]["reason"]) == "Line 3 is empty; write what shall be said."
    assert "Line 4 holds no word" in str(rows[3]["reason"])
    assert "original" not in rows[2]
    kept = sorted((tmp_path / "upload" / "inputs").iterdir())
    assert [path.read_text(encoding="utf-8")[:5] for path in kept] == ["Hello", "A/B \\", "long "]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", r"lines\.txt is empty"),
        ("\n \n", r"lines\.txt is empty"),
        ("...\n!!", r"lines\.txt holds no line that could be spoken"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", r"lines\.txt is no text in UTF-8"),
        ("Größe".encode("latin-1"), r"lines\.txt is no text in UTF-8"),
        ("a\nb\nc\n" * 4, r"lines\.txt has 12 lines; send at most 10"),
        (b"a" * (MOST_BYTES + 1), r"lines\.txt is larger than 2 MB"),
    ],
)
def test_a_file_without_lines_to_speak_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(TextError, match=said):
        lines(tmp_path, content)


def test_utf_16_is_read_too(tmp_path: Path) -> None:
    assert lines(tmp_path, "Größe\n".encode("utf-16"))[0]["name"] == "1 Größe.txt"


def test_room_is_asked_for(tmp_path: Path) -> None:
    def none(_: int) -> None:
        raise LimitError("There is no room.")

    with typed("Hello") as ((path, _),), pytest.raises(LimitError):
        receive_text(path, tmp_path, none)
    assert not (tmp_path / "inputs").exists()


@pytest.mark.parametrize("text", ["a/b", "..", "\u202eabc", "x" * 500, "Hi there.", "?"])
def test_the_name_of_a_text_is_short_and_no_path(text: str) -> None:
    name = beginning(text)
    assert name.endswith(".txt")
    assert Path(name).name == name
    assert name.isprintable()
    assert len(name) < 60
