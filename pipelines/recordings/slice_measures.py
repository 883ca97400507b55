"""Measuring a slice where it is cut, from what was found of its recording: all in frames of 10 ms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.recordings.pieces import PEAKS, SliceMeasures
from pipelines.recordings.segments import Recording
from rvc.analysis.quality import (
    DIGITAL_SILENCE,
    MAX_SNR_DB,
    MIN_SNR_DB,
    RUMBLE_HZ,
    clipping_fraction,
    high_passed,
)
from rvc.analysis.slicing import Cut
from rvc.audio.level import FRAMES_PER_S

NEARBY_FRAMES = 300  # around a slice its noise is listened for
NOISE_FRAMES = 30  # of noise are needed to tell


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """A recording at 16 kHz and what is in it, in frames of 10 ms."""

    speech: NDArray[np.bool_]
    power: NDArray[np.float64]
    log_mel: NDArray[np.float32]
    f0_hz: NDArray[np.float64]

    def speech_db(self, cut: Cut) -> float:
        """Level of the speech in some stretches, dBFS; of all there is if nobody speaks."""
        power, speech = self._in(self.power, cut), self._in(self.speech, cut)
        chosen = power[speech] if speech.any() else power
        return float(10 * np.log10(chosen.mean() + 1e-12)) if chosen.size else -120.0

    def shares(self, cut: Cut) -> tuple[float, float]:
        """How much of some stretches is speech, and how much of that has a pitch, each 0..1."""
        speech, f0_hz = self._in(self.speech, cut), self._in(self.f0_hz, cut)
        voiced = f0_hz[speech] > 0
        return float(speech.mean()), float(voiced.mean()) if voiced.size else 0.0

    def median_f0(self, cut: Cut) -> float | None:
        f0_hz = self._in(self.f0_hz, cut)
        voiced = f0_hz[f0_hz > 0]
        return round(float(np.median(voiced)), 1) if voiced.size else None

    def snr_db(self, cut: Cut, speech_db: float) -> float | None:
        """How far the speech of a slice lies above the noise around it, or else in its whole recording."""
        for noise in self._noises(cut):
            if noise.size >= NOISE_FRAMES:
                calm = float(np.mean(noise[noise <= np.median(noise)]))
                ratio = max(10 ** (speech_db / 10) / calm - 1, 1e-9)
                return round(float(np.clip(10 * np.log10(ratio), MIN_SNR_DB, MAX_SNR_DB)), 1)
        return None

    def _noises(self, cut: Cut) -> Iterator[NDArray[np.float64]]:
        pauses = ~self.speech & (self.power > DIGITAL_SILENCE * self.power.max(initial=0.0))
        near = slice(max(cut[0][0] - NEARBY_FRAMES, 0), cut[-1][1] + NEARBY_FRAMES)
        yield self.power[near][pauses[near]]
        yield self.power[pauses]

    @staticmethod
    def _in(frames: NDArray, cut: Cut) -> NDArray:  # type: ignore[type-arg]
        return np.concatenate([frames[start:stop] for start, stop in cut])


def measure_slice(
    recording: Recording, analysis: Analysis, cut: Cut, wav: NDArray[np.float32], recording_db: float
) -> SliceMeasures:
    """Measure a slice of a recording whose speech has `recording_db`; `wav` is what became of it."""
    speech_db = analysis.speech_db(cut)
    speech_share, voiced_share = analysis.shares(cut)
    end_s = cut[-1][1] / FRAMES_PER_S
    raw = recording.read(cut[0][0] / FRAMES_PER_S, end_s)
    return SliceMeasures(
        end_s=end_s,
        level_db=round(speech_db, 1),
        above_db=round(speech_db - recording_db, 1),
        snr_db=analysis.snr_db(cut, speech_db),
        clipping_fraction=round(clipping_fraction(raw, high_passed(raw, recording.rate_hz, RUMBLE_HZ)), 5),
        f0_hz=analysis.median_f0(cut),
        speech_share=round(speech_share, 3),
        voiced_share=round(voiced_share, 3),
        peaks=peaks_of(wav),
    )


def peaks_of(wav: NDArray[np.float32]) -> str:
    """Return the loudest sample of each of PEAKS equal parts, 0..255, in hex."""
    parts = np.array_split(np.abs(wav), PEAKS)
    loudest = np.array([part.max(initial=0.0) for part in parts])
    return bytes(np.round(255 * loudest.clip(0, 1)).astype(np.uint8)).hex()
