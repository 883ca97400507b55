"""A song in two parts: together they are the song, however it is cut, stopped and gone on with."""

from __future__ import annotations

import tracemalloc
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipelines.conversion.cover.separating import FindsVocals, find_vocals, window_starts, write_stems
from rvc.errors import AudioError
from rvc.steps import result_of
from tests.tiny_separator import NEEDS_PACKAGE, RATE, HalfOfAll, band, vocals, weights_file

Wave = NDArray[np.float32]


def written(path: Path, sound: Wave, rate_hz: int = RATE) -> Path:
    sf.write(path, sound, rate_hz, subtype="FLOAT")
    return path


def stems_of(song: Path, separator: FindsVocals, folder: Path) -> tuple[Wave, Wave]:
    """Vocals and backing, (N, C) each."""
    found, stems = folder / "found.raw", (folder / "vocals.wav", folder / "backing.wav")
    result_of(find_vocals(song, found, separator))
    result_of(write_stems(song, found, separator.rate_hz, stems, "song.wav"))
    infos = [sf.info(path) for path in (song, *stems)]
    assert len({(info.frames, info.samplerate, info.channels) for info in infos}) == 1
    parts = [sf.read(path, dtype="float32", always_2d=True)[0] for path in stems]
    return parts[0], parts[1]


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_vocals_and_backing_of_the_real_network_add_up_to_the_song(
    rate_hz: int, channels: int, tmp_path: Path
) -> None:
    pytest.importorskip("demucs_infer", reason=NEEDS_PACKAGE)
    from pipelines.conversion.cover.separator import Separator

    sound = band(1.3, rate_hz, channels) + vocals(1.3, rate_hz)
    song = written(tmp_path / "song.wav", sound, rate_hz)
    separator = Separator.load(weights_file(tmp_path / "weights.th"))
    sung, backing = stems_of(song, separator, tmp_path)
    assert np.abs(sung).max() > 0.0
    np.testing.assert_allclose(sung + backing, sound, rtol=0, atol=2e-7)


@pytest.mark.parametrize("samples", [1, 9_999, 20_000, 20_001, 35_000, 36_000, 101_234])
def test_what_is_the_same_in_every_window_is_so_in_the_whole(samples: int, tmp_path: Path) -> None:
    sound = np.random.default_rng(1).normal(scale=0.1, size=(samples, 2)).astype(np.float32)
    sung, backing = stems_of(written(tmp_path / "song.wav", sound), HalfOfAll(), tmp_path)
    centred = sound - sound.reshape(-1).mean()  # it hears songs without their offset
    np.testing.assert_allclose(sung, 0.5 * centred, atol=1e-6)
    np.testing.assert_allclose(sung + backing, sound, atol=1e-6)


@pytest.mark.parametrize("length", [1, 100, 174, 175, 176, 1_000, 12_345])
def test_windows_cover_the_song_and_overlap_by_a_quarter_or_more(length: int) -> None:
    starts = window_starts(length, 100)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[-1] == max(length - 100, 0)
    assert all(after - before <= 75 for before, after in pairwise(starts))


@pytest.mark.parametrize("windows", [0, 1, 2, 5, 6, 7, 99])
def test_one_that_was_stopped_goes_on_and_gives_the_same(windows: int, tmp_path: Path) -> None:
    sound = band(2.4) + vocals(2.4)
    song = written(tmp_path / "song.wav", sound)

    class Uneven(HalfOfAll):
        """Hears each place otherwise in every window."""

        def vocals(self, window: Wave) -> Wave:
            return super().vocals(window) * np.linspace(0.2, 1.0, self.window, dtype=np.float32)

    whole, parts = tmp_path / "whole.raw", tmp_path / "parts.raw"
    result_of(find_vocals(song, whole, Uneven()))
    work = find_vocals(song, parts, Uneven())
    list(islice(work, windows))
    work.close()
    with parts.open("ab") as file:
        file.write(b"torn" * 77)  # by a kill in the middle of a write
    after = Uneven()
    result_of(find_vocals(song, parts, after))
    assert parts.read_bytes() == whole.read_bytes()
    kept = max(windows - 1, 0)  # a step begins with the sign of it
    count = len(window_starts(len(sound), after.window))
    assert after.heard <= max(count - kept, 0) + 2


def test_a_song_in_which_nobody_sings_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    song = written(tmp_path / "song.wav", band(2.0))
    with pytest.raises(AudioError, match=r"^Nobody sings in song\.wav .*\.$"):
        stems_of(song, HalfOfAll(share=0.001), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"song.wav", "found.raw"}


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for seconds in (60, 240):
        folder = tmp_path / str(seconds)
        folder.mkdir()
        sound = np.tile(band(20.0, 8_000), (seconds // 20, 1))
        song = written(folder / "song.wav", sound, 8_000)
        separator = HalfOfAll(window=40_000)
        separator.rate_hz = 8_000
        tracemalloc.start()
        result_of(find_vocals(song, folder / "found.raw", separator))
        stems = (folder / "vocals.wav", folder / "backing.wav")
        result_of(write_stems(song, folder / "found.raw", 8_000, stems, "song.wav"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
