"""The watermark: heard by who looks for it, after what happens to recordings, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.audio import watermark, watermark_search
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from rvc.audio.watermark import BANDS, PERIOD, Marker, marked, pattern
from rvc.audio.watermark_search import FOUND, Watermark, find_watermark
from rvc.files import ROOT
from tests.bench.marks import packed, with_noise
from tests.sounds import tone

Wave = NDArray[np.float32]
EXAMPLES = ROOT / "assets" / "examples"
SPEECH = [EXAMPLES / "recordings" / "visitor.flac", *sorted((EXAMPLES / "voice").glob("*.ogg"))]
RATE_HZ = 24_000


def mark(wav: Wave, rate_hz: int = RATE_HZ) -> Wave:
    return np.concatenate(list(marked([wav], rate_hz)))


def looked_at(wav: Wave, rate_hz: int = RATE_HZ) -> Watermark:
    return find_watermark([resample(wav, rate_hz, 16_000)])


@pytest.fixture(scope="module")
def speech() -> Wave:
    """Ten seconds of somebody speaking."""
    return load_mono(SPEECH[0], rate_hz=RATE_HZ)[0][: 10 * RATE_HZ]


@pytest.fixture(scope="module")
def made(speech: Wave) -> Wave:
    return mark(speech)


CHANCE = np.random.default_rng(3)
ATTACKS: dict[str, Callable[[Wave], Wave]] = {
    "as it is": lambda wav: resample(wav, RATE_HZ, 16_000),
    "MP3 at 64 kbit/s": lambda wav: packed(wav, RATE_HZ, "libmp3lame", 64_000),
    "Opus at 24 kbit/s": lambda wav: packed(wav, RATE_HZ, "libopus", 24_000),
    "8 kHz and back": lambda wav: resample(resample(wav, RATE_HZ, 8_000), 8_000, 16_000),
    "cut to 5 s": lambda wav: resample(wav, RATE_HZ, 16_000)[50_003:130_003],
    "12 dB softer": lambda wav: resample(wav, RATE_HZ, 16_000) * np.float32(0.25),
    "20 dB of noise": lambda wav: with_noise(resample(wav, RATE_HZ, 16_000), 20.0, CHANCE),
    "upside down": lambda wav: -resample(wav, RATE_HZ, 16_000),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_is_found_after_what_happens_to_recordings(made: Wave, attack: str) -> None:
    assert find_watermark([ATTACKS[attack](made)]).found


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_found_where_nothing_is(speech: Wave, attack: str) -> None:
    assert not find_watermark([ATTACKS[attack](speech)]).found


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.name)
def test_no_recording_that_ships_is_taken_for_marked_and_each_can_be(path: Path) -> None:
    wav, rate_hz = load_mono(path)
    assert not looked_at(wav, rate_hz).found
    assert looked_at(mark(wav, rate_hz), rate_hz).found


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(160_000, np.float32),
        tone(10.0, 16_000)[:, 0],
        np.random.default_rng(0).standard_normal(160_000).astype(np.float32),
        np.resize(np.r_[np.ones(1), np.zeros(799)], 160_000).astype(np.float32),
        np.full(160_000, 0.5, np.float32),
        np.zeros(100, np.float32),
        np.zeros(0, np.float32),
    ],
    ids=["silence", "tone", "noise", "clicks", "offset", "a hundred samples", "nothing"],
)
def test_what_is_no_speech_has_none(sound: Wave) -> None:
    assert not find_watermark([sound]).found


@pytest.mark.parametrize("rate_hz", [11_025, 16_000, 22_050, 24_000, 32_000, 40_000, 44_100, 48_000])
def test_it_is_the_same_at_every_rate(speech: Wave, rate_hz: int) -> None:
    sound = resample(speech, RATE_HZ, rate_hz)
    there = mark(sound, rate_hz)
    assert there.size == sound.size
    assert looked_at(there, rate_hz).found


@pytest.mark.parametrize("portion", [1, 37, 240, 1_001, 50_000])
def test_it_does_not_depend_on_how_sound_comes_in(speech: Wave, portion: int) -> None:
    sound = speech[: 20 * portion if portion == 1 else 60_000]
    pieces = [sound[at : at + portion] for at in range(0, sound.size, portion)]
    in_pieces = np.concatenate(list(marked(pieces, RATE_HZ)))
    np.testing.assert_allclose(in_pieces, mark(sound), atol=1e-6)


def test_whole_steps_come_out_at_once_and_nothing_of_the_past_changes(speech: Wave) -> None:
    marker, step = Marker(RATE_HZ), RATE_HZ // 100
    for start in range(0, 20 * step, 2 * step):
        assert marker.push(speech[start : start + 2 * step]).size == 2 * step
    longer, other = speech[:48_000].copy(), speech[:48_000].copy()
    other[24_000:] = 0.0
    np.testing.assert_array_equal(mark(longer)[:24_000], mark(other)[:24_000])


def test_marking_a_sum_is_adding_what_is_marked(speech: Wave) -> None:
    one, other = speech[:48_000], speech[48_000:96_000]
    np.testing.assert_allclose(mark(one) + mark(other), mark(one + other), atol=1e-5)


def test_channels_are_marked_alike_and_silence_stays_silent(speech: Wave) -> None:
    left, right = speech[:48_000], speech[48_000:96_000]
    both = np.concatenate(list(marked([np.stack([left, right], axis=1)], RATE_HZ, 2)))
    np.testing.assert_allclose(both, np.stack([mark(left), mark(right)], axis=1), atol=1e-6)
    assert not mark(np.zeros(48_000, np.float32)).any()


def test_it_is_as_loud_as_before_and_hardly_differs(speech: Wave, made: Wave) -> None:
    change_db = 20 * np.log10(np.std(made - speech) / np.std(speech))
    assert change_db < -12.0
    assert 20 * np.log10(np.std(made) / np.std(speech)) == pytest.approx(0.0, abs=0.3)
    assert np.abs(made).max() < 1.15 * np.abs(speech).max()


def test_the_part_of_a_recording_that_has_it_is_told(speech: Wave) -> None:
    long = np.tile(speech, 6)  # a minute
    half = np.concatenate([long[: 30 * RATE_HZ], mark(long[30 * RATE_HZ :])])
    found = looked_at(half)
    assert found.found
    assert found.seconds == pytest.approx(60.0, abs=0.1)
    assert found.marked_s == pytest.approx(30.0, abs=10.0)


def test_a_long_recording_needs_more_for_chance_to_stay_as_rare() -> None:
    facts = {"score": FOUND + 0.1, "marked_s": 0.0}
    assert Watermark(seconds=10.0, **facts).found
    assert not Watermark(seconds=3600.0, **facts).found
    assert Watermark(seconds=3600.0, score=FOUND + 1.0, marked_s=0.0).found


def test_it_is_found_in_blocks_of_any_size(made: Wave) -> None:
    sound = resample(made, RATE_HZ, 16_000)
    blocks = [sound[at : at + 7_001] for at in range(0, sound.size, 7_001)]
    assert find_watermark(blocks).score == find_watermark([sound]).score


def test_the_pattern_is_balanced_and_repeats_as_the_search_expects() -> None:
    signs = pattern()
    assert signs.shape == (PERIOD, BANDS)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert np.abs(signs.sum(axis=0)).max() == 0  # no band becomes louder
    assert np.abs(signs.mean(axis=1)).max() < 0.6  # no moment does by much


def test_another_pattern_is_another_watermark(speech: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watermark, "NAME", b"somebody else's")
    pattern.cache_clear()
    watermark._filters.cache_clear()
    try:
        there = mark(speech)
        assert looked_at(there).score > FOUND
    finally:
        monkeypatch.undo()
        pattern.cache_clear()
        watermark._filters.cache_clear()
    assert not looked_at(there).found


def test_the_search_and_the_marker_agree_on_their_cells() -> None:
    assert pytest.approx(PERIOD * watermark.STEPS * 0.01) == watermark_search.PLACES * watermark.STEP_S
