"""What one recording of an upload is like, measured in the server at once: no models, no waiting."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.uploads import StoredFile
from rvc.analysis import Measures, measure
from rvc.audio import blocks

MEASURED_S = 300.0
"""Noise and bandwidth are those of the first minutes, so that an hour costs no more than they do."""

ENOUGH_SNR_DB = 20.0
USABLE_SNR_DB = 10.0
CLIPPED_FRACTION = 1e-3
ENOUGH_BANDWIDTH_HZ = 6_000.0


def examine(folder: Path, stored: StoredFile) -> dict[str, Any]:
    """Measure a recording and judge it.

    Args:
        folder: The upload's folder.
        stored: Which of its files.

    Returns:
        name, seconds, sample_rate_hz, channels, codec, size_bytes, and of its first five minutes
        speech_seconds, snr_db, clipping_fraction, bandwidth_hz, level_db, peak_db; verdict ("good",
        "usable" or "poor") and reason.
    """
    first = _first_blocks(blocks(folder / stored.audio), stored.sample_rate_hz, MEASURED_S)
    measures = measure(np.concatenate(first), stored.sample_rate_hz)
    verdict, reason = judged(measures)
    known = stored.to_json()
    shown = ("name", "seconds", "sample_rate_hz", "channels", "codec", "size_bytes")
    return {
        **{name: known[name] for name in shown},
        "speech_seconds": measures.speech_seconds,
        "snr_db": measures.snr_db,
        "clipping_fraction": measures.clipping_fraction,
        "bandwidth_hz": measures.bandwidth_hz,
        "level_db": measures.level_db,
        "peak_db": measures.peak_db,
        "verdict": verdict,
        "reason": reason,
    }


def judged(measures: Measures) -> tuple[str, str]:
    """Return ("good", "usable" or "poor", why) for what was measured of a recording."""
    snr_db = measures.snr_db
    if snr_db is None:
        return "poor", "No speech was found; record closer to the microphone."
    if snr_db < USABLE_SNR_DB:
        return "poor", f"The noise is only {snr_db:.0f} dB below the voice; record in a quieter room."
    if measures.clipping_fraction > CLIPPED_FRACTION:
        return "usable", "It is distorted where it is loud; turn the recording level down."
    if snr_db < ENOUGH_SNR_DB:
        return "usable", f"The noise is {snr_db:.0f} dB below the voice, and will be heard a little."
    if measures.bandwidth_hz < ENOUGH_BANDWIDTH_HZ:
        return "usable", f"It ends at {measures.bandwidth_hz / 1000:.1f} kHz and sounds like a telephone."
    return "good", "Clear speech."


def _first_blocks(
    wav: Iterable[NDArray[np.float32]], rate_hz: int, seconds: float
) -> list[NDArray[np.float32]]:
    taken: list[NDArray[np.float32]] = []
    for block in wav:
        taken.append(block)
        if sum(part.size for part in taken) >= seconds * rate_hz:
            break
    return taken
