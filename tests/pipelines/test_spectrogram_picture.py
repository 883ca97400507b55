"""The picture of a conversion: a PNG of both recordings, and a spectrogram that puts a tone where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.spectrogram_picture import RANGE_DB, draw_conversion, spectrogram_db
from rvc.errors import AudioError
from tests.tiny import song


def test_a_tone_is_the_loudest_at_its_frequency_and_silence_is_dark() -> None:
    level = spectrogram_db(np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32))
    assert level.shape == (321, 101)
    np.testing.assert_array_equal(level[:, 10:-10].argmax(axis=0) * 25, 1_000)
    assert (spectrogram_db(np.zeros(1_600, np.float32)) == -RANGE_DB).all()


@pytest.mark.parametrize("silent", [False, True])
def test_the_picture_is_a_png_of_its_size(tmp_path: Path, silent: bool) -> None:
    sf.write(tmp_path / "before.wav", song(3.0) * (not silent), 16_000)
    sf.write(tmp_path / "after.wav", np.repeat(song(2.5), 3)[::2], 24_000)
    draw_conversion(tmp_path / "before.wav", tmp_path / "after.wav", tmp_path / "picture.png", name="Hum")
    png = (tmp_path / "picture.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (1200, 800)


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    sf.write(tmp_path / "empty.wav", np.empty(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="nothing to draw"):
        draw_conversion(tmp_path / "empty.wav", tmp_path / "empty.wav", tmp_path / "picture.png")


@pytest.mark.parametrize("name", ["$x^{$", r"$\frac$", "a_$b$_c"])
def test_a_name_is_no_formula(tmp_path: Path, name: str) -> None:
    sf.write(tmp_path / "hum.wav", song(3.0), 16_000)
    draw_conversion(tmp_path / "hum.wav", tmp_path / "hum.wav", tmp_path / "picture.png", name=name)
    assert (tmp_path / "picture.png").stat().st_size > 0
