from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from rvc.audio.reader import blocks, load_mono, probe
from rvc.audio.resampling import resample
from rvc.audio.writer import AudioWriter
from rvc.errors import AudioError
from tests.sounds import CONTAINERS, KINDS, PACKED, PLAIN, tone, write, write_silence

RATE = 48_000


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_as_the_tone_that_was_written(kind: str, channels: int, tmp_path: Path) -> None:
    path = write(tmp_path / "recording.bin", kind, tone(1.5, RATE, channels=channels), RATE)
    info = probe(path)
    wav, rate_hz = load_mono(path)
    assert (info.container, info.channels, info.sample_rate_hz, rate_hz) == (
        CONTAINERS[kind],
        channels,
        RATE,
        RATE,
    )
    assert wav.dtype == np.float32
    assert abs(wav.size - 1.5 * RATE) <= 3_072  # AAC keeps its encoder's padding
    spectrum = np.abs(np.fft.rfft(wav[RATE // 4 : -RATE // 4]))
    assert np.argmax(spectrum) * RATE / (wav.size - RATE // 2) == pytest.approx(220, abs=1)
    assert np.sqrt(np.mean(wav[RATE // 4 : -RATE // 4] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("kind", [*PLAIN, "flac", "alac", "vorbis", "opus", "mp3", "mov", "webm", "mkv"])
def test_formats_that_keep_the_length_keep_it_to_the_sample(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "recording", kind, tone(1.2345, RATE, channels=2), RATE)
    wav, _ = load_mono(path)
    assert wav.size == round(1.2345 * RATE)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 96_000, 192_000])
def test_any_rate_comes_out_at_the_wanted_rate_and_length(rate_hz: int, tmp_path: Path) -> None:
    wave = tone(1.1, rate_hz)
    path = write(tmp_path / "recording", "wavfloat", wave, rate_hz)
    wav, got_hz = load_mono(path, rate_hz=16_000)
    assert (got_hz, wav.size) == (16_000, round(len(wave) * 16_000 / rate_hz))
    np.testing.assert_allclose(wav, resample(wave[:, 0], rate_hz, 16_000), atol=1e-4)


@pytest.mark.parametrize("kind", ["wav16", "mp3", "m4a", "opus"])
@pytest.mark.parametrize("block_s", [0.1, 0.77, 10.0])
def test_blocks_joined_are_the_whole_and_each_but_the_last_is_full(
    kind: str, block_s: float, tmp_path: Path
) -> None:
    path = write(tmp_path / "recording", kind, tone(3.3, RATE, channels=2), RATE)
    pieces = list(blocks(path, rate_hz=16_000, block_s=block_s))
    whole, _ = load_mono(path, rate_hz=16_000)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)
    assert all(piece.size == round(block_s * 16_000) for piece in pieces[:-1])


def test_stereo_is_mixed_to_the_mean_of_its_channels(tmp_path: Path) -> None:
    left, right = tone(1, RATE), tone(1, RATE, hz=330)
    path = write(tmp_path / "stereo.wav", "wavfloat", np.concatenate([left, right], axis=1), RATE)
    wav, _ = load_mono(path)
    np.testing.assert_allclose(wav, (left + right)[:, 0] / 2, atol=1e-6)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "really-an-mp3.wav", "mp3", tone(1, RATE), RATE)
    assert probe(path).codec == "mp3"
    headerless = write(tmp_path / "really-a-wav.raw", "wav16", tone(1, RATE), RATE)
    assert load_mono(headerless)[0].size == RATE


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_file_cut_in_half_is_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "whole", kind, tone(4, RATE, channels=2), RATE)
    half = tmp_path / "half.wav"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"^Grandma\.wav .*(cut short|damaged).*\.$"):
        load_mono(half, name="Grandma.wav")


@pytest.mark.parametrize("kind", ["mp3", "m4a", "aac"])
def test_a_tag_behind_the_sound_does_no_harm(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "tagged", kind, tone(2, RATE), RATE)
    before, _ = load_mono(path)
    path.write_bytes(path.read_bytes() + b"TAG" + b"title".ljust(125, b"\0"))
    after, _ = load_mono(path)
    assert abs(after.size - before.size) <= 1_152
    assert probe(path).note is None


def test_a_wav_from_a_pipe_has_an_open_end_and_is_read_to_it(tmp_path: Path) -> None:
    path = write(tmp_path / "piped.wav", "wav16", tone(1, RATE), RATE)
    content = bytearray(path.read_bytes())
    size_at = content.index(b"data") + 4
    content[size_at : size_at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert load_mono(path)[0].size == RATE
    assert probe(path).note is None


@pytest.mark.parametrize("kind", ["mp3", "aac"])
def test_frames_that_no_header_counts_are_counted(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "song", kind, tone(6, RATE), RATE)
    path.write_bytes(path.read_bytes()[500:])  # the first frame, and with it what states the length of an MP3
    info = probe(path)
    assert info.length_is_stated
    assert info.seconds == pytest.approx(load_mono(path)[0].size / RATE, abs=0.06)
    with pytest.raises(AudioError, match="longer than 5 seconds"):
        next(blocks(path, max_seconds=5, info=info))


@pytest.mark.parametrize("peak_dbfs", [-62.0, -80.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_faintest_speech_comes_through_as_it_is(channels: int, peak_dbfs: float, tmp_path: Path) -> None:
    wave = tone(1, RATE, channels=channels) / 0.3 * 10 ** (peak_dbfs / 20)
    path = write(tmp_path / "faint.wav", "wavfloat", wave.astype(np.float32), RATE)
    np.testing.assert_allclose(load_mono(path)[0], wave[:, 0], rtol=1e-5, atol=1e-9)


def test_a_recording_longer_than_allowed_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = write_silence(tmp_path / "two hours.wav", 7_200, 48_000)
    tracemalloc.start()
    with pytest.raises(AudioError, match=r"two hours\.wav is longer than 90 minutes; cut it"):
        next(blocks(path, max_seconds=5_400))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_header_that_says_less_than_there_is_does_not_lift_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "modest.flac", "flac", tone(5, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # STREAMINFO: total samples unknown
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"longer than 2 seconds|cut short or damaged"):
        load_mono(path, max_seconds=2)


@pytest.mark.parametrize("channels", [3, 6, 8])
def test_up_to_eight_channels_are_mixed(channels: int, tmp_path: Path) -> None:
    path = write(tmp_path / "room.wav", "wav16", tone(1, RATE, channels=channels), RATE)
    assert probe(path).channels == channels
    np.testing.assert_allclose(load_mono(path)[0], tone(1, RATE)[:, 0], atol=1e-4)


def test_more_than_eight_channels_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "room.wav", "wav16", tone(1, RATE, channels=9), RATE)
    with pytest.raises(AudioError, match=r"room\.wav has 9 channels; export it with at most 8\."):
        probe(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers_are_refused(bad: float, tmp_path: Path) -> None:
    wave = tone(2, RATE)
    wave[RATE, 0] = bad
    path = write(tmp_path / "nan.wav", "wavfloat", wave, RATE)
    with pytest.raises(AudioError, match=r"nan\.wav contains samples that are not numbers"):
        load_mono(path)


def test_a_float_file_in_integer_units_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "loud.wav", "wavfloat", tone(1, RATE) * 32_768, RATE)
    with pytest.raises(AudioError, match="export it as 16-bit"):
        load_mono(path)


@pytest.mark.parametrize("rate_hz", [100, 400_000])
def test_a_rate_no_recording_has_is_refused(rate_hz: int, tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    sf.write(path, np.zeros(1_000), rate_hz)
    with pytest.raises(AudioError, match=rf"sampled at {rate_hz} Hz"):
        probe(path)


@pytest.mark.parametrize("at", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_gives_a_sentence_or_sound_and_never_a_crash(kind: str, at: float, tmp_path: Path) -> None:
    path = write(tmp_path / "damaged", kind, tone(2, RATE, channels=2), RATE)
    content = bytearray(path.read_bytes())
    start = int(len(content) * at)
    noise = np.random.default_rng(3).integers(0, 256, size=min(2_000, len(content) - start), dtype=np.uint8)
    content[start : start + noise.size] = noise.tobytes()
    path.write_bytes(content)
    try:
        wav, _ = load_mono(path, max_seconds=10)
    except AudioError as error:
        assert str(error).startswith("damaged ")
        assert str(error).endswith(".")
    else:
        assert np.isfinite(wav).all()


def test_eight_minutes_pass_through_in_little_memory(tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    minute = tone(60, 16_000)[:, 0]
    tracemalloc.start()
    with AudioWriter(long, 16_000) as out:
        for _ in range(8):
            out.write(minute)
    with AudioWriter(tmp_path / "copy.wav", 24_000) as copy:
        for block in blocks(long, rate_hz=24_000):
            copy.write(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert copy.samples == 8 * 60 * 24_000
    assert peak < 15_000_000  # all of it at once would be 46 MB
