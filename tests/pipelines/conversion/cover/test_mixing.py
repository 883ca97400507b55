"""Voice and backing in one song: the backing stays as it is, and nothing is clipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipelines.conversion.cover.mixing import Parts, mix
from pipelines.job_spec import CoverOptions
from pipelines.marks.provenance import Provenance
from rvc.audio.loudness import CEILING
from rvc.audio.resampling import resample
from rvc.steps import result_of
from tests.tiny_separator import band, vocals

Wave = NDArray[np.float32]
STEP = 2.0**-15  # of 16 bits


def parts_of(folder: Path, backing: Wave, voice: Wave, sung: Wave, rate_hz: int = 44_100) -> Parts:
    """The voice at 24 kHz, the others at the song's rate."""
    parts = Parts(voice=folder / "voice.flac", vocals=folder / "vocals.wav", backing=folder / "backing.wav")
    sf.write(parts.voice, voice, 24_000, subtype="PCM_24")
    sf.write(parts.vocals, sung, rate_hz, subtype="FLOAT")
    sf.write(parts.backing, backing, rate_hz, subtype="FLOAT")
    return parts


def mixed(parts: Parts, folder: Path, **options: float | str) -> tuple[Wave, float]:
    asked = CoverOptions(**options)  # type: ignore[arg-type]
    path = folder / f"mix.{asked.format}"
    gain_db = result_of(mix(parts, asked, path, Provenance(voice_name="Wren", voice_id="wren")))
    info = sf.info(parts.backing)
    assert (sf.info(path).samplerate, sf.info(path).channels) == (info.samplerate, info.channels)
    sound, _ = sf.read(path, dtype="float32", always_2d=True)
    assert len(sound) == info.frames or asked.format in ("mp3", "ogg")
    return sound, gain_db


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_backing_is_kept_as_it_is_and_the_voice_is_in_every_channel(
    rate_hz: int, channels: int, tmp_path: Path
) -> None:
    backing, voice = band(2.0, rate_hz, channels), vocals(2.0, 24_000)[:, 0]
    sound, gain_db = mixed(parts_of(tmp_path, backing, voice, backing, rate_hz), tmp_path)
    assert gain_db == 0.0
    expected = backing + resample(voice, 24_000, rate_hz)[:, None]
    np.testing.assert_allclose(sound, expected, atol=2 * STEP)


def test_gains_are_those_asked_for(tmp_path: Path) -> None:
    backing, voice = band(1.0), vocals(1.0, 24_000)[:, 0]
    parts = parts_of(tmp_path, backing, voice, backing)
    sound, _ = mixed(parts, tmp_path, voice_gain_db=-6.0, backing_gain_db=-20.0, format="flac")
    expected = 0.1 * backing + 10**-0.3 * resample(voice, 24_000, 44_100)[:, None]
    np.testing.assert_allclose(sound, expected, atol=1e-5)


def test_a_mix_that_is_too_loud_is_made_softer_as_a_whole(tmp_path: Path) -> None:
    backing, voice = 5 * band(1.0), vocals(1.0, 24_000)[:, 0]
    sound, gain_db = mixed(parts_of(tmp_path, backing, voice, backing), tmp_path)
    expected = backing + resample(voice, 24_000, 44_100)[:, None]
    assert np.abs(expected).max() > 1.0
    assert np.abs(sound).max() == pytest.approx(CEILING, abs=1e-3)
    np.testing.assert_allclose(sound, expected * 10 ** (gain_db / 20), atol=2 * STEP)


@pytest.mark.parametrize(("sung", "backing"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_the_tail_of_the_original_vocals_is_added_where_it_is_asked_for(
    sung: int, backing: int, tmp_path: Path
) -> None:
    silent, voice = np.zeros((44_100, backing), np.float32), np.zeros(24_000, np.float32)
    ringing = np.repeat(vocals(1.0), sung, axis=1)
    ringing[22_050:] = 0.0
    room = 10 ** (-3 * np.arange(22_050) / 22_050) * np.random.default_rng(0).normal(size=22_050)
    ringing[22_050:] = 0.02 * room[:, None]
    parts = parts_of(tmp_path, silent, voice, ringing)
    assert np.abs(mixed(parts, tmp_path)[0]).max() == 0.0
    whole, half = (mixed(parts, tmp_path, reverb=share, format="flac")[0] for share in (1.0, 0.5))
    assert np.abs(whole[22_050:]).max() > 0.01
    np.testing.assert_allclose(half, 0.5 * whole, atol=1e-5)


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "ogg"])
def test_the_file_says_what_it_is(form: str, tmp_path: Path) -> None:
    parts = parts_of(tmp_path, band(0.5), vocals(0.5, 24_000)[:, 0], band(0.5))
    mixed(parts, tmp_path, format=form)
    with sf.SoundFile(tmp_path / f"mix.{form}") as file:
        assert file.title == "Synthetic speech"


def test_a_voice_that_ends_early_or_late_leaves_the_length_of_the_backing(tmp_path: Path) -> None:
    for seconds in (0.5, 1.5):
        sound, _ = mixed(parts_of(tmp_path, band(1.0), vocals(seconds, 24_000)[:, 0], band(1.0)), tmp_path)
        assert len(sound) == 44_100
