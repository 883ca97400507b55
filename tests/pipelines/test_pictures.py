"""The melodies of a conversion: where a tone is, kept once they were measured, and refused without sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.pictures import MAX_SECONDS, STEP_S, pitch_contours
from rvc.errors import AudioError
from tests.sounds import tone


def test_a_tone_is_measured_where_it_is_and_kept(tmp_path: Path) -> None:
    before, after, kept = (tmp_path / name for name in ("before.wav", "after.wav", "work/pitch.json"))
    sf.write(before, tone(2.0, 16_000, hz=200.0), 16_000)
    sf.write(after, tone(MAX_SECONDS + 5, 24_000, hz=300.0), 24_000)
    found = pitch_contours(before, after, kept)
    for key, hz in (("source_hz", 200.0), ("result_hz", 300.0)):
        voiced = [one for one in found[key] if one is not None]
        assert len(voiced) > 0.8 * len(found[key])
        assert np.median(voiced) == pytest.approx(hz, rel=0.01)
    assert len(found["result_hz"]) == pytest.approx(MAX_SECONDS / STEP_S, abs=2)
    before.unlink()
    assert pitch_contours(before, after, kept) == found, "it is measured once"


def test_a_recording_without_sound_is_refused(tmp_path: Path) -> None:
    sf.write(tmp_path / "empty.wav", np.empty(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="no melody"):
        pitch_contours(tmp_path / "empty.wav", tmp_path / "empty.wav", tmp_path / "kept.json")
    assert not (tmp_path / "kept.json").exists()
