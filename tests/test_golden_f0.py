"""F0 as upstream has it: coarse bins, transposition with unvoiced frames kept, Praat at fixed settings.

Made by the public upstream code on CPU; the contours are stored, the tolerances are those of its recipe.
"""

from __future__ import annotations

import numpy as np
import parselmouth
import pytest

from rvc.pitch.f0 import coarse_bins, shift_semitones
from tests.golden_files import golden
from tests.praat_classic import classic_praat_f0


def test_every_pitch_falls_into_upstream_s_bin() -> None:
    data = golden("f0_quant.npz")
    np.testing.assert_array_equal(coarse_bins(data["f0"]), data["coarse"])
    assert data["coarse"].min() == 1
    assert data["coarse"].max() == 255


def test_a_transposed_contour_has_upstream_s_pitch_and_bins() -> None:
    data = golden("f0_quant.npz")
    shifted = shift_semitones(data["f0"], 5)
    np.testing.assert_allclose(shifted, data["shift5_f0"], rtol=1e-9)
    np.testing.assert_array_equal(coarse_bins(shifted), data["shift5_coarse"])


def test_unvoiced_frames_stay_unvoiced() -> None:
    data = golden("f0_quant.npz")
    shifted = shift_semitones(data["gap_f0"], float(data["gap_shift"]))
    np.testing.assert_allclose(shifted, data["gap_classic_f0"], rtol=1e-9)
    np.testing.assert_array_equal(coarse_bins(shifted), data["gap_classic_coarse"])
    assert (shifted[data["gap_f0"] == 0] == 0).all()


def test_praat_at_fixed_settings_gives_upstream_s_contour() -> None:
    data = golden("f0_pm.npz")
    if str(data["praat_version"]) != parselmouth.PRAAT_VERSION:
        pytest.skip(f"the contour was made with Praat {data['praat_version']}")
    np.testing.assert_allclose(classic_praat_f0(data["audio"]), data["f0_padded"], atol=1e-6)
    raw = classic_praat_f0(data["audio"], 0)
    np.testing.assert_allclose(raw, data["f0_raw"], atol=1e-6)
