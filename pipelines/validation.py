"""What can be said of an uploaded recording at once, by arithmetic alone: for the upload's own page.

The full report on a data set, which listens for speech with a model and reads every second, is
pipelines.prepare's; this one reads two minutes from the middle and runs in the server.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import soundfile as sf

from pipelines.uploads import StoredFile

if TYPE_CHECKING:
    from rvc.analysis import Measures

READ_S = 120.0
"""Seconds read of a recording; enough for stable numbers, little enough for the server."""

MIN_SPEECH_S = 0.5
POOR_SNR_DB, FAIR_SNR_DB = 10.0, 20.0
CLIPPED_FRACTION = 0.001
TELEPHONE_BANDWIDTH_HZ = 5_000.0
QUIET_DB = -45.0


def validate(stored: StoredFile, folder: Path) -> dict[str, Any]:
    """Measure one recording and judge it.

    Args:
        stored: The recording.
        folder: Folder of its upload.

    Returns:
        name, seconds, sample_rate_hz, channels, codec, snr_db, clipping_fraction, level_db, peak_db and
        bandwidth_hz (None where there is no speech to measure), verdict ("good" | "fair" | "poor") and
        reason, one sentence.
    """
    # SciPy takes a second to load, and most servers are never asked this.
    from rvc.analysis import measure

    with sf.SoundFile(folder / stored.audio) as file:
        wanted = min(file.frames, round(READ_S * file.samplerate))
        file.seek((file.frames - wanted) // 2)
        wav = file.read(wanted, dtype="float32")
    measures = measure(wav, stored.sample_rate_hz)
    verdict, reason = judge(measures)
    named = ("name", "seconds", "sample_rate_hz", "channels", "codec")
    measured = ("snr_db", "clipping_fraction", "level_db", "peak_db", "bandwidth_hz")
    return {
        **{name: getattr(stored, name) for name in named},
        **{name: getattr(measures, name) for name in measured},
        "verdict": verdict,
        "reason": reason,
    }


def judge(measures: Measures) -> tuple[str, str]:
    """Return the verdict and its reason; the worst thing is named."""
    snr_db, level_db = measures.snr_db, measures.level_db
    if snr_db is None or level_db is None or measures.speech_seconds < MIN_SPEECH_S:
        return "poor", "No speech was found; check that this is the right recording."
    if snr_db < POOR_SNR_DB:
        return "poor", f"Noise is only {snr_db:.0f} dB below the voice; record in a quieter place."
    if measures.clipping_fraction > CLIPPED_FRACTION:
        return "fair", "The loudest moments are cut off; record again with less gain."
    if snr_db < FAIR_SNR_DB:
        return "fair", f"Noise is {snr_db:.0f} dB below the voice; a quieter place gives a clearer voice."
    if measures.bandwidth_hz < TELEPHONE_BANDWIDTH_HZ:
        return "fair", f"The sound ends at {measures.bandwidth_hz / 1000:.1f} kHz; use a better recording."
    if level_db < QUIET_DB:
        return "fair", "The voice is very quiet; come nearer to the microphone."
    return "good", "Nothing stands in the way."
