"""What the numbers mean for a voice: good, usable or a problem, and why, in words.

One place for every threshold. No torch here: the server judges uploads with it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rvc.analysis import Measures

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
