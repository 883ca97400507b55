"""What holds of a voice that speaks along, whatever its engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rvc.audio.level import frame_rms, loud_of, loud_rms, normalisation_gain
from rvc.audio.loudness import measure_frames
from rvc.audio.resampling import resample
from rvc.engine.card import parse_card
from rvc.engine.options import ConvertOptions
from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.engine import LiteEngine
from rvc.lite.synthesizer import LiteSynthesizer, LiteSynthesizerConfig
from rvc.live.calibration import Calibration
from rvc.live.stream import LiveStream, Pace
from rvc.pitch.f0 import shift_semitones
from rvc.pitch.praat import SILENCE_THRESHOLD, PraatF0
from rvc.steps import result_of
from rvc.voice import Voice
from tests.tiny import CARD, song, toy_index, toy_voice
from tests.tiny_rvc_voice import rvc_voice

Wave = NDArray[np.float32]
SEMITONES = 5.0
FAR = Pace(block=20, encoder_ahead=60, synthesizer_ahead=40)


def lite_voice(folder: Path) -> Voice:
    """The built-in engine's own networks at toy size."""
    torch.manual_seed(1)
    encoder = ContentEncoder(EncoderConfig(channels=8, blocks=2, content_dim=8))
    synthesizer = LiteSynthesizer(
        LiteSynthesizerConfig(content_dim=8, channels=8, blocks=2, kernel_frames=3, voice_dim=4)
    )
    for network in (encoder, synthesizer):
        network.requires_grad_(requires_grad=False)
    card = parse_card(CARD | {"engine": "lite", "content_dim": 8})
    return Voice(card, LiteEngine(encoder, synthesizer, f0=card.f0), toy_index())


VOICES = {"toy": toy_voice, "lite": lite_voice}


@pytest.fixture(scope="module", params=VOICES)
def voice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return VOICES[request.param](tmp_path_factory.mktemp("voice"))


def pushed(stream: LiveStream, wav: Wave, sizes: int | list[int] = 960) -> Wave:
    sizes = [sizes] if isinstance(sizes, int) else sizes
    made, at, turn = [], 0, 0
    while at < wav.size:
        size = sizes[turn % len(sizes)]
        made += list(stream.push(wav[at : at + size]))
        at, turn = at + size, turn + 1
    return np.concatenate(made)


def median_hz(wav16k: Wave) -> float:
    f0_hz = PraatF0()(wav16k)
    return float(np.median(f0_hz[f0_hz > 0]))


def snr_db(wanted: Wave, made: Wave) -> float:
    size = min(wanted.size, made.size)
    error = np.square(wanted[:size] - made[:size]).sum()
    return float(10 * np.log10(np.square(wanted[:size]).sum() / error)) if error else np.inf


def as_a_recording(voice: Voice, wav: Wave) -> tuple[Wave, Calibration]:
    """A conversion of the whole, and all that it knew of it."""
    f0_hz = PraatF0()(wav)
    gain = normalisation_gain(wav)
    source = voice.engine.contours(wav * np.float32(gain), shift_semitones(f0_hz, SEMITONES))
    parts = [chunk.wav for chunk in voice.speak(source, ConvertOptions()) if chunk.wav is not None]
    spoken = measure_frames(np.concatenate(parts), voice.sample_rate_hz // 100)
    rms = np.append(frame_rms(wav), 0.0)[: source.frames]
    follow = voice.engine.defaults.follow_loudness
    made = voice.engine.loudness(source, rms, spoken, follow).apply(np.concatenate(parts), 0)
    praat = PraatF0()
    band = result_of(praat._filtered(wav))
    silence = SILENCE_THRESHOLD * loud_rms(band)
    known = Calibration(
        offset=voice._offset(source),
        source_loud=loud_rms(wav),
        spoken_loud=loud_of(spoken.rms),
        gain=gain,
        silence=silence,
        range_hz=result_of(praat._range(band, silence)),
        semitones=SEMITONES,
    )
    return made, known


def test_with_all_of_the_future_it_speaks_as_a_recording_is_converted(voice: Voice) -> None:
    wav = song(4.0)
    made, known = as_a_recording(voice, wav)
    live = pushed(LiveStream(voice, pace=FAR, calibration=known, context=160), wav)
    assert live.size >= 2.5 * voice.sample_rate_hz
    faded = voice.sample_rate_hz // 100  # in, at the very beginning
    assert snr_db(made[faded:], live[faded:]) > 50


def test_with_all_of_the_future_blocks_of_any_size_agree(voice: Voice) -> None:
    wav = song(4.0)
    known = as_a_recording(voice, wav)[1]
    paces = [replace(FAR, block=frames) for frames in (4, 7, 30)]
    made = [pushed(LiveStream(voice, pace=pace, calibration=known, context=160), wav) for pace in paces]
    assert min(snr_db(made[0], other) for other in made[1:]) > 50


def test_it_does_not_matter_in_which_portions_the_sound_comes(voice: Voice) -> None:
    wav = song(3.0)
    whole = pushed(LiveStream(voice), wav, wav.size)
    for sizes in (160, [1, 2_000, 333]):
        np.testing.assert_array_equal(pushed(LiveStream(voice), wav, sizes), whole)


def test_what_comes_back_is_late_by_block_and_look_ahead_alone(voice: Voice) -> None:
    pace, stream = Pace(), LiveStream(voice)
    need = 160 * (pace.block + pace.ahead)
    assert not list(stream.push(np.zeros(need - 1, np.float32)))
    (first,) = stream.push(np.zeros(1, np.float32))
    assert first.size == pace.block * voice.sample_rate_hz // 100
    assert stream.done == pace.block


def test_blocks_may_grow_while_somebody_speaks(voice: Voice) -> None:
    wav, stream = song(4.0), LiveStream(voice)
    made = [pushed(stream, wav[:32_000])]
    stream.pace = Pace(block=12)
    made.append(pushed(stream, wav[32_000:]))
    rest = wav.size // 160 - stream.done
    assert sum(part.size for part in made) == stream.done * voice.sample_rate_hz // 100
    assert rest < stream.pace.block + stream.pace.ahead


def test_silence_stays_silent_and_noise_is_nobody(voice: Voice) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 32_000).astype(np.float32)
    stream = LiveStream(voice)
    assert not pushed(stream, np.zeros(16_000, np.float32)).any()
    assert not pushed(stream, noise).any()
    assert not stream.calibrator.calibrated


@pytest.mark.parametrize("gain", [0.05, 0.5])
def test_it_is_as_loud_as_who_speaks(voice: Voice, gain: float) -> None:
    wav = np.float32(gain) * song(6.0)
    stream = LiveStream(voice)
    made = pushed(stream, wav)
    assert stream.calibrator.calibrated
    hop = voice.sample_rate_hz // 100
    made_rms, wav_rms = measure_frames(made, hop).rms[250:], frame_rms(wav)[250 : made.size // hop]
    assert 20 * abs(np.log10(loud_of(made_rms) / loud_of(wav_rms))) < 2
    assert not made_rms[wav_rms == 0.0][30:].any()


def test_the_pitch_is_the_speaker_s_moved_to_the_voice_or_by_what_was_asked(tmp_path: Path) -> None:
    voice, wav = toy_voice(tmp_path), song(6.0)
    asked = ConvertOptions(transpose_semitones=7.0)
    for options, wanted_hz in ((asked, median_hz(wav[32_000:]) * 2 ** (7 / 12)), (None, 220.0)):
        stream = LiveStream(voice, options)
        made = resample(pushed(stream, wav)[48_000:], voice.sample_rate_hz, 16_000)
        assert 12 * abs(np.log2(median_hz(made) / wanted_hz)) < 1.0
    stream.calibrator.ask(0.0)
    assert stream.calibrator.now.semitones == 0.0


def test_a_voice_of_the_other_engine_speaks_along_too(tmp_path: Path) -> None:
    voice, wav = rvc_voice(tmp_path), song(3.0)
    stream = LiveStream(voice)
    made = pushed(stream, wav)
    assert made.size == stream.done * voice.sample_rate_hz // 100
    assert np.isfinite(made).all()
    assert made.any()


def test_another_voice_takes_over_where_the_first_stands(voice: Voice, tmp_path: Path) -> None:
    wav, first = song(6.0), LiveStream(voice)
    pushed(first, wav[:64_000])
    second = LiveStream(toy_voice(tmp_path))
    second.take_over(first)
    assert second.done == first.done
    assert second.calibrator.calibrated
    made = pushed(second, wav[64_000:])
    assert made.size == (second.done - first.done) * 240
    assert loud_of(measure_frames(made, 240).rms) > 0.5 * loud_rms(wav)
