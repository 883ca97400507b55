"""The pitch of somebody who goes on speaking: Praat's method in a window that moves.

A frame's F0 is decided once, with the sound that has come until then. Found in what was heard as it came; the
search range, and what is too quiet to be voiced, are those of the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rvc.audio.level import HOP_16K, loud_of
from rvc.audio.loudness import measure_frames
from rvc.pitch.f0 import tidy_f0
from rvc.pitch.praat import HOP_8K, SILENCE_THRESHOLD, analyse, speech_band

PATH_FRAMES = 24  # before the first new frame, through which Praat finds its path
HELD_FRAMES = 300  # of what was decided, against which new frames are judged

Contour = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Melody:
    """What was found of the frames of a window, (T,): 0 Hz where unvoiced; the last of them are guesses."""

    f0_hz: Contour
    strength: Contour  # how periodic
    band_rms: Contour  # in the band of speech


class MelodyFollower:
    def __init__(self) -> None:
        self._decided = 0  # frames since the beginning
        self._f0_hz = np.empty(0)  # of the last of these
        self._strength = np.empty(0)

    def follow(
        self,
        window16k: NDArray[np.float32],
        place: int,
        decided: int,
        range_hz: tuple[float, float],
        silence: float,
    ) -> Melody:
        """Find the melody of a window that begins at frame `place`, and decide up to the frame `decided`.

        Args:
            window16k: Samples, (160 * T,).
            place: At most 300 frames before what was not decided yet.
            decided: Frames that shall not change any more.
            range_hz: Where the pitch is searched.
            silence: RMS in the band of speech, below which a frame is likely unvoiced; 0: the window's own.
        """
        frames = window16k.size // HOP_16K
        band = speech_band(window16k)[: frames * HOP_8K].astype(np.float32)
        rms = measure_frames(band, HOP_8K).rms
        silence = silence or SILENCE_THRESHOLD * loud_of(rms)
        fresh_at = self._decided - place
        begin = max(fresh_at - PATH_FRAMES, 0)
        rows = np.zeros((2, frames - fresh_at))
        if silence > 0.0:
            found = analyse(band, slice(begin, frames, 1), range_hz, silence)[fresh_at - begin :]
            rows[:] = found["frequency"], found["strength"]
        f0_hz = tidy_f0(np.concatenate([self._f0_hz, rows[0]]))
        strength = np.concatenate([self._strength, rows[1]])
        older = self._f0_hz.size
        f0_hz[:older] = self._f0_hz
        kept = older + decided - self._decided
        self._f0_hz, self._strength = (a[max(kept - HELD_FRAMES, 0) : kept] for a in (f0_hz, strength))
        self._decided = decided
        begun = older - fresh_at
        return Melody(f0_hz=f0_hz[begun:], strength=strength[begun:], band_rms=rms)
