"""What the numbers mean for a voice: good, usable or a problem, and why, in words.

One place for every threshold. No torch here: the server judges uploads with it, too.

What can be said of an uploaded recording at once, by arithmetic alone: for the upload's own page.

The full report on a data set, which listens for speech with a model and reads every second, is
pipelines.recordings.prepare's; this one reads two minutes from the middle and runs in the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soundfile as sf

from pipelines.recordings.uploads import StoredFile
from rvc.analysis.quality import Measures

if TYPE_CHECKING:
    from rvc.analysis.quality import Measures


GOOD, USABLE, PROBLEM = "good", "usable", "problem"
_RANK = {GOOD: 0, USABLE: 1, PROBLEM: 2}
GOOD_SNR_DB, USABLE_SNR_DB = 20.0, 10.0
GOOD_CLIPPING, USABLE_CLIPPING = 0.0003, 0.01
GOOD_BANDWIDTH_HZ, USABLE_BANDWIDTH_HZ = 10_000.0, 4_500.0
QUIET_DB = -45.0
LITTLE_SPEECH_S = 1.0
ENOUGH_MINUTES, GOOD_MINUTES = 1.0, 5.0
UPSAMPLED_SHARE = 0.75
"""A recording that ends below this share of half its rate was once stored at a lower rate."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judgement.

    Attributes:
        grade: "good", "usable" or "problem".
        reasons: Sentences that say why; for a good one, one that says so.
    """

    grade: str
    reasons: tuple[str, ...]


def worst(grades: Sequence[str]) -> str:
    """Return the worst of several grades; "good" of none."""
    return max(grades, key=_RANK.__getitem__, default=GOOD)


def is_upsampled(measures: Measures) -> bool:
    """Tell whether a recording holds less than its sample rate promises (half of it is the promise)."""
    return measures.bandwidth_hz < UPSAMPLED_SHARE * measures.sample_rate_hz / 2


def judge(measures: Measures) -> Verdict:
    """Judge one recording by its measures.

    Args:
        measures: What was measured of it.

    Returns:
        The verdict, the gravest reason first.
    """
    if measures.speech_seconds < LITTLE_SPEECH_S or measures.snr_db is None:
        return Verdict(grade=PROBLEM, reasons=("Hardly any speech was heard in it.",))
    found = [
        _noise(measures.snr_db),
        _clipping(measures.clipping_fraction),
        _bandwidth(measures),
        _level(measures.level_db),
    ]
    bad = sorted((pair for pair in found if pair), key=lambda pair: -_RANK[pair[0]])
    if not bad:
        return Verdict(grade=GOOD, reasons=("Clear speech with little noise.",))
    return Verdict(grade=bad[0][0], reasons=tuple(reason for _, reason in bad))


def _noise(snr_db: float) -> tuple[str, str] | None:
    if snr_db >= GOOD_SNR_DB:
        return None
    if snr_db >= USABLE_SNR_DB:
        return USABLE, f"There is audible noise, {snr_db:.0f} dB below the voice; 20 or more is clean."
    return (
        PROBLEM,
        f"The noise is loud, only {snr_db:.0f} dB below the voice; the voice model would learn it.",
    )


def _clipping(fraction: float) -> tuple[str, str] | None:
    if fraction <= GOOD_CLIPPING:
        return None
    share = f"{100 * fraction:.2g} % of the samples are cut off (clipped)"
    if fraction <= USABLE_CLIPPING:
        return USABLE, f"{share}; record at a lower level."
    return PROBLEM, f"{share}, which sounds harsh; record it again at a lower level."


def _bandwidth(measures: Measures) -> tuple[str, str] | None:
    khz, rate_khz = measures.bandwidth_hz / 1_000, measures.sample_rate_hz / 1_000
    if measures.bandwidth_hz >= GOOD_BANDWIDTH_HZ:
        return None
    grade = USABLE if measures.bandwidth_hz >= USABLE_BANDWIDTH_HZ else PROBLEM
    if is_upsampled(measures):
        return grade, (
            f"It is stored at {rate_khz:g} kHz, but nothing is left above {khz:.1f} kHz: it was recorded or "
            f"encoded at about {2 * khz:.0f} kHz, and the voice will sound as dull."
        )
    return (
        grade,
        f"It holds nothing above {khz:.1f} kHz ({rate_khz:g} kHz recording): the voice will sound dull.",
    )


def _level(level_db: float | None) -> tuple[str, str] | None:
    if level_db is None or level_db >= QUIET_DB:
        return None
    return USABLE, f"It is very quiet ({level_db:.0f} dB below full scale); record closer to the microphone."


READ_S = 120.0
"""Seconds read of a recording; enough for stable numbers, little enough for the server."""
MIN_SPEECH_S = 0.5
POOR_SNR_DB, FAIR_SNR_DB = 10.0, 20.0
CLIPPED_FRACTION = 0.001
TELEPHONE_BANDWIDTH_HZ = 5_000.0


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
    from rvc.analysis.quality import measure

    with sf.SoundFile(folder / stored.audio) as file:
        wanted = min(file.frames, round(READ_S * file.samplerate))
        file.seek((file.frames - wanted) // 2)
        wav = file.read(wanted, dtype="float32")
    measures = measure(wav, stored.sample_rate_hz)
    verdict, reason = judge_upload(measures)
    named = ("name", "seconds", "sample_rate_hz", "channels", "codec")
    measured = ("snr_db", "clipping_fraction", "level_db", "peak_db", "bandwidth_hz")
    return {
        **{name: getattr(stored, name) for name in named},
        **{name: getattr(measures, name) for name in measured},
        "verdict": verdict,
        "reason": reason,
    }


def judge_upload(measures: Measures) -> tuple[str, str]:
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
