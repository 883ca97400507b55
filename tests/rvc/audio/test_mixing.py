"""Channels are mixed so that the voice is there, as loud as in its channel, and sounds as it does there."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from rvc.audio.mixing import Listener
from rvc.audio.reader import blocks, load_mono
from rvc.files import ROOT
from tests.sounds import tone, write

RATE = 16_000
Wave = NDArray[np.float32]
EXAMPLES = ROOT / "assets" / "examples"
SAID = load_mono(EXAMPLES / "recordings" / "visitor.flac", rate_hz=RATE)[0][: 6 * RATE]
SOMEBODY_ELSE = load_mono(EXAMPLES / "voice" / "wren-1.ogg", rate_hz=RATE)[0][: 6 * RATE]
SILENCE = np.zeros_like(SAID)
HISS = (1e-3 * np.random.default_rng(1).standard_normal(SAID.size)).astype(np.float32)
RUMBLE = (0.3 * np.sin(2 * np.pi * 45 * np.arange(SAID.size) / RATE)).astype(np.float32)


def late(milliseconds: float) -> Wave:
    shift = round(milliseconds * RATE / 1_000)
    return np.concatenate([SILENCE[:shift], SAID])[: SAID.size]


def flipped_midway() -> Wave:
    return np.concatenate([SAID[: SAID.size // 2], -SAID[SAID.size // 2 :]])


CHANNELS: dict[str, list[Wave]] = {
    "the same": [SAID, SAID],
    "inverted": [SAID, -SAID],
    "inverted and softer": [SAID, -0.9 * SAID],
    "inverted from the middle on": [SAID, flipped_midway()],
    "left only": [SAID, SILENCE],
    "right only": [SILENCE, SAID],
    "left, with hiss on the right": [SAID, HISS],
    "left, with an offset on the right": [SAID, SILENCE + np.float32(0.1)],
    "left, with hum on the right": [SAID, 0.1 * RUMBLE],
    "panned": [0.3 * SAID, SAID],
    "three, of which one is inverted": [SAID, SAID, -SAID],
    "one of six, with the effects of a film": [SILENCE, SILENCE, SAID, RUMBLE, SILENCE, SILENCE],
    "inverted behind": [SILENCE, SILENCE, SAID, SILENCE, -0.5 * SAID, -0.5 * SAID],
    "one of eight": [SILENCE] * 7 + [SAID],
    "two of eight": [SILENCE] * 6 + [SAID, SAID],
    **{f"{delay:g} ms late": [SAID, late(delay)] for delay in (1, 5, 12, 30, 80)},
    "12 ms late and inverted": [SAID, -late(12)],
}


def mixed(channels: list[Wave], folder: Path, rate_hz: int = RATE) -> Wave:
    wave = np.stack(channels, axis=1).astype(np.float32)
    return load_mono(write(folder / "room", "wavfloat", wave, rate_hz))[0]


def level_db(wave: Wave) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-12))


def likeness(one: Wave, other: Wave) -> float:
    """How far one is the other, earlier or later, inverted or not: their greatest correlation, 0 to 1."""
    size = 2 * one.size
    product = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)))
    return float(np.abs(product).max() / np.sqrt(np.sum(one**2.0) * np.sum(other**2.0)))


@pytest.mark.parametrize("name", CHANNELS)
def test_the_voice_is_as_loud_as_in_its_channel_and_sounds_the_same(name: str, tmp_path: Path) -> None:
    wav = mixed(CHANNELS[name], tmp_path)
    assert abs(level_db(wav) - level_db(SAID)) < 1.0
    assert max(likeness(wav, SAID), likeness(wav, flipped_midway())) > 0.97


def test_an_interview_with_one_person_on_each_side_keeps_both_at_full_level(tmp_path: Path) -> None:
    turns = (np.arange(SAID.size) // RATE) % 2 == 0
    wav = mixed([SAID * turns, SOMEBODY_ELSE * ~turns], tmp_path)
    assert abs(level_db(wav[turns]) - level_db(SAID[turns])) < 1.0
    assert abs(level_db(wav[~turns]) - level_db(SOMEBODY_ELSE[~turns])) < 1.0


@pytest.mark.parametrize("second", [1.0, 0.5])
def test_of_two_who_speak_at_once_neither_is_lost(second: float, tmp_path: Path) -> None:
    wav = mixed([SAID, second * SOMEBODY_ELSE], tmp_path)
    for voice in (SAID, second * SOMEBODY_ELSE):
        share = np.dot(wav, voice) / np.dot(voice, voice)
        assert 20 * np.log10(share) > -7.0


def test_what_two_microphones_share_is_mixed_as_a_mean(tmp_path: Path) -> None:
    """Common stereo: the same voice in both, each with its own faint noise."""
    channels = [SAID + HISS, SAID + HISS[::-1]]
    np.testing.assert_allclose(mixed(channels, tmp_path), (channels[0] + channels[1]) / 2, atol=1e-6)


@pytest.mark.parametrize("name", ["12 ms late", "inverted", "one of six, with the effects of a film"])
def test_the_mix_does_not_depend_on_the_size_of_the_blocks(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "room", "wavfloat", np.stack(CHANNELS[name], axis=1), RATE)
    whole = np.concatenate(list(blocks(path, block_s=60.0)))
    parts = np.concatenate(list(blocks(path, block_s=0.33)))
    np.testing.assert_array_equal(whole, parts)


def test_the_limit_holds_while_channels_are_compared(tmp_path: Path) -> None:
    wave = np.tile(np.stack([SAID, -SAID], axis=1), (2, 1))
    path = write(tmp_path / "long.flac", "flac", wave, RATE)
    content = bytearray(path.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # the length is unknown
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"longer than 7 seconds|cut short or damaged"):
        load_mono(path, max_seconds=7)


@pytest.mark.parametrize("hz", [60, 110, 220, 1_000, 3_000, 5_000])
@pytest.mark.parametrize("second", [-1.0, -0.9, 0.0])
def test_a_tone_of_any_pitch_is_not_lost(hz: int, second: float, tmp_path: Path) -> None:
    wave = tone(2, RATE, hz=hz)[:, 0]
    assert abs(level_db(mixed([wave, second * wave], tmp_path)) - level_db(wave)) < 1.0


@pytest.mark.parametrize("kind", ["mp3", "m4a", "vorbis", "opus", "flac"])
def test_channels_that_cancel_are_mixed_whatever_packs_them(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "room", kind, np.stack([SAID, -SAID], axis=1), RATE)
    wav, _ = load_mono(path, rate_hz=RATE)
    assert abs(level_db(wav) - level_db(SAID)) < 1.0
    assert likeness(wav[: SAID.size], SAID[: wav.size]) > 0.9


def test_silence_on_all_channels_stays_silence(tmp_path: Path) -> None:
    assert not mixed([SILENCE, SILENCE], tmp_path).any()


def test_a_recording_shorter_than_a_frame_is_mixed(tmp_path: Path) -> None:
    beginning = SAID[RATE : RATE + 100]
    np.testing.assert_allclose(mixed([beginning, -beginning], tmp_path), beginning, atol=1e-6)


def test_ten_minutes_of_eight_channels_pass_through_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "concert.wav"
    minute = np.repeat(np.tile(SAID, 10)[:, None], 8, axis=1)
    with sf.SoundFile(path, "w", RATE, 8, subtype="PCM_16") as file:
        for _ in range(10):
            file.write(minute)
    del minute
    tracemalloc.start()
    samples = sum(block.size for block in blocks(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 600 * RATE
    assert peak < 40_000_000  # all of it at once would be 307 MB


def test_what_a_listener_keeps_of_many_hours_is_bounded() -> None:
    listener = Listener(8_000)
    minute = np.tile(np.stack([SAID, -SAID], axis=1), (5, 1))  # a minute at this rate
    tracemalloc.start()
    for _ in range(150):
        listener.hear(minute)
    weights, _ = listener.judge()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(float(np.diff(weights)[0])) == pytest.approx(1.0)
    assert peak < 40_000_000
