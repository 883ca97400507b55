"""Songs that are sent in: stereo is kept, two files are told apart, and what is no song leaves nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.recordings.songs import receive_song
from pipelines.recordings.uploads import StoredFile
from pipelines.settings import Settings
from rvc.errors import AudioError
from tests.sounds import KINDS, PLAIN, tone, write
from tests.tiny_separator import band, vocals

RATE = 44_100


@pytest.fixture
def settings() -> Settings:
    return Settings(max_file_size_mb=5, max_audio_seconds=60)


def two(folder: Path, names: tuple[str, str] = ("Song (Vocals).wav", "Song (Instrumental).wav")) -> list:  # type: ignore[type-arg]
    """Vocals and backing of one song, under these names."""
    made = [
        write(folder / f"{n}.tmp", "wav16", sound, RATE) for n, sound in enumerate((vocals(2.0), band(2.0)))
    ]
    return list(zip(made, names, strict=True))


def refusal(files: list[tuple[Path, str]], folder: Path, settings: Settings) -> str:
    with pytest.raises(AudioError) as error:
        receive_song(files, folder / "job", settings)
    assert not list(folder.rglob("job/*"))
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("kind", KINDS)
def test_both_channels_of_a_song_of_every_kind_are_kept(
    kind: str, tmp_path: Path, settings: Settings
) -> None:
    left, right = tone(1.5, 48_000, hz=220.0), tone(1.5, 48_000, hz=440.0)
    source = write(tmp_path / "song.tmp", kind, np.concatenate([left, right], axis=1), 48_000)
    (stored,) = receive_song([(source, "Song.mp3")], tmp_path / "job", settings)
    sound, rate_hz = sf.read(tmp_path / "job" / stored.audio, dtype="float32", always_2d=True)
    assert (rate_hz, sound.shape[1], stored.channels, stored.note) == (48_000, 2, 2, None)
    strongest = np.abs(np.fft.rfft(sound[12_000:-12_000], axis=0)).argmax(axis=0)
    np.testing.assert_allclose(strongest * 48_000 / (len(sound) - 24_000), [220.0, 440.0], atol=1.5)
    if kind in PLAIN and kind != "wav8":
        np.testing.assert_allclose(sound, np.concatenate([left, right], axis=1), atol=2**-15)


def test_a_mono_song_stays_mono_and_says_so(tmp_path: Path, settings: Settings) -> None:
    source = write(tmp_path / "song.tmp", "wav16", band(1.0, channels=1), RATE)
    (stored,) = receive_song([(source, "Song.wav")], tmp_path / "job", settings)
    assert stored.note == "Song.wav is mono, so the mix is mono too."
    assert sf.info(tmp_path / "job" / stored.audio).channels == 1


@pytest.mark.parametrize(
    "names",
    [
        ("vocals.wav", "no_vocals.wav"),
        ("Song (Vocals).wav", "Song (Instrumental).wav"),
        ("1_Song_(vocals)_model.wav", "1_Song_(instrumental)_model.wav"),
        ("anything.wav", "Karaoke.wav"),
        ("My Acapella.wav", "other.wav"),
        ("The Voice - vocals.wav", "The Voice - accompaniment.wav"),
        ("novel.wav", "backing track.wav"),
    ],
)
def test_two_files_are_told_apart_by_their_names_in_any_order(
    names: tuple[str, str], tmp_path: Path, settings: Settings
) -> None:
    files = two(tmp_path, names)
    for folder, given in (("a", files), ("b", files[::-1])):
        stored = receive_song(given, tmp_path / folder, settings)
        assert [(file.name, file.part) for file in stored] == list(
            zip(names, ("vocals", "backing"), strict=True)
        )
        channels = [sf.info(tmp_path / folder / file.audio).channels for file in stored]
        assert channels == [1, 2]
        assert StoredFile.from_json(stored[0].to_json()) == stored[0]


@pytest.mark.parametrize(
    "names",
    [
        ("a.wav", "b.wav"),
        ("vocals 1.wav", "vocals 2.wav"),
        ("karaoke.wav", "music.wav"),
        ("avocals.wav", "c.wav"),
    ],
)
def test_two_files_that_do_not_say_which_is_which_are_refused(
    names: tuple[str, str], tmp_path: Path, settings: Settings
) -> None:
    assert refusal(two(tmp_path, names), tmp_path, settings) == (
        f"{names[0]} and {names[1]} do not say which is which; call one of them vocals and one backing."
    )


def test_vocals_and_backing_of_another_rate_or_length_are_refused(tmp_path: Path, settings: Settings) -> None:
    files = two(tmp_path)
    write(files[0][0], "wav16", vocals(2.0, 48_000), 48_000)
    assert "has 48000 Hz and Song (Instrumental).wav 44100 Hz" in refusal(files, tmp_path, settings)
    write(files[0][0], "wav16", vocals(2.4), RATE)
    assert "is 2.4 seconds long and Song (Instrumental).wav 2.0;" in refusal(files, tmp_path, settings)
    write(files[0][0], "wav16", vocals(2.05), RATE)
    assert len(receive_song(files, tmp_path / "job", settings)) == 2


def test_what_is_no_song_is_refused(tmp_path: Path, settings: Settings) -> None:
    files = two(tmp_path)
    assert "one file, or its vocals and its backing" in refusal([*files, files[0]], tmp_path, settings)
    assert "No file was chosen" in refusal([], tmp_path, settings)
    surround = write(tmp_path / "film.tmp", "wav16", tone(1.0, RATE, channels=6), RATE)
    assert refusal([(surround, "Film.wav")], tmp_path, settings) == (
        "Film.wav has 6 channels; export it in stereo."
    )
    write(files[0][0], "wav16", 0 * vocals(2.0), RATE)
    assert "Song (Vocals).wav is silent" in refusal(files, tmp_path, settings)
