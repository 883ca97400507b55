"""Fundamental frequency of a recording: the melody that a conversion carries over.

Shapes:  N = samples at 16 kHz, T = N // 160 + 1 frames, frame i centred at sample i * 160.
Units:   F0 in Hz, 0 where unvoiced; transposition in semitones.
Source:  Praat's autocorrelation method through parselmouth (Boersma 1993, "Accurate short-term
         analysis of the fundamental frequency"). Two passes as De Looze and Hirst (2008) do: the
         first knows nothing of the voice, the second searches only where the first found it.
Whole:   what depends on all of the recording (the search range, what counts as silence) is measured
         on all of it first, so that an hour is analysed in chunks with the same result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import parselmouth
from numpy.typing import NDArray

from rvc.errors import ConfigError
from rvc.level import HOP_16K, RATE_16K_HZ, loud_rms
from rvc.registry import Registry
from rvc.steps import result_of

FRAMES_PER_S = RATE_16K_HZ // HOP_16K
FALLBACK_HZ = 150.0
"""F0 that a recording without any voiced frame is given where a number is needed."""

ANALYSIS_RATE_HZ = 8_000
HOP_8K = ANALYSIS_RATE_HZ // FRAMES_PER_S
HUM_HZ = 75.0
"""Corner of the high-pass: mains hum lies below, at 50 or 60 Hz."""

TAPER_HZ = 3_400.0
CLEAR_STRENGTH = 0.85
"""From here on a frame is so periodic that its F0 is hardly an error."""

FILTER_SHARE, RANGE_SHARE = 0.05, 0.2
"""Shares of the time that filtering and the first pass take."""


class F0Estimator(Protocol):
    """Finds the F0 of each frame of a recording; who derives from it gets the call at once for nothing.

    Attributes:
        on_device: Whether it computes on the GPU.
        cost_s: Seconds of work for a second of sound, roughly; to tell how long all will take.
    """

    on_device: bool = False
    cost_s: float = 0.006

    def track(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float64]]:
        """Estimate F0 in steps of well under a second.

        Args:
            wav16k: The whole recording, shape (N,), 16 kHz.

        Yields:
            The share that is done, 0..1.

        Returns:
            F0 in Hz, shape (N // 160 + 1,), 0 where unvoiced.
        """
        ...

    def __call__(self, wav16k: NDArray[np.float32]) -> NDArray[np.float64]:
        """Estimate F0 at once; the same result as `track`."""
        return result_of(self.track(wav16k))


F0_ESTIMATORS: Registry[F0Estimator] = Registry("F0 estimator")


@dataclass(frozen=True, kw_only=True)
class PraatOptions:
    """How Praat's method is set.

    Attributes:
        floor_hz: Lowest F0 looked for; a window of three of its periods is analysed.
        ceiling_hz: Highest F0 looked for, so that a soprano's notes are found.
        voicing_threshold: Strength (0..1, the share of a frame's energy that is periodic) from which
            a frame counts as voiced. Higher loses voice in noise, lower voices the noise.
        silence_threshold: Peak of a frame, as a multiple of the RMS of the recording's loud parts,
            below which the frame is more and more likely to be called unvoiced.
        chunk_s: Seconds of sound analysed at once.
        overlap_s: Seconds analysed on either side of a chunk and thrown away, so that filters have
            settled and Praat's search for the best path has forgotten where its piece began.
    """

    floor_hz: float = 60.0
    ceiling_hz: float = 1100.0
    voicing_threshold: float = 0.45
    silence_threshold: float = 0.15
    chunk_s: float = 20.0
    overlap_s: float = 2.0

    def __post_init__(self) -> None:
        if not 20.0 <= self.floor_hz < self.ceiling_hz <= ANALYSIS_RATE_HZ / 4:
            raise ConfigError(
                f"F0 cannot be looked for from {self.floor_hz:g} to {self.ceiling_hz:g} Hz: "
                "choose a floor of at least 20 Hz and a ceiling above it of at most 2000 Hz."
            )
        if self.chunk_s < 1.0 or self.overlap_s < 0.0:
            raise ConfigError("F0 is estimated in chunks of at least 1 s with an overlap of at least 0 s.")


class PraatF0(F0Estimator):
    """Praat's autocorrelation method in two passes, behind a filter against mains hum.

    Args:
        options: How it is set; the defaults suit speech and song.
    """

    def __init__(self, options: PraatOptions | None = None) -> None:
        self.options = options or PraatOptions()

    def track(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float64]]:
        """Estimate F0 in steps; see `F0Estimator`."""
        frames = wav16k.size // HOP_16K + 1
        wav = yield from self._filtered(wav16k)
        # The analysis rate is half of 16 kHz, so this measures stretches of 20 ms, which is as good.
        silence = self.options.silence_threshold * loud_rms(wav)
        if silence <= 0.0:
            return np.zeros(frames)
        range_hz = yield from self._range(wav, silence)
        contour = np.zeros(frames)
        for start, stop, first, last in self._chunks(frames):
            part = self._analyse(wav, slice(first, last, 1), range_hz, silence)
            contour[start:stop] = part["frequency"][start - first : stop - first]
            yield FILTER_SHARE + RANGE_SHARE + (1 - FILTER_SHARE - RANGE_SHARE) * stop / frames
        return tidy_f0(contour)

    def _chunks(self, frames: int) -> Iterator[tuple[int, int, int, int]]:
        """List start and stop of each chunk without and with its overlap, in frames."""
        chunk = round(self.options.chunk_s * FRAMES_PER_S)
        overlap = round(self.options.overlap_s * FRAMES_PER_S)
        for start in range(0, frames, chunk):
            stop = min(start + chunk, frames)
            yield start, stop, max(start - overlap, 0), min(stop + overlap, frames)

    def _filtered(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float32]]:
        """Take out hum and what is above 4 kHz, and halve the rate, which halves the work."""
        wav = np.zeros((wav16k.size + 1) // 2, dtype=np.float32)
        frames = wav16k.size // HOP_16K + 1
        for start, stop, first, last in self._chunks(frames):
            end = wav16k.size if stop == frames else stop * HOP_16K
            part = _speech_band(wav16k[first * HOP_16K : max(end, last * HOP_16K)])
            begin = (start - first) * HOP_8K
            wav[start * HOP_8K : (end + 1) // 2] = part[begin : begin + (end + 1) // 2 - start * HOP_8K]
            yield FILTER_SHARE * stop / frames
        return wav

    def _range(self, wav: NDArray[np.float32], silence: float) -> Generator[float, None, tuple[float, float]]:
        """Find where this voice lies, by a look at every fourth frame."""
        options = self.options
        wide = options.floor_hz, options.ceiling_hz
        frames = wav.size // HOP_8K + 1
        hz, strength = np.zeros(frames), np.zeros(frames)
        for start, stop, first, last in self._chunks(frames):
            part = self._analyse(wav, slice(first, last, 4), wide, silence)
            kept = part[(start - first + 3) // 4 : -(-(stop - first) // 4)]
            hz[start : start + kept.size] = kept["frequency"]
            strength[start : start + kept.size] = kept["strength"]
            yield FILTER_SHARE + RANGE_SHARE * stop / frames
        return _search_range(hz, strength, wide)

    def _analyse(
        self, wav: NDArray[np.float32], which: slice, range_hz: tuple[float, float], silence: float
    ) -> NDArray[np.void]:
        """Give these frames to Praat in a sound whose own frames lie exactly on ours.

        Returns:
            One row per frame with the fields `frequency` and `strength`.
        """
        count = len(range(which.start, which.stop, which.step))
        half_window = int(np.ceil(1.5 / range_hz[0] * ANALYSIS_RATE_HZ)) + 1
        # Praat centres as many frames as fit; with this length they are ours, half a window inside.
        sound = np.zeros((count - 1) * which.step * HOP_8K + 2 * half_window)
        begin = which.start * HOP_8K - half_window
        source = wav[max(begin, 0) : max(begin + sound.size, 0)]
        offset = max(-begin, 0)
        sound[offset : offset + source.size] = source
        # Praat's silence threshold is relative to the peak of the sound that it is given.
        peak = float(np.abs(sound - sound.mean()).max()) or 1.0
        pitch = parselmouth.Sound(sound, ANALYSIS_RATE_HZ).to_pitch_ac(
            time_step=which.step / FRAMES_PER_S,
            pitch_floor=range_hz[0],
            pitch_ceiling=range_hz[1],
            silence_threshold=silence / peak,
            voicing_threshold=self.options.voicing_threshold,
        )
        rows: NDArray[np.void] = pitch.selected_array
        if rows.size != count:
            raise RuntimeError(f"Praat returned {rows.size} frames instead of {count}.")
        return rows


def _speech_band(wav16k: NDArray[np.float32]) -> NDArray[np.float64]:
    """Keep what lies between mains hum and 4 kHz, without delay; return it at 8 kHz.

    Hum in a pause is perfectly periodic: it would be taken for a voice at 50 or 60 Hz. A voice
    that low is heard, and found, by its harmonics.
    """
    # The filter rings for a while at either end; zeros keep that from wrapping around.
    size = (wav16k.size // 640 + 8) * 640
    spectrum = np.fft.rfft(wav16k, size)[: size // 4 + 1]
    hz = np.arange(spectrum.size) * RATE_16K_HZ / size
    fall = np.clip((hz - TAPER_HZ) / (ANALYSIS_RATE_HZ / 2 - TAPER_HZ), 0.0, 1.0)
    gain = 0.5 + 0.5 * np.cos(np.pi * fall)
    gain[0] = 0.0
    gain[1:] /= 1.0 + (HUM_HZ / hz[1:]) ** 8
    return np.fft.irfft(spectrum * gain, size // 2) * 0.5


def _search_range(
    hz: NDArray[np.float64], strength: NDArray[np.float64], wide_hz: tuple[float, float]
) -> tuple[float, float]:
    """Choose where to search closely: wide enough for the song, too narrow for most octave errors.

    Errors are weak and few. So the clear frames are asked (in noise, the clearer half), for their
    very ends with some room, and for their middle half with half an octave below and more than one above.
    """
    floor_hz, ceiling_hz = wide_hz
    voiced = hz > 0
    if not voiced.any():
        return wide_hz
    clear = hz[voiced & (strength >= min(CLEAR_STRENGTH, float(np.median(strength[voiced]))))]
    lowest, low, high, highest = np.percentile(clear, [2.0, 25.0, 75.0, 98.0])
    # Rounded outwards to semitones above the floor, so that hairs do not change the search.
    semitone = 2.0 ** (1.0 / 12.0)
    down = np.floor(np.log2(min(0.8 * lowest, 0.7 * low) / floor_hz) * 12.0)
    up = np.ceil(np.log2(max(1.25 * highest, 2.2 * high) / floor_hz) * 12.0)
    return max(floor_hz, floor_hz * semitone**down), min(ceiling_hz, floor_hz * semitone**up)


@F0_ESTIMATORS.register("praat")
def build_praat() -> F0Estimator:
    """Make Praat's estimator at its usual setting."""
    return PraatF0()


@F0_ESTIMATORS.register("rmvpe")
def build_rmvpe(weights: Path | None = None, device: str = "cpu") -> F0Estimator:
    """Read RMVPE's published weights; torch is imported only when somebody wants them."""
    if weights is None:
        raise ConfigError(
            "The F0 estimator rmvpe needs its weights, rmvpe.pt; download them or choose praat."
        )
    from rvc.rmvpe import RmvpeF0

    return RmvpeF0.load(weights, device)


MIN_VOICED_FRAMES = 3
"""Shorter islands are bursts of noise that chance made periodic."""

MAX_STRAY_FRAMES = 15
STRAY_OCTAVES = 0.75
SURROUNDINGS_FRAMES = 75
JUMP_OCTAVES = 0.4
"""A larger step from one frame to the next is none that a throat makes."""

OCTAVE_TOLERANCE = 0.15


def tidy_f0(f0_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop voiced islands of under 30 ms, and mend short runs that stray from the melody around them.

    A run is what lies between jumps or pauses. One of at most 150 ms that lies 0.75 octaves or more
    from the median of the 0.75 s on either side strays: estimators do that, voices hardly. If it jumps
    there by an octave it is brought back by one, else it is called unvoiced. Longer runs are
    believed, for a voice may creak or yodel.

    Args:
        f0_hz: Contour, shape (T,), 0 where unvoiced.

    Returns:
        New contour, shape (T,).
    """
    tidy = f0_hz.copy()
    voiced = f0_hz > 0
    octaves = np.log2(np.where(voiced, f0_hz, 1.0))
    jumps = np.abs(np.diff(octaves, prepend=octaves[:1])) > JUMP_OCTAVES
    changes = np.diff(voiced, prepend=False) | (jumps & voiced)
    starts = np.flatnonzero(changes & voiced)
    ends = np.flatnonzero(np.append(changes[1:], True) & voiced) + 1
    for start, stop in zip(starts.tolist(), ends.tolist(), strict=True):
        if stop - start > MAX_STRAY_FRAMES:
            continue
        around = slice(max(start - SURROUNDINGS_FRAMES, 0), stop + SURROUNDINGS_FRAMES)
        others = voiced[around].copy()
        others[start - around.start : stop - around.start] = False
        if others.any():
            away = np.median(octaves[start:stop]) - np.median(octaves[around][others])
            if abs(away) > STRAY_OCTAVES:
                tidy[start:stop] *= 2.0 ** -np.sign(away) if _is_octave(octaves, start, stop) else 0.0
    return _without_islands(tidy)


def _is_octave(octaves: NDArray[np.float64], start: int, stop: int) -> bool:
    """Whether a run begins or ends with a jump of an octave."""
    steps = [octaves[start] - octaves[start - 1]] if start else []
    steps += [octaves[stop - 1] - octaves[stop]] if stop < octaves.size else []
    return any(abs(abs(step) - 1.0) < OCTAVE_TOLERANCE for step in steps)


def _without_islands(f0_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop voiced stretches that are too short."""
    borders = np.flatnonzero(np.diff(f0_hz > 0, prepend=False, append=False))
    for start, stop in borders.reshape(-1, 2):
        if stop - start < MIN_VOICED_FRAMES:
            f0_hz[start:stop] = 0.0
    return f0_hz


@dataclass(frozen=True, kw_only=True)
class F0Statistics:
    """Where a voice lies.

    Attributes:
        median_hz: Half of the voiced frames are below.
        low_hz: 5 % of them are below.
        high_hz: 5 % of them are above.
    """

    median_hz: float
    low_hz: float
    high_hz: float


def f0_statistics(f0_hz: NDArray[np.float64]) -> F0Statistics | None:
    """Measure where a voice lies.

    Args:
        f0_hz: Contour, shape (T,), 0 where unvoiced.

    Returns:
        Median and range of the voiced frames; None if there are none.
    """
    voiced = f0_hz[f0_hz > 0]
    if not voiced.size:
        return None
    low, median, high = np.percentile(voiced, [5.0, 50.0, 95.0])
    return F0Statistics(median_hz=float(median), low_hz=float(low), high_hz=float(high))


def shift_semitones(f0_hz: NDArray[np.float64], semitones: float) -> NDArray[np.float64]:
    """Transpose a contour; unvoiced frames stay 0.

    Args:
        f0_hz: Contour, shape (T,), in Hz.
        semitones: How far; negative is down.

    Returns:
        Contour, shape (T,), in Hz.
    """
    return f0_hz * 2.0 ** (semitones / 12.0)


def interpolate_unvoiced(f0_hz: NDArray[np.float64], fallback_hz: float = FALLBACK_HZ) -> NDArray[np.float64]:
    """Fill the unvoiced frames, so that a network gets a contour without holes.

    Args:
        f0_hz: Contour, shape (T,), 0 where unvoiced.
        fallback_hz: Value of all frames if none is voiced.

    Returns:
        Contour, shape (T,), positive everywhere: straight on a logarithmic scale between voiced
        frames, constant before the first and after the last.
    """
    voiced = np.flatnonzero(f0_hz > 0)
    if not voiced.size:
        return np.full(f0_hz.shape, fallback_hz)
    filled: NDArray[np.float64] = np.exp(np.interp(np.arange(f0_hz.size), voiced, np.log(f0_hz[voiced])))
    filled[voiced] = f0_hz[voiced]
    return filled


def cumulate_phase(f0_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count the cycles of a contour, so that pieces of a recording continue each other's waves.

    Args:
        f0_hz: Contour without holes, shape (T,), in Hz; straight between frames.

    Returns:
        Cycles since frame 0 at each frame, shape (T,), without their whole part, 0 <= phase < 1.
    """
    cycles = np.zeros(f0_hz.size)
    np.cumsum(0.5 * (f0_hz[1:] + f0_hz[:-1]) / FRAMES_PER_S, out=cycles[1:])
    phase: NDArray[np.float64] = cycles % 1.0
    return phase
