from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from rvc.audio.reader import load_mono, probe
from rvc.audio.writer import WRITABLE, AudioWriter, save
from rvc.errors import AudioError, ConfigError
from tests.sounds import tone

RATES = [16_000, 24_000, 32_000, 40_000, 44_100, 48_000]  # of the engines, and of CDs


@pytest.mark.parametrize("format", WRITABLE)
@pytest.mark.parametrize("rate_hz", RATES)
def test_what_is_written_is_read_back_with_the_same_length(format: str, rate_hz: int, tmp_path: Path) -> None:
    wave = tone(1.2345, rate_hz)[:, 0]
    path = tmp_path / f"voice.{format}"
    with AudioWriter(path, rate_hz, format) as out:
        for start in range(0, wave.size, 5_000):
            out.write(wave[start : start + 5_000])
    wav, _ = load_mono(path, rate_hz=rate_hz)
    assert probe(path).container == format
    assert wav.size == wave.size
    assert out.samples == wave.size
    # A few hundred samples at the ends are the resampler's and the codec's.
    np.testing.assert_allclose(wav[2_000:-2_000], wave[2_000:-2_000], atol=0.02)


@pytest.mark.parametrize(
    ("suffix", "bits", "subtype"),
    [
        ("wav", None, "PCM_16"),
        ("wav", 24, "PCM_24"),
        ("wav", 32, "FLOAT"),
        ("flac", None, "PCM_24"),
        ("flac", 16, "PCM_16"),
    ],
)
def test_the_bits_are_those_asked_for(suffix: str, bits: int | None, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / f"voice.{suffix}"
    save(path, tone(1, 24_000)[:, 0], 24_000, bits=bits)
    assert sf.info(path).subtype == subtype


@pytest.mark.parametrize("format", WRITABLE)
def test_an_error_while_writing_leaves_nothing_behind(format: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="stop"), AudioWriter(tmp_path / "voice", 24_000, format) as out:
        out.write(tone(1, 24_000)[:, 0])
        raise AudioError("stop")
    assert list(tmp_path.iterdir()) == []


def test_closing_a_generator_that_writes_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    save(path, tone(1, 24_000)[:, 0], 24_000)
    before = path.read_bytes()

    def writing() -> Generator[None]:
        with AudioWriter(path, 24_000) as out:
            while True:
                out.write(tone(1, 24_000)[:, 0])
                yield

    with closing(writing()) as events:
        next(events)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    with AudioWriter(path, 24_000) as out:
        out.write(tone(1, 24_000)[:, 0])
        assert not path.exists()
    assert path.exists()


def test_what_lies_outside_is_clipped_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), AudioWriter(tmp_path / "loud.wav", 16_000) as out:
        out.write(np.array([0.0, 1.5, -2.0, 1.0], dtype=np.float32))
    wav, _ = sf.read(tmp_path / "loud.wav")
    np.testing.assert_allclose(wav, [0, 1, -1, 1], atol=1e-4)
    assert out.clipped_samples == 2
    assert "2 of 4 samples clipped" in caplog.text


def test_floating_point_keeps_what_lies_outside(tmp_path: Path) -> None:
    save(tmp_path / "loud.wav", np.array([1.5, -2.0], dtype=np.float32), 16_000, bits=32)
    np.testing.assert_array_equal(sf.read(tmp_path / "loud.wav")[0], [1.5, -2.0])


def test_samples_that_are_not_numbers_are_a_bug_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN"):
        save(tmp_path / "voice.wav", np.array([0.0, np.nan], dtype=np.float32), 16_000)
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_and_impossible_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown audio format 'wma'; choose one of: wav, flac, mp3, ogg"):
        save(tmp_path / "voice.wma", np.zeros(10, dtype=np.float32), 16_000)
    with pytest.raises(ConfigError, match="cannot have 24 bits"):
        AudioWriter(tmp_path / "voice.mp3", 16_000, "mp3", bits=24)


def test_a_missing_folder_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(sf.LibsndfileError):
        save(tmp_path / "nowhere" / "voice.wav", np.zeros(10, dtype=np.float32), 16_000)
    assert list(tmp_path.iterdir()) == []
