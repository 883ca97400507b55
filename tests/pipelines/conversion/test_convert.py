"""Converting: length, melody, loudness and silence are the source's, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from numpy.typing import NDArray

from pipelines.conversion.convert import ConvertResult, convert
from pipelines.conversion.load_voice import load_voice
from pipelines.events import Done, Progress, finish
from pipelines.voices.library import BUILTIN_VOICES
from rvc.audio.level import frame_rms, loud_rms
from rvc.audio.reader import load_mono, probe
from rvc.audio.resampling import resample
from rvc.engine.options import ConvertOptions
from rvc.errors import AudioError, ConfigError
from rvc.pitch.f0 import f0_statistics
from rvc.pitch.praat import PraatF0
from rvc.voice import Voice
from tests.sounds import below_hearing
from tests.tiny import song, toy_voice
from tests.tiny_rvc_voice import rvc_voice, weights_at
from tests.voices import WOMAN, speak

RATE_HZ = 16_000


@pytest.fixture
def voice(tmp_path: Path) -> Voice:
    return toy_voice(tmp_path / "voice")


@pytest.fixture(scope="module", params=[toy_voice, rvc_voice], ids=["local", "rvc"])
def any_voice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Voice:
    """A voice of either kind of engine, for what is true of both."""
    made: Voice = request.param(tmp_path_factory.mktemp("voice"))
    return made


def recording(folder: Path, wav: NDArray[np.float32] | None = None, rate_hz: int = RATE_HZ) -> Path:
    path = folder / "source.wav"
    sf.write(path, song() if wav is None else wav, rate_hz, subtype="FLOAT")
    return path


def run(source: Path, voice: Voice, **options: object) -> tuple[NDArray[np.float32], ConvertResult]:
    settings = ConvertOptions(**options)  # type: ignore[arg-type]
    result = finish(convert(source, source.with_name(f"result.{settings.format}"), voice, settings))
    return load_mono(result.path)[0], result


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("samples", [1, 160, 7_919, 50_001])
def test_the_result_is_as_long_as_the_source_to_the_sample(
    any_voice: Voice, tmp_path: Path, rate_hz: int, samples: int
) -> None:
    wav = 0.1 * np.sin(np.arange(samples) * 2 * np.pi * 200 / rate_hz)
    out, result = run(recording(tmp_path, wav.astype(np.float32), rate_hz), any_voice)
    assert result.sample_rate_hz == any_voice.sample_rate_hz
    assert out.size == round(samples * result.sample_rate_hz / rate_hz)
    assert result.seconds == out.size / result.sample_rate_hz


def test_chunks_give_what_the_whole_gives(voice: Voice, tmp_path: Path) -> None:
    source = recording(tmp_path, song(13.3))
    whole, _ = run(source, voice, chunk_s=600.0)
    chunked, _ = run(source, voice, chunk_s=2.0)
    assert np.abs(whole).max() > 0.05
    np.testing.assert_allclose(chunked, whole, atol=1e-4)


def test_the_same_source_gives_the_same_bytes(any_voice: Voice, tmp_path: Path) -> None:
    source = recording(tmp_path)
    contents = [run(source, any_voice)[1].path.read_bytes() for _ in range(2)]
    assert contents[0] == contents[1]


def melody(wav: NDArray[np.float32]) -> NDArray[np.float64]:
    return PraatF0()(resample(wav, 24_000, RATE_HZ))


def test_by_itself_the_melody_moves_to_where_the_voice_lies(voice: Voice, tmp_path: Path) -> None:
    out, result = run(recording(tmp_path), voice)
    assert result.source_median_hz is not None
    assert result.transpose_semitones == pytest.approx(12 * np.log2(220.0 / result.source_median_hz))
    found = f0_statistics(melody(out))
    assert found is not None
    assert abs(1200 * np.log2(found.median_hz / 220.0)) < 20


@pytest.mark.parametrize("semitones", [-5.0, 0.0, 7.5])
def test_by_hand_the_melody_moves_as_far_as_asked(voice: Voice, tmp_path: Path, semitones: float) -> None:
    out, result = run(recording(tmp_path), voice, transpose_semitones=semitones)
    assert result.transpose_semitones == semitones
    before, after = PraatF0()(song()), melody(out)
    both = (before > 0) & (after[: before.size] > 0)
    assert both.mean() > 0.5
    moved = 12 * np.log2(after[: before.size][both] / before[both])
    assert np.median(np.abs(moved - semitones)) < 0.1


def test_a_recording_without_voice_is_not_transposed(voice: Voice, tmp_path: Path) -> None:
    hiss = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE_HZ).astype(np.float32)
    _, result = run(recording(tmp_path, hiss), voice)
    assert (result.transpose_semitones, result.source_median_hz) == (0.0, None)
    _, result = run(recording(tmp_path), toy_voice(tmp_path / "unknown", f0=None))
    assert result.transpose_semitones == 0.0


@pytest.mark.parametrize("follow", [0.0, 1.0])
def test_silence_stays_silence(voice: Voice, tmp_path: Path, follow: float) -> None:
    wav = song()
    wav[: RATE_HZ // 2] = 0.0
    wav[-RATE_HZ // 2 :] = 0.0
    out, _ = run(recording(tmp_path, wav), voice, follow_loudness=follow, format="flac")
    silent = np.repeat(frame_rms(wav) == 0.0, 240)
    assert silent.mean() > 0.2
    assert np.sqrt(np.mean(np.square(out[silent]))) < 10 ** (-70 / 20)
    assert np.sqrt(np.mean(np.square(out[~silent]))) > 0.01
    out, result = run(recording(tmp_path, np.zeros_like(wav)), voice)
    assert not out.any()
    assert result.transpose_semitones == 0.0


@pytest.mark.parametrize("gain", [0.003, 0.1, 1.5])
@pytest.mark.parametrize("follow", [0.0, 1.0])
def test_the_result_is_as_loud_as_the_source(
    voice: Voice, tmp_path: Path, gain: float, follow: float
) -> None:
    wav = song() * np.float32(gain)
    out, _ = run(recording(tmp_path, wav), voice, follow_loudness=follow, format="flac")
    assert loud_rms(resample(out, 24_000, RATE_HZ)) == pytest.approx(loud_rms(wav), rel=0.1)


def test_the_envelope_of_the_source_is_followed(voice: Voice, tmp_path: Path) -> None:
    wav = song()
    out, _ = run(recording(tmp_path, wav), voice)
    before, after = frame_rms(wav), frame_rms(resample(out, 24_000, RATE_HZ))[: wav.size // 160]
    loud = before > 0.02
    assert np.corrcoef(np.log(before[loud]), np.log(after[loud] + 1e-6))[0, 1] > 0.9


def test_a_source_at_full_scale_does_not_clip(voice: Voice, tmp_path: Path) -> None:
    wav = np.clip(20 * song(), -1, 1)
    out, _ = run(recording(tmp_path, wav), voice)
    assert 0.5 < np.abs(out).max() < 0.99


def test_stereo_is_mixed_as_loud_as_its_louder_channel(voice: Voice, tmp_path: Path) -> None:
    mono, _ = run(recording(tmp_path), voice)
    for other in (1.0, 0.3, 0.0, -1.0):
        stereo, _ = run(recording(tmp_path, np.stack([song(), other * song()], axis=1)), voice)
        np.testing.assert_allclose(stereo, mono, atol=1e-3)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_each_format_comes_out_as_what_it_is_called(voice: Voice, tmp_path: Path, format: str) -> None:
    out, result = run(recording(tmp_path), voice, format=format)
    info = probe(result.path)
    assert (info.container, info.sample_rate_hz, info.channels) == (format, 24_000, 1)
    assert abs(out.size - 6 * 24_000) <= (0 if format != "mp3" else 2 * 1152)


def test_progress_rises_tells_the_time_left_and_asks_for_the_device_only_to_speak(
    any_voice: Voice, tmp_path: Path
) -> None:
    options = ConvertOptions(chunk_s=2.0)
    events = list(convert(recording(tmp_path), tmp_path / "result.wav", any_voice, options))
    assert isinstance(events[-1], Done)
    signs = [event for event in events if isinstance(event, Progress)]
    assert [sign.fraction for sign in signs] == sorted(sign.fraction for sign in signs)
    assert all(0 <= sign.fraction <= 1 for sign in signs)
    assert all(sign.needs_device == (sign.stage == "Speaking") for sign in signs)
    assert list(dict.fromkeys(sign.stage for sign in signs)) == ["Reading", "Melody", "Speaking", "Writing"]
    assert all(sign.eta_s is not None and sign.eta_s >= 0 for sign in signs if sign.fraction > 0.05)
    facts = next(sign.data for sign in signs if sign.stage == "Speaking")
    result = events[-1].result
    assert facts == {
        "transpose_semitones": result.transpose_semitones,
        "source_median_hz": result.source_median_hz,
    }
    assert set(result.timings) == {"Reading", "Melody", "Speaking", "Writing"}


@pytest.mark.parametrize("stage", ["Reading", "Melody", "Speaking", "Writing"])
def test_closing_it_at_any_stage_leaves_nothing_behind(voice: Voice, tmp_path: Path, stage: str) -> None:
    source = recording(tmp_path)
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "result.wav").write_bytes(b"an earlier result")
    with closing(convert(source, folder / "result.wav", voice, ConvertOptions())) as events:
        for event in events:
            assert isinstance(event, Progress)
            if event.stage == stage:
                break
    assert [path.name for path in folder.iterdir()] == ["result.wav"]
    assert (folder / "result.wav").read_bytes() == b"an earlier result"


def test_what_is_no_recording_is_refused_in_a_sentence(voice: Voice, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not a sound")
    with pytest.raises(AudioError, match=r"text\.wav"):
        finish(convert(text, tmp_path / "result.wav", voice, ConvertOptions()))
    with pytest.raises(AudioError, match="holds no sound"):
        finish(
            convert(recording(tmp_path, np.empty(0, np.float32)), tmp_path / "r.wav", voice, ConvertOptions())
        )
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["source.wav", "text.wav"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"transpose_semitones": 40.0},
        {"transpose_semitones": float("nan")},
        {"index_rate": -0.1},
        {"protect": 0.7},
        {"follow_loudness": 2.0},
        {"f0_estimator": "guess"},
        {"format": "exe"},
        {"chunk_s": 0.1},
    ],
)
def test_impossible_options_are_refused_with_the_possible_ones(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"'{next(iter(wrong))}' is .*; give (a number from|one of)"):
        ConvertOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("low", ["offset", "15 Hz", "30 Hz", "drift"])
@pytest.mark.parametrize("follow", [0.0, 1.0])
def test_what_is_below_hearing_changes_nothing(
    any_voice: Voice, tmp_path: Path, low: str, follow: float
) -> None:
    wav = (song() + below_hearing(song().size, RATE_HZ)[low]).astype(np.float32)
    plain, _ = run(recording(tmp_path), any_voice, follow_loudness=follow)
    out, _ = run(recording(tmp_path, wav), any_voice, follow_loudness=follow)
    assert abs(20 * np.log10(np.std(out) / np.std(plain))) < 1


@pytest.mark.parametrize("engine", [toy_voice, rvc_voice])
def test_a_pause_on_an_offset_is_as_silent_as_without(
    tmp_path: Path, engine: Callable[[Path], Voice]
) -> None:
    voice, wav = engine(tmp_path / "voice"), song()
    wav[2 * RATE_HZ : 3 * RATE_HZ] = 0.0
    levels_db = []
    for offset in (0.0, 0.05):
        out, result = run(recording(tmp_path, wav + np.float32(offset)), voice, format="flac")
        pause = out[int(2.1 * result.sample_rate_hz) : int(2.9 * result.sample_rate_hz)]
        levels_db.append(20 * np.log10(np.sqrt(np.mean(np.square(pause))) + 1e-9))
    assert abs(levels_db[1] - levels_db[0]) < 1
    # RVC leaves to its networks what they say to silence; these are none that have learned it.
    assert engine is rvc_voice or levels_db[1] < -70


def test_beside_a_gpu_only_what_computes_on_it_takes_the_device(
    any_voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    events = convert(recording(tmp_path, song(2.0)), tmp_path / "result.wav", any_voice, ConvertOptions())
    signs = [event for event in events if isinstance(event, Progress)]
    taken = {sign.stage for sign in signs if sign.needs_device}
    assert taken == ({"Speaking"} if any_voice.card.engine == "rvc-toy" else set())


def test_the_built_in_engine_leaves_the_gpu_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    sf.write(tmp_path / "source.wav", speak(WOMAN, 3.0), RATE_HZ)
    loaded = finish(load_voice(BUILTIN_VOICES / "kathleen", None, weights_at(tmp_path / "weights")))
    assert loaded.voice.card.engine == "lite"
    events = convert(tmp_path / "source.wav", tmp_path / "result.wav", loaded.voice, ConvertOptions())
    assert not any(event.needs_device for event in events if isinstance(event, Progress))


def test_noise_is_measured_and_taken_out_when_that_is_asked_for(voice: Voice, tmp_path: Path) -> None:
    clean = speak(WOMAN, 8.0, rate_hz=RATE_HZ, pause_s=0.8)
    noise = np.random.default_rng(0).standard_normal(clean.size) * clean.std() * 10 ** (-8 / 20)
    source = recording(tmp_path, (clean + noise).astype(np.float32))
    pauses = frame_rms(clean) < 1e-4
    levels = []
    for reduce_noise in (False, True):
        wav, result = run(source, voice, reduce_noise=reduce_noise)
        assert result.source_snr_db == pytest.approx(8, abs=3)
        made = frame_rms(resample(wav, voice.sample_rate_hz, RATE_HZ))[: pauses.size]
        levels.append(np.sqrt(np.mean(np.square(made[pauses[: made.size]]))))
    assert levels[1] < 0.4 * levels[0]
