"""Converting with voices of RVC's kind at toy size: the same promises as for every other voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipelines.conversion.convert import ConvertResult, convert
from pipelines.events import Progress, finish
from rvc.audio.level import frame_rms
from rvc.audio.loudness import RVC_CEILING
from rvc.audio.reader import load_mono
from rvc.engine.options import ENGINES, RVC_DEFAULTS, ConvertOptions
from rvc.errors import ConfigError
from rvc.voice import Voice
from tests.tiny import song
from tests.tiny_rvc_voice import rvc_voice


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return rvc_voice(tmp_path_factory.mktemp("voice"))


def recording(folder: Path, wav: NDArray[np.float32], rate_hz: int = 16_000) -> Path:
    path = folder / "source.wav"
    sf.write(path, wav, rate_hz, subtype="FLOAT")
    return path


def run(source: Path, voice: Voice, **options: object) -> tuple[NDArray[np.float32], ConvertResult]:
    settings = ConvertOptions(**options)  # type: ignore[arg-type]
    result = finish(convert(source, source.with_name("result.wav"), voice, settings))
    return load_mono(result.path)[0], result


@pytest.mark.parametrize(
    ("samples", "rate_hz"), [(1, 48_000), (160, 16_000), (7_919, 11_025), (50_001, 44_100)]
)
def test_the_result_is_as_long_as_the_source_to_the_sample(
    voice: Voice, tmp_path: Path, samples: int, rate_hz: int
) -> None:
    wav = 0.1 * np.sin(np.arange(samples) * 2 * np.pi * 200 / rate_hz)
    out, result = run(recording(tmp_path, wav.astype(np.float32), rate_hz), voice)
    assert out.size == round(samples * 40_000 / rate_hz)
    assert result.sample_rate_hz == 40_000


def test_it_can_be_repeated_and_is_not_cut_short_by_pieces(voice: Voice, tmp_path: Path) -> None:
    source = recording(tmp_path, song(5.0))
    once, again = (run(source, voice)[1].path.read_bytes() for _ in range(2))
    assert once == again
    pieces, _ = run(source, voice, chunk_s=1.5)
    assert pieces.size == 5 * 40_000
    assert np.abs(pieces[-4_000:]).max() > 0.0


def test_a_voice_of_unknown_pitch_is_not_transposed_by_itself(voice: Voice, tmp_path: Path) -> None:
    _, result = run(recording(tmp_path, song(2.0)), voice)
    assert result.source_median_hz is not None
    assert result.transpose_semitones == 0.0
    _, result = run(recording(tmp_path, song(2.0)), voice, transpose_semitones=12)
    assert result.transpose_semitones == 12.0


def test_the_pitch_of_a_voice_without_f0_cannot_be_set(tmp_path: Path) -> None:
    voice = rvc_voice(tmp_path / "voice", uses_f0=False)
    source = recording(tmp_path, song(1.0))
    assert run(source, voice)[1].transpose_semitones == 0.0
    assert run(source, voice, transpose_semitones=0.0)[1].transpose_semitones == 0.0
    with pytest.raises(ConfigError, match="without F0"):
        run(source, voice, transpose_semitones=3.0)


def test_what_is_not_asked_for_is_the_engine_s_default(voice: Voice, tmp_path: Path) -> None:
    source = recording(tmp_path, song(1.5))
    spelled = {
        name: getattr(RVC_DEFAULTS, name) for name in ("index_rate", "protect", "follow_loudness", "chunk_s")
    }
    np.testing.assert_array_equal(run(source, voice)[0], run(source, voice, **spelled)[0])
    assert ENGINES["rvc"] is voice.engine.defaults


def test_the_slow_envelope_is_followed_as_far_as_asked(voice: Voice, tmp_path: Path) -> None:
    wav = song(8.0) * np.where(np.arange(8 * 16_000) < 4 * 16_000, 1.0, 0.1).astype(np.float32)
    source = recording(tmp_path, wav.astype(np.float32))

    def fall_db(wav: NDArray[np.float32], rate_hz: int) -> float:
        first, second = (float(np.sqrt(np.mean(np.square(half)))) for half in np.split(wav, 2))
        return 20 * np.log10(first / second)

    own, followed = (run(source, voice, follow_loudness=share)[0] for share in (0.0, 1.0))
    assert fall_db(followed, 40_000) == pytest.approx(fall_db(wav, 16_000), abs=3.0)
    assert abs(fall_db(own, 40_000)) < fall_db(wav, 16_000) - 6.0
    assert np.abs(frame_rms(own)).max() > 0.0


def test_nothing_exceeds_the_ceiling(voice: Voice, tmp_path: Path) -> None:
    loud = np.clip(20 * song(2.0), -1, 1)
    out, _ = run(recording(tmp_path, loud), voice, follow_loudness=1.0)
    assert np.abs(out).max() <= RVC_CEILING + 1e-3


def test_signs_of_life_only_ask_for_the_device_to_speak(voice: Voice, tmp_path: Path) -> None:
    source = recording(tmp_path, song(4.0))
    events = list(convert(source, tmp_path / "result.wav", voice, ConvertOptions(chunk_s=1.5)))
    signs = [event for event in events if isinstance(event, Progress)]
    assert [sign.fraction for sign in signs] == sorted(sign.fraction for sign in signs)
    assert all(sign.needs_device == (sign.stage == "Speaking") for sign in signs)
