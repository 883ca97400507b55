"""Converting with voices of RVC's kind at toy size: what they promise besides (see test_convert.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc.audio.level import frame_rms
from rvc.audio.loudness import RVC_CEILING
from rvc.engine.options import ENGINES, RVC_DEFAULTS
from rvc.errors import ConfigError
from rvc.voice import Voice
from tests.pipelines.conversion.test_convert import recording, run
from tests.tiny import song
from tests.tiny_rvc_voice import rvc_voice


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return rvc_voice(tmp_path_factory.mktemp("voice"))


def test_it_is_not_cut_short_by_pieces(voice: Voice, tmp_path: Path) -> None:
    pieces, _ = run(recording(tmp_path, song(5.0)), voice, chunk_s=1.5)
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
