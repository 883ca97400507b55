"""A converted recording says what it is, in every format, and sounds as if it did not."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf

from pipelines.conversion.convert import convert
from pipelines.events import finish
from pipelines.marks.provenance import STATEMENT, VERSION, Provenance
from rvc.audio.reader import load_mono
from rvc.audio.writer import WRITABLE, AudioWriter
from rvc.engine.options import ConvertOptions
from rvc.files import ROOT
from tests.sounds import tone
from tests.tiny import song, toy_voice

RECORD = Provenance(
    voice_name='Zoë "the voice" 声', voice_id="0123abcd", settings={"index_rate": 0.5, "format": None}
)


def read_record(path: Path) -> dict[str, Any] | None:
    """What a sound file of this program says of itself; None if it carries no such record."""
    with sf.SoundFile(path) as file:
        text = str(file.comment)
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.get("statement") == STATEMENT else None


def written(path: Path, record: Provenance | None) -> Path:
    tags = None if record is None else record.tags(transpose_semitones=2.5)
    with AudioWriter(path, 24_000, path.suffix[1:], tags=tags) as out:
        out.write(tone(1.5, 24_000)[:, 0])
    return path


@pytest.mark.parametrize("format", WRITABLE)
def test_every_format_carries_the_whole_record(format: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"said.{format}", RECORD)
    said = read_record(path)
    assert said == RECORD.document(transpose_semitones=2.5)
    assert said["statement"] == STATEMENT == "synthetic speech"
    assert (said["voice_name"], said["voice_id"]) == (RECORD.voice_name, "0123abcd")
    assert said["settings"] == {"index_rate": 0.5, "format": None, "transpose_semitones": 2.5}
    assert said["date"] == RECORD.made_at
    assert said["version"] == VERSION


@pytest.mark.parametrize("format", WRITABLE)
def test_other_programs_read_it_too(format: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"said.{format}", RECORD)
    with av.open(str(path)) as container:
        tags = container.metadata | container.streams[0].metadata
    seen = {name.lower(): text for name, text in tags.items()}
    assert seen["title"].lower() == STATEMENT
    assert STATEMENT in seen["comment"]
    assert STATEMENT.encode() in path.read_bytes()


@pytest.mark.parametrize("format", WRITABLE)
def test_the_samples_are_those_of_a_file_without_a_record(format: str, tmp_path: Path) -> None:
    said, silent = (
        load_mono(written(tmp_path / f"{name}.{format}", record))[0]
        for name, record in (("said", RECORD), ("silent", None))
    )
    np.testing.assert_array_equal(said, silent)


def test_a_file_of_another_program_has_no_record(tmp_path: Path) -> None:
    assert read_record(written(tmp_path / "plain.wav", None)) is None
    for text in ("words", "[1]", '{"statement": "live"}'):
        with AudioWriter(tmp_path / "odd.flac", 24_000, "flac", tags={"comment": text}) as out:
            out.write(tone(0.5, 24_000)[:, 0])
        assert read_record(tmp_path / "odd.flac") is None


def test_a_tag_that_files_do_not_have_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mood"):
        AudioWriter(tmp_path / "x.wav", 24_000, tags={"mood": "blue"})


def test_a_conversion_notes_how_far_the_melody_went(tmp_path: Path) -> None:
    sf.write(tmp_path / "source.wav", song(2.0), 16_000, subtype="FLOAT")
    result = finish(
        convert(
            tmp_path / "source.wav",
            tmp_path / "result.flac",
            toy_voice(tmp_path / "voice"),
            ConvertOptions(format="flac"),
            record=RECORD,
        )
    )
    said = read_record(result.path)
    assert said is not None
    assert said["settings"]["transpose_semitones"] == pytest.approx(result.transpose_semitones, abs=1e-3)


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == VERSION
