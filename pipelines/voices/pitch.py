"""Where a voice lies, as its owner says it: in a word, in Hz, or by a recording of it.

low, middle, high    medians of 120, 165 and 215 Hz: most men, between, most women
Of a median alone the range follows as that of speech mostly lies: 5 % of it below 0.7, 5 % above 1.5 times.
A recording is a stranger's file: Praat hears it in a child process with limits.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, TypeGuard

from rvc.errors import ConfigError
from rvc.pitch.f0 import HIGHEST_HZ, LOWEST_HZ
from rvc.sandbox import hear_sandboxed

MEDIANS_HZ = {"low": 120.0, "middle": 165.0, "high": 215.0}
LOW, HIGH = 0.7, 1.5  # of the median
NAMES = ("median_hz", "low_hz", "high_hz")
LIMITS = {"memory_bytes": 2_000_000_000, "cpu_s": 120, "file_bytes": 1_000_000}
WALL_S = 240.0
_WAY_OUT = "give low, middle, high, a median in Hz, or a recording of the voice"

F0 = dict[str, float]  # of a card: median_hz, low_hz, high_hz


def stated_pitch(pitch: object) -> F0:
    """Make of what was said the `f0` of a card.

    A word, a median in Hz (a number, also as text), or {"median_hz", and maybe "low_hz", "high_hz"}.
    """
    given: dict[str, Any] = pitch if isinstance(pitch, dict) else {"median_hz": _median(pitch)}
    median = given.get("median_hz")
    if set(given) - set(NAMES) or not _is_hz(median):
        raise ConfigError(f"The pitch {str(pitch)[:60]!r} is none that is known; {_WAY_OUT}.")
    f0 = {"median_hz": median, "low_hz": round(LOW * median, 1), "high_hz": round(HIGH * median, 1)} | given
    if not LOWEST_HZ <= median <= HIGHEST_HZ:
        raise ConfigError(
            f"A median of {median:g} Hz is no voice's; give one from {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz."
        )
    ordered = all(map(_is_hz, f0.values())) and LOWEST_HZ / 2 <= f0["low_hz"] <= median <= f0["high_hz"]
    if not ordered or f0["high_hz"] > 2 * HIGHEST_HZ:
        raise ConfigError("The range of the pitch does not hold its median; give low_hz and high_hz in Hz.")
    return {name: float(f0[name]) for name in NAMES}


def measured_pitch(recording: Path, name: str) -> F0:
    """Measure where the voice of a recording lies; AudioError if it cannot be heard, or holds no voice."""
    with tempfile.TemporaryDirectory(prefix="timbre-pitch-") as folder:
        result = Path(folder) / "f0.json"
        order = {"recording": str(recording.resolve()), "name": name, "result": str(result)}
        too_heavy = f"{name} cannot be heard within its limits of memory and time; give a shorter recording."
        hear_sandboxed("rvc.pitch.measure", order | LIMITS, WALL_S, too_heavy)
        return stated_pitch(json.loads(result.read_text(encoding="utf-8")))


def _median(pitch: object) -> object:
    """Read a word or a number; what is neither stays as it is."""
    if not isinstance(pitch, str):
        return pitch
    word = pitch.strip().lower()
    try:
        return MEDIANS_HZ.get(word) or float(word.removesuffix("hz"))
    except ValueError:
        return pitch


def _is_hz(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**6
