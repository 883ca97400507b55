"""How loud a converted recording shall be, 10 ms by 10 ms: as loud as its source, silent where that is.

Shapes:  T = frames (100 per second); a gain contour has T + 1 knots, knot i at the start of frame i,
         and is straight between them.
Units:   RMS and peaks of a full scale of 1; gains are factors.
Why frames: all that decides about loudness is known per frame before a sample is written, so an
         hour's gain is computed at once, with look-ahead, and no sample can exceed the ceiling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, minimum_filter1d, uniform_filter1d

from rvc.audio.level import TARGET_RMS, loud_of

Contour = NDArray[np.float64]

CEILING = 0.97  # largest sample of a result: a little room for what MP3 and Ogg encoders add
# At the networks' level: below the first a source is silent, from the second on it is heard in full.
SILENT_RMS, AUDIBLE_RMS = 1e-4, 4e-4
# -20 to +9 dB: more would lift the hiss of a frame that the voice chose to speak softly.
MIN_CORRECTION, MAX_CORRECTION = 0.1, 2.8
RVC_CEILING = 0.99  # the largest sample that RVC lets pass
_ENVELOPE_FRAMES = 50  # RVC measures its envelope every half second, over a second around it
_FAINTEST_RMS = 1e-6
_SMOOTH_FRAMES = 3.0
_LIMITER_FRAMES = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameLoudness:
    """What was measured of a recording: RMS and largest magnitude of each 10 ms, shapes (T,)."""

    rms: Contour
    peak: Contour


def measure_frames(wav: NDArray[np.float32], hop: int) -> FrameLoudness:
    """Measure each stretch of `hop` samples; the length of `wav` must be a multiple of it."""
    frames = wav.reshape(-1, hop)
    power = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / hop
    return FrameLoudness(rms=np.sqrt(power), peak=np.abs(frames).max(axis=1, initial=0.0).astype(np.float64))


def gain_contour(
    source_rms: Contour,
    spoken: FrameLoudness,
    follow_loudness: float,
    max_correction: float | Contour = MAX_CORRECTION,
    loud: tuple[float, float] | None = None,
) -> Contour:
    """Compute the gain at each knot, (T + 1,), that makes a spoken recording as loud as its source.

    1 of `follow_loudness` makes every frame as loud as the source's, 0 only the recording as a whole (the
    voice's own dynamics stay). The result stays below the ceiling, and is silent where the source is. `loud`
    is how loud source and spoken are, of which these frames may be a part only; else these are the whole.
    """
    source_loud, spoken_loud = loud or (loud_of(source_rms), loud_of(spoken.rms))
    if source_loud <= 0.0 or spoken_loud <= 0.0:
        return np.zeros(source_rms.size + 1)
    overall = source_loud / spoken_loud
    wanted, given = _smooth_rms(source_rms), _smooth_rms(spoken.rms) * overall
    correction = np.clip((wanted + 1e-9) / (given + 1e-9), MIN_CORRECTION, max_correction)
    audible = _audible(source_rms * (TARGET_RMS / source_loud))
    frames = overall * correction**follow_loudness * audible
    return _limited(_knots(frames, audible), spoken.peak)


def _smooth_rms(rms: Contour) -> Contour:
    """Smooth the power over some 60 ms, so that a correction does not wobble with the pitch periods."""
    return np.sqrt(gaussian_filter1d(np.square(rms), _SMOOTH_FRAMES, mode="constant"))


def _audible(rms: Contour) -> Contour:
    """Say how much of each frame is heard: 0 where the source is silent, 1 where it is not."""
    rise = np.log(np.maximum(rms, 1e-12) / SILENT_RMS) / np.log(AUDIBLE_RMS / SILENT_RMS)
    return np.clip(rise, 0.0, 1.0)


def _knots(frames: Contour, audible: Contour) -> Contour:
    """Put the gains of frames onto their borders; next to a silent frame the border is silent too."""
    padded = np.concatenate((frames[:1], frames, frames[-1:]))
    knots = 0.5 * (padded[1:] + padded[:-1])
    silent = np.concatenate(([False], audible <= 0.0, [False]))
    knots[silent[1:] | silent[:-1]] = 0.0
    return knots


def _limited(gain: Contour, peak: Contour) -> Contour:
    """Lower the gain around each peak that would exceed the ceiling, smoothly and ahead of time."""
    reached = peak * np.maximum(gain[1:], gain[:-1])
    allowed = np.minimum(1.0, CEILING / np.maximum(reached, 1e-9))
    if allowed.min(initial=1.0) >= 1.0:
        return gain
    at_knots = np.minimum(np.append(allowed, 1.0), np.insert(allowed, 0, 1.0))
    width = 2 * _LIMITER_FRAMES + 1
    # The mean of minima over the same width never exceeds the minimum at its centre.
    lowest = minimum_filter1d(at_knots, width, mode="nearest")
    return gain * uniform_filter1d(lowest, width, mode="nearest")


class Gain(Protocol):
    """How loud each moment of a result shall be."""

    def apply(self, wav: NDArray[np.float32], first_frame: int) -> NDArray[np.float32]:
        """Multiply whole frames of samples, the first of which is frame `first_frame` of the recording."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KnotGain:
    knots: Contour
    hop: int

    def apply(self, wav: NDArray[np.float32], first_frame: int) -> NDArray[np.float32]:
        knots = self.knots[first_frame : first_frame + wav.size // self.hop + 1]
        rise = np.arange(self.hop, dtype=np.float32) / self.hop
        start, step = knots[:-1, None].astype(np.float32), np.diff(knots)[:, None].astype(np.float32)
        return np.asarray(wav.reshape(-1, self.hop) * (start + step * rise), dtype=np.float32).reshape(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class EnvelopeMix:
    """RVC's way: what the voice spoke is given part of the source's slow envelope, and is else left alone."""

    source_rms: Contour  # over a second around every half second, (K,)
    spoken_rms: Contour
    follow_loudness: float  # 0 leaves what was spoken as it is, 1 gives it the source's envelope
    samples: int  # of the result, over which the envelopes are stretched
    hop: int
    overall: float = 1.0

    @staticmethod
    def of(
        source_rms: Contour, spoken: FrameLoudness, follow_loudness: float, hop: int, samples: int
    ) -> EnvelopeMix:
        """Compare two recordings; the result stays below the ceiling."""
        mix = EnvelopeMix(
            source_rms=source_rms,
            spoken_rms=slow_envelope(spoken.rms, samples / hop),
            follow_loudness=follow_loudness,
            samples=samples,
            hop=hop,
        )
        knots = mix.gain_at(np.arange(spoken.rms.size + 1) * hop)
        reached = float(np.max(spoken.peak * np.maximum(knots[1:], knots[:-1]), initial=0.0))
        return replace(mix, overall=min(1.0, RVC_CEILING / max(reached, 1e-9)))

    def gain_at(self, places: NDArray[np.int64]) -> Contour:
        """Compute the gain of these samples of the result, without the overall factor."""
        wanted, given = (_stretched(rms, places, self.samples) for rms in (self.source_rms, self.spoken_rms))
        gain: Contour = (wanted / np.maximum(given, _FAINTEST_RMS)) ** self.follow_loudness
        return gain

    def apply(self, wav: NDArray[np.float32], first_frame: int) -> NDArray[np.float32]:
        if self.follow_loudness == 0.0:
            return wav * np.float32(self.overall)
        start = first_frame * self.hop
        gain = self.overall * self.gain_at(np.arange(start, start + wav.size))
        return (wav * gain).astype(np.float32)


def slow_envelope(rms: Contour, frames: float) -> Contour:
    """Measure the RMS over a second around every half second, (T,) -> (frames // 50 + 1,), the last cut."""
    count = int(frames // _ENVELOPE_FRAMES) + 1
    power = np.zeros((count + 1) * _ENVELOPE_FRAMES)
    held = np.square(rms)[: power.size - _ENVELOPE_FRAMES]
    power[_ENVELOPE_FRAMES : _ENVELOPE_FRAMES + held.size] = held
    halves = power.reshape(-1, _ENVELOPE_FRAMES).mean(axis=1)
    return np.sqrt(0.5 * (halves[1:] + halves[:-1]))


def _stretched(values: Contour, places: NDArray[np.int64], length: int) -> Contour:
    """Read values that lie in the middles of equal parts of a length, straight between them."""
    return np.interp((places + 0.5) * values.size / length - 0.5, np.arange(values.size), values)
