"""What packs sound for films and telephones: the sound is read, the pictures are passed over, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from rvc.audio.reader import load_mono, probe
from rvc.errors import AudioError
from tests.sounds import tone, write, write_tracks

RATE = 48_000
FILMS = {  # format: codecs of the film and of the sound, and the container that it is
    "mp4": ("libx264", "aac", "mp4"),
    "mov": ("mpeg4", "pcm_s16le", "mov"),
    "3gp": ("mpeg4", "aac", "3gp"),
    "matroska": ("libx264", "flac", "mkv"),
    "webm": ("libvpx-vp9", "libopus", "webm"),
    "asf": ("mpeg4", "wmav2", "wma"),
}


def heard_hz(path: Path) -> float:
    wav, rate_hz = load_mono(path)
    part = wav[rate_hz // 4 : -rate_hz // 4]
    return float(np.argmax(np.abs(np.fft.rfft(part))) * rate_hz / part.size)


@pytest.mark.parametrize("format", FILMS)
def test_the_sound_of_a_film_is_read(format: str, tmp_path: Path) -> None:
    film, codec, container = FILMS[format]
    path = write_tracks(tmp_path / "clip", format, [(codec, tone(3, RATE, channels=2))], RATE, film=film)
    info = probe(path)
    assert (info.container, info.channels, info.sample_rate_hz) == (container, 2, RATE)
    wav, _ = load_mono(path)
    assert wav.size / RATE == pytest.approx(3, abs=0.1)  # of a WMA its decoder keeps some for itself
    assert heard_hz(path) == pytest.approx(220, abs=1)
    assert np.sqrt(np.mean(np.square(wav[RATE:-RATE]))) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("format", FILMS)
def test_a_film_without_sound_is_called_that(format: str, tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "clip", format, [], RATE, film=FILMS[format][0])
    with pytest.raises(AudioError, match=r"^clip\.x is a video without sound; upload a recording .*\.$"):
        probe(path, name="clip.x")


@pytest.mark.parametrize("format", FILMS)
def test_a_film_that_is_cut_off_is_refused(format: str, tmp_path: Path) -> None:
    film, codec, _ = FILMS[format]
    path = write_tracks(tmp_path / "clip", format, [(codec, tone(3, RATE))], RATE, film=film)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(AudioError, match=r"damaged|cut short"):
        load_mono(path)


@pytest.mark.parametrize(("format", "codec"), [("mp4", "aac"), ("mov", "pcm_s16le"), ("matroska", "flac")])
@pytest.mark.parametrize("loud", [0, 1, 2])
def test_of_several_tracks_the_loudest_is_taken(loud: int, format: str, codec: str, tmp_path: Path) -> None:
    tracks = [(codec, tone(2, RATE, hz=200 + 100 * number) * 0.1) for number in range(3)]
    tracks[loud] = (codec, tone(2, RATE, hz=700))
    path = write_tracks(tmp_path / "clip", format, tracks, RATE, film="mpeg4")
    assert heard_hz(path) == pytest.approx(700, abs=1)
    assert "several sound tracks, of which the loudest is taken" in str(probe(path).note)


def test_a_silent_first_track_is_no_silent_file_and_the_better_rate_is_kept(tmp_path: Path) -> None:
    silent = tone(2, RATE, channels=2) * 0
    path = write_tracks(tmp_path / "a.mkv", "matroska", [("ac3", silent), ("libopus", tone(2, RATE))], RATE)
    assert heard_hz(path) == pytest.approx(220, abs=1)
    assert probe(path).sample_rate_hz == RATE


def test_the_limit_holds_while_tracks_are_compared(tmp_path: Path) -> None:
    tracks = [("flac", tone(8, RATE)), ("flac", tone(8, RATE))]
    path = write_tracks(tmp_path / "a.mkv", "matroska", tracks, RATE)
    with pytest.raises(AudioError, match="longer than 3 seconds"):
        load_mono(path, max_seconds=3)


@pytest.mark.parametrize("format", ["amr", "3gp"])
def test_the_sound_of_telephones_is_read(format: str, tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "memo", format, [("libopencore_amrnb", tone(2, 8_000))], 8_000)
    assert heard_hz(path) == pytest.approx(220, abs=2)
    assert probe(path).codec == "amr_nb"


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("AIFF", "ULAW"),
        ("AIFF", "FLOAT"),
        ("CAF", "ALAC_16"),
        ("AU", "ULAW"),
        ("WAV", "ULAW"),
        ("WAV", "MS_ADPCM"),
    ],
)
def test_what_is_packed_in_plain_containers_is_read(format: str, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "memo"
    sf.write(path, tone(2, 16_000), 16_000, format=format, subtype=subtype)
    assert heard_hz(path) == pytest.approx(220, abs=1)
    assert probe(path).note is None


def test_six_channels_of_a_film_are_mixed(tmp_path: Path) -> None:
    channels = tone(2, RATE, channels=6) * 0
    channels[:, 2] = tone(2, RATE)[:, 0]
    path = write_tracks(tmp_path / "a.m4a", "ipod", [("aac", channels)], RATE)
    assert probe(path).channels == 6
    assert np.abs(load_mono(path)[0][RATE // 2 : RATE]).max() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("tag", [b"drms", b"enca"])
def test_sound_that_is_locked_is_called_that(tag: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "song.m4p", "m4a", tone(1, RATE), RATE)
    path.write_bytes(path.read_bytes().replace(b"mp4a", tag))
    with pytest.raises(AudioError, match=r"^song\.m4p is protected against copying \(DRM\).*\.$"):
        probe(path)


def test_a_wma_that_is_locked_is_called_that(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "song.wma", "asf", [("wmav2", tone(1, RATE))], RATE)
    content = path.read_bytes()
    padding = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")  # a Content Encryption Object
    path.write_bytes(content[:2_000] + padding + content[2_016:])
    with pytest.raises(AudioError, match="protected against copying"):
        probe(path)


def test_a_codec_that_is_not_allowed_is_named(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", "matroska", [("tta", tone(1, RATE))], RATE)
    with pytest.raises(AudioError, match=r"holds sound of a kind that cannot be read \(tta\); upload"):
        probe(path)
