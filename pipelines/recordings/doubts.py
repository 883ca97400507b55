"""What speaks against learning from a slice, as reasons and one number to sort by.

Each reason has a strength of 0..1 that grows from where a careful listener would start to wonder; a slice's
doubt is how likely one of them is right, were they independent. Nothing is decided here: a person does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.recordings.pieces import SliceMeasures
from pipelines.recordings.report import GOOD_CLIPPING, USABLE_CLIPPING
from pipelines.recordings.segments import EVENED_DB

QUIET, LOUD, NOISY, CLIPPED = "quiet", "loud", "noisy", "clipped"
LOW, HIGH = "low", "high"  # in pitch
PAUSES, VOICELESS, SHORT, OTHER_SPEAKER = "pauses", "voiceless", "short", "other_speaker"
REASONS = (QUIET, LOUD, NOISY, CLIPPED, LOW, HIGH, PAUSES, VOICELESS, SHORT, OTHER_SPEAKER)

# Where each begins to speak against a slice, and where nothing more could be said.
NOISY_DB = (15.0, 0.0)
PITCH_SPREADS, LEAST_SPREAD = (3.0, 6.0), 2.0  # in standard deviations of the voice, and that in semitones
SPOKEN_SHARE = (0.5, 0.1)
VOICED_OF_USUAL = (0.5, 0.1)  # of what is usual for the voice: one may whisper throughout
VOICED_SHARE = 0.3  # from so much on there is voice in it whatever is usual
SHORT_S = (1.0, 0.3)
OTHER_SHARE = (0.1, 0.8)
_LEAST = 0.2  # strength of a reason that is only just one


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What the slices of a set are like on the whole."""

    f0_semitones: float | None  # against 1 Hz; None without voice
    spread_semitones: float
    voiced_share: float

    @classmethod
    def of(cls, slices: Sequence[SliceMeasures]) -> Usual:
        pitches = np.array([semitones(one.f0_hz) for one in slices if one.f0_hz])
        middle = float(np.median(pitches)) if pitches.size else None
        # The median of the distances is 0.67 standard deviations, and a few strangers move it little.
        spread = 1.4826 * float(np.median(np.abs(pitches - middle))) if middle is not None else 0.0
        voiced = float(np.median([one.voiced_share for one in slices])) if slices else 0.0
        return cls(f0_semitones=middle, spread_semitones=max(spread, LEAST_SPREAD), voiced_share=voiced)


def semitones(hz: float) -> float:
    return 12 * math.log2(hz)


def doubts(one: SliceMeasures, seconds: float, other_share: float, usual: Usual) -> tuple[float, list[str]]:
    """Return how doubtful a slice is, 0..1, and why, the gravest first.

    `other_share` is how much of its whole recording is another speaker's.
    """
    found = {
        QUIET: _strength(-one.above_db, EVENED_DB, 3 * EVENED_DB),
        LOUD: _strength(one.above_db, EVENED_DB, 3 * EVENED_DB),
        NOISY: 0.0 if one.snr_db is None else _strength(one.snr_db, *NOISY_DB),
        CLIPPED: _strength(
            math.log(max(one.clipping_fraction, 1e-9)), math.log(GOOD_CLIPPING), math.log(USABLE_CLIPPING)
        ),
        PAUSES: _strength(one.speech_share, *SPOKEN_SHARE),
        SHORT: _strength(seconds, *SHORT_S),
        OTHER_SPEAKER: _strength(other_share, *OTHER_SHARE),
    }
    if one.voiced_share < VOICED_SHARE and usual.voiced_share:
        found[VOICELESS] = _strength(one.voiced_share / usual.voiced_share, *VOICED_OF_USUAL)
    if one.f0_hz and usual.f0_semitones is not None:
        off = (semitones(one.f0_hz) - usual.f0_semitones) / usual.spread_semitones
        found |= {LOW: _strength(-off, *PITCH_SPREADS), HIGH: _strength(off, *PITCH_SPREADS)}
    reasons = sorted((name for name in found if found[name]), key=lambda name: -found[name])
    return round(1 - math.prod(1 - strength for strength in found.values()), 3), reasons


def _strength(value: float, since: float, until: float) -> float:
    share = (value - since) / (until - since)
    return 0.0 if share <= 0 else _LEAST + (1 - _LEAST) * min(share, 1.0)
