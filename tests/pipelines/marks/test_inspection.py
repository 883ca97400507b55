"""What a recording says of itself is read, whoever wrote it, and no more is said than was found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.marks.inspection import MOST_TAGS, inspect, source_marks
from rvc.audio.writer import AudioWriter
from rvc.errors import AudioError
from tests.sounds import tone, write, write_silence
from ui.look.marks_found import KINDS, marks_card, with_sentences

Wave = NDArray[np.float32]


def tagged(path: Path, **tags: str) -> Path:
    with AudioWriter(path, 24_000, path.suffix[1:], tags=tags) as out:
        out.write(tone(2.0, 24_000)[:, 0])
    return path


def test_a_plain_recording_has_no_marks_and_no_answer_says_that_it_is_real(tmp_path: Path) -> None:
    found = inspect(tagged(tmp_path / "plain.wav", title="My song", artist="Me"), "plain.wav")
    assert [found[kind]["found"] for kind in KINDS] == [False, False, False]
    told = with_sentences(found)
    assert told["marked"] is False
    assert "may be synthetic all the same" in told["sentence"]
    assert all("proves nothing" in told[kind]["proves"] for kind in KINDS)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_tags_of_other_programs_that_speak_of_it_are_named(format: str, tmp_path: Path) -> None:
    path = tagged(tmp_path / f"x.{format}", comment="This is an AI-generated voice", artist="Me")
    found = inspect(path, path.name)
    assert list(found["tags"]["said"].values()) == ["This is an AI-generated voice"]
    assert found["tags"]["record"] is None
    told = with_sentences(found)
    assert told["marked"] is True
    assert "Anybody can write" in told["tags"]["proves"]
    assert [mark.split(": ")[1] for mark in source_marks(path, "x")] == ["This is an AI-generated voice"]


@pytest.mark.parametrize("kind", ["m4a", "webm", "aiff", "caf", "au", "mkv", "opus"])
def test_every_kind_of_recording_is_read(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x.{kind}", kind, tone(2.0, 48_000), 48_000)
    found = inspect(path, "x")
    assert found["seconds"] == pytest.approx(2.0, abs=0.1)
    assert not any(found[kind]["found"] for kind in KINDS)


def test_what_is_too_short_to_tell_says_so(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "short.wav", 24_000, "wav") as out:
        out.write(tone(0.6, 24_000)[:, 0])
    assert "too short" in with_sentences(inspect(tmp_path / "short.wav", "x"))["watermark"]["sentence"]


def test_what_is_no_recording_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no sound")
    with pytest.raises(AudioError, match=r"notes\.txt is"):
        inspect(path, "notes.txt")
    assert source_marks(path, "notes.txt") == []


@pytest.mark.parametrize(
    "comment",
    [
        '{"statement": "synthetic speech", "voice_name": 5, "date": ["x"], "made_from": {"a": 1}}',
        '{"statement": "synthetic speech", "date": "9999-99-99", "program": "<script>alert(1)</script>"}',
        json.dumps({"statement": "synthetic speech", "voice_name": "x" * 5_000, "made_from": ["<b>"] * 500}),
        "synthetic voice " * 2_000,
        "ai-generated \u202e\u0007 <img src=x onerror=alert(1)>",
        '{"statement": "synthetic speech", "voice_name": ' + "[" * 3_000,
    ],
    ids=["wrong kinds", "no date", "long", "longer", "markup", "deep"],
)
def test_what_strangers_wrote_is_shown_as_text_of_bounded_length(comment: str, tmp_path: Path) -> None:
    found = inspect(tagged(tmp_path / "x.flac", comment=comment), "<b>x</b>.flac")
    html = marks_card(found)
    assert len(html) < 12_000
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html
    record = found["tags"]["record"]
    assert record is None or "date" not in record
    assert len((record or {}).get("made_from", [])) <= MOST_TAGS


def test_of_a_long_recording_the_beginning_is_listened_to_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipelines.marks import inspection

    monkeypatch.setattr(inspection, "MOST_S", 20.0)
    path = write_silence(tmp_path / "long.wav", 60.0, 16_000)
    found = json.loads(inspection._inspect({"path": str(path), "name": "long.wav"}))
    assert found["cut"] is True
    assert found["seconds"] == pytest.approx(20.0)
    assert "Only the first 20 s" in with_sentences(found)["sentence"]
