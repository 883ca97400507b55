"""F0 by Praat's autocorrelation method, in two passes.

Source:  Boersma 1993, "Accurate short-term analysis of the fundamental frequency", through parselmouth.
         Two passes as De Looze and Hirst (2008) do: the first knows nothing of the voice, the second
         searches only where the first found it.
Whole:   what depends on all of the recording (the search range, what counts as silence) is measured on all of
         it first, so that an hour is analysed in chunks with the same result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import parselmouth
from numpy.typing import NDArray

from rvc.audio.level import FRAMES_PER_S, HOP_16K, RATE_16K_HZ, loud_rms
from rvc.pitch.f0 import F0Estimator, chunks, tidy_f0

ANALYSIS_RATE_HZ = 8_000
HOP_8K = ANALYSIS_RATE_HZ // FRAMES_PER_S
HUM_HZ = 75.0  # corner of the high-pass: mains hum lies below, at 50 or 60 Hz
TAPER_HZ = 3_400.0
CLEAR_STRENGTH = 0.85  # from here on a frame is so periodic that its F0 is hardly an error
FILTER_SHARE, RANGE_SHARE = 0.05, 0.2  # of the time
FLOOR_HZ, CEILING_HZ = 50.0, 1100.0  # the notes of a deep bass and of a soprano are found
GRID_HZ = 60.0  # the search begins and ends a whole number of semitones from here
VOICING_THRESHOLD = 0.45  # periodic share of the energy: higher loses voice, lower voices noise
SILENCE_THRESHOLD = 0.15  # of a frame's peak, in loud RMS; below it is ever more likely unvoiced
# Analysed at once, and on either side besides, so that filters settle and the path forgets its start.
CHUNK_S, OVERLAP_S = 20.0, 2.0


class PraatF0(F0Estimator):
    """Praat's autocorrelation method in two passes, behind a filter against mains hum."""

    def __init__(self, chunk_s: float = CHUNK_S) -> None:
        self._chunk_frames = round(chunk_s * FRAMES_PER_S)

    def track(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float64]]:
        frames = wav16k.size // HOP_16K + 1
        wav = yield from self._filtered(wav16k)
        # The analysis rate is half of 16 kHz, so this measures stretches of 20 ms, which is as good.
        silence = SILENCE_THRESHOLD * loud_rms(wav)
        if silence <= 0.0:
            return np.zeros(frames)
        range_hz = yield from self._range(wav, silence)
        contour = np.zeros(frames)
        for start, stop, first, last in self._chunks(frames):
            part = analyse(wav, slice(first, last, 1), range_hz, silence)
            contour[start:stop] = part["frequency"][start - first : stop - first]
            yield FILTER_SHARE + RANGE_SHARE + (1 - FILTER_SHARE - RANGE_SHARE) * stop / frames
        return tidy_f0(contour)

    def _chunks(self, frames: int) -> Iterator[tuple[int, int, int, int]]:
        return chunks(frames, self._chunk_frames, round(OVERLAP_S * FRAMES_PER_S))

    def _filtered(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float32]]:
        """Take out hum and what is above 4 kHz, and halve the rate, which halves the work."""
        wav = np.zeros((wav16k.size + 1) // 2, dtype=np.float32)
        frames = wav16k.size // HOP_16K + 1
        for start, stop, first, last in self._chunks(frames):
            end = wav16k.size if stop == frames else stop * HOP_16K
            part = speech_band(wav16k[first * HOP_16K : max(end, last * HOP_16K)])
            begin = (start - first) * HOP_8K
            wav[start * HOP_8K : (end + 1) // 2] = part[begin : begin + (end + 1) // 2 - start * HOP_8K]
            yield FILTER_SHARE * stop / frames
        return wav

    def _range(self, wav: NDArray[np.float32], silence: float) -> Generator[float, None, tuple[float, float]]:
        """Find where this voice lies, by a look at every fourth frame."""
        wide = FLOOR_HZ, CEILING_HZ
        frames = wav.size // HOP_8K + 1
        hz, strength = np.zeros(frames), np.zeros(frames)
        for start, stop, first, last in self._chunks(frames):
            part = analyse(wav, slice(first, last, 4), wide, silence)
            kept = part[(start - first + 3) // 4 : -(-(stop - first) // 4)]
            hz[start : start + kept.size] = kept["frequency"]
            strength[start : start + kept.size] = kept["strength"]
            yield FILTER_SHARE + RANGE_SHARE * stop / frames
        return search_range(hz, strength, wide)


def analyse(
    wav: NDArray[np.float32], which: slice, range_hz: tuple[float, float], silence: float
) -> NDArray[np.void]:
    """Give these frames of 8 kHz audio to Praat in a sound whose own frames lie exactly on ours.

    `silence` is the level below which a frame is ever more likely unvoiced. Rows have frequency, strength.
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
        voicing_threshold=VOICING_THRESHOLD,
    )
    rows: NDArray[np.void] = pitch.selected_array
    if rows.size != count:
        raise RuntimeError(f"Praat returned {rows.size} frames instead of {count}.")
    return rows


def speech_band(wav16k: NDArray[np.float32]) -> NDArray[np.float64]:
    """Keep what lies between mains hum and 4 kHz, without delay; return it at 8 kHz.

    Hum in a pause would be taken for a voice at 50 or 60 Hz; one that low is found by its harmonics.
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


def search_range(
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
    # Rounded outwards to semitones, so that hairs do not change the search.
    semitone = 2.0 ** (1.0 / 12.0)
    down = np.floor(np.log2(min(0.8 * lowest, 0.7 * low) / GRID_HZ) * 12.0)
    up = np.ceil(np.log2(max(1.25 * highest, 2.2 * high) / GRID_HZ) * 12.0)
    return max(floor_hz, GRID_HZ * semitone**down), min(ceiling_hz, GRID_HZ * semitone**up)
