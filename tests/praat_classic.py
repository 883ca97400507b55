"""Praat's F0 with the settings that RVC calls "pm": one pass over a fixed range, as it comes.

Shapes:  N = samples at 16 kHz, T = frames of 10 ms.
For:     results that must equal those of other RVC programs. `PraatF0` finds more of the voice and errs less.
"""

from __future__ import annotations

import numpy as np
import parselmouth
from numpy.typing import NDArray

from rvc.audio.level import HOP_16K, RATE_16K_HZ
from rvc.pitch.f0 import HIGHEST_HZ, LOWEST_HZ

VOICING_THRESHOLD = 0.6


def classic_praat_f0(wav16k: NDArray[np.float32], frames: int | None = None) -> NDArray[np.float64]:
    """Estimate F0 as RVC's "pm" does.

    Args:
        wav16k: The recording, shape (N,), 16 kHz. Less than three periods of 50 Hz (960 samples) are
            taken as unvoiced.
        frames: Frames T wanted; by default N // 160. Praat gives fewer, because it needs whole windows.

    Returns:
        F0 in Hz, shape (T,), 0 where unvoiced; what Praat does not give is 0, half of it at either end.
    """
    wanted = wav16k.size // HOP_16K if frames is None else frames
    if wav16k.size < 3 * RATE_16K_HZ / LOWEST_HZ:
        return np.zeros(wanted)
    pitch = parselmouth.Sound(wav16k.astype(np.float64), RATE_16K_HZ).to_pitch_ac(
        time_step=HOP_16K / RATE_16K_HZ,
        voicing_threshold=VOICING_THRESHOLD,
        pitch_floor=LOWEST_HZ,
        pitch_ceiling=HIGHEST_HZ,
    )
    found: NDArray[np.float64] = pitch.selected_array["frequency"]
    missing = max(wanted - found.size, 0)
    before = (missing + 1) // 2
    return np.pad(found, (before, missing - before))
