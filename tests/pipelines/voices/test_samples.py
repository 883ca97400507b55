"""A voice's sample and language: kept with it, taken in with it if they are in order, and left out else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.bundle import SAMPLE
from pipelines.voices.library import BUILTIN_VOICES, Library
from rvc.audio.reader import load_mono
from rvc.audio.sample_file import MAX_SAMPLE_BYTES, SAMPLE_S, save_sample
from rvc.audio.writer import save
from rvc.errors import UnknownNameError
from tests.sounds import tone
from tests.toy_worker import write_voice

ME = Caller("me")
SHIPPED = BUILTIN_VOICES / "kathleen" / SAMPLE


@pytest.fixture
def library(data_dir: Path) -> Library:
    return Library(data_dir, Registry(data_dir))


def imported(library: Library, folder: Path, sample: bytes | None, **card: object) -> dict[str, object]:
    made = write_voice(folder / "made", "Owl", **card)
    if sample is not None:
        (made / SAMPLE).write_bytes(sample)
    with zipfile.ZipFile(folder / "owl.zip", "w") as zipped:
        for path in made.iterdir():
            zipped.write(path, path.name)
    return library.import_voice(ME, [folder / "owl.zip"])


def test_a_sample_travels_with_its_voice(library: Library, tmp_path: Path) -> None:
    row = imported(library, tmp_path, SHIPPED.read_bytes(), language="nl-BE")
    assert (row["has_sample"], row["language"]) == (True, "nl-BE")
    assert library.sample(ME, str(row["id"])).read_bytes() == SHIPPED.read_bytes()
    with zipfile.ZipFile(library.export_bundle(ME, str(row["id"]))) as zipped:
        assert zipped.read(SAMPLE) == SHIPPED.read_bytes()
    with pytest.raises(UnknownNameError, match="There is no voice"):
        library.sample(Caller("somebody else"), str(row["id"]))


@pytest.mark.parametrize("wrong", ["text", "too much", "another codec", "too long"])
def test_what_is_no_sample_is_left_out_and_the_voice_taken(
    library: Library, tmp_path: Path, wrong: str
) -> None:
    content = b"no sound"
    if wrong == "too much":
        content = SHIPPED.read_bytes() + bytes(MAX_SAMPLE_BYTES)
    elif wrong == "another codec":
        save(tmp_path / "sound.wav", tone(1, 16_000), 16_000)
        content = (tmp_path / "sound.wav").read_bytes()
    elif wrong == "too long":
        save(tmp_path / "sound.mp3", tone(6, 16_000), 16_000)
        content = (tmp_path / "sound.mp3").read_bytes()
    row = imported(library, tmp_path, content, language="<b>")
    assert (row["has_sample"], row["language"]) == (False, None)
    with pytest.raises(UnknownNameError, match="Owl has no sample"):
        library.sample(ME, str(row["id"]))


def test_a_sample_begins_with_the_voice_and_ends_after_three_seconds(tmp_path: Path) -> None:
    rate_hz = 24_000
    spoken = np.concatenate([np.zeros(2 * rate_hz, np.float32), tone(5, rate_hz).ravel()])
    save(tmp_path / "spoken.wav", spoken, rate_hz)
    save_sample(tmp_path / "spoken.wav", tmp_path / "sample.mp3")
    wav, found_hz = load_mono(tmp_path / "sample.mp3")
    assert abs(wav.size / found_hz - SAMPLE_S) < 0.1
    assert np.abs(wav[: found_hz // 4]).max() > 0.05
