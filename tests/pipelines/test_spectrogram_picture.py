"""The picture of two recordings: a PNG of both, and a spectrogram that puts a tone where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.pictures import draw_spectrograms
from pipelines.spectrogram_picture import RANGE_DB, draw, spectrogram_db
from rvc.errors import AudioError
from tests.tiny import song


def drawn(folder: Path, before: str = "hum.wav", title: str = "Before") -> bytes:
    names = [str(folder / name) for name in (before, "hum.wav")]
    draw({"recordings": names, "titles": (title, "After"), "picture": str(folder / "picture.png")})
    return (folder / "picture.png").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sf.write(tmp_path / "hum.wav", np.repeat(song(2.5), 3)[::2], 24_000)
    return tmp_path


def test_a_tone_is_the_loudest_at_its_frequency_and_silence_is_dark() -> None:
    level = spectrogram_db(np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32))
    assert level.shape == (321, 101)
    np.testing.assert_array_equal(level[:, 10:-10].argmax(axis=0) * 25, 1_000)
    assert (spectrogram_db(np.zeros(1_600, np.float32)) == -RANGE_DB).all()


@pytest.mark.parametrize("silent", [False, True])
def test_the_picture_is_a_png_of_its_size(folder: Path, silent: bool) -> None:
    sf.write(folder / "before.wav", song(3.0) * (not silent), 16_000)
    png = drawn(folder, "before.wav")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (1200, 800)


@pytest.mark.parametrize("name", ["$x^{$", r"$\frac$", "a_$b$_c"])
def test_a_name_is_no_formula(folder: Path, name: str) -> None:
    assert drawn(folder, title=name)


def test_it_is_drawn_by_a_child_once_and_not_of_nothing(folder: Path) -> None:
    hum, kept = folder / "hum.wav", folder / "work" / "picture.png"
    draw_spectrograms(hum, hum, kept, ("Before", "After"))
    assert kept.read_bytes() == drawn(folder)
    hum.unlink()
    draw_spectrograms(hum, hum, kept, ("Before", "After"))
    sf.write(hum, np.empty(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="nothing to draw"):
        draw_spectrograms(hum, hum, folder / "work" / "none.png", ("Before", "After"))
    assert [path.name for path in kept.parent.iterdir()] == ["picture.png"]
