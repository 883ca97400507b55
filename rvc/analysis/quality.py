"""What a recording of speech is like: noise, clipping, true bandwidth, level. Signal processing only.

N samples, mono; T = N * 100 // rate frames of 10 ms. Levels in dB of a full-scale square wave.
What lies below hearing (an offset, rumble) is taken out first, but where cut-off tops are looked for.
SNR: power of the speech while somebody speaks over that of the noise, which is measured where nobody speaks,
bin by bin, as a median: a breath or a door counts little. Bandwidth: where the spectrum falls off a cliff for
good, made by a converter, a telephone or an encoder; a microphone's or a voice's own fall is gradual.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rvc.analysis.slicing import runs
from rvc.audio.level import FRAMES_PER_S
from rvc.steps import result_of

Wave = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spectra = NDArray[np.float32]

MAX_SNR_DB = 70.0
MIN_SNR_DB = -20.0
LOWEST_HZ = 60.0  # below lie rumble and mains hum, which preparing removes: they are not counted as noise
RUMBLE_HZ = 50.0  # below it nothing is listened to at all
DIGITAL_SILENCE = 1e-9  # frames 90 dB below the loudest were made by a program and say nothing of the room

_SHORTEST_FILTERED = 64
_NOISE_FRAMES = 30
_FILTERED_S, _CONTEXT_S = 20.0, 0.25
_MARGIN_FRAMES = 5
_ACTIVITY_BAND_HZ = (150.0, 4_000.0)
_BLOCK_FRAMES = 1_000
_RUMBLING = 0.1  # of the power of what can be heard
_CLIFF_DB = 14.0
_EDGE_DB = 10.0
_BAND_HZ = 100.0
_LOWEST_CLIFF_HZ = 2_500.0
_MOST_QUANTILE_FRAMES = 4_000


@dataclass(frozen=True, kw_only=True)
class Measures:
    seconds: float
    sample_rate_hz: int
    speech_seconds: float
    snr_db: float | None  # -20..70; None without speech
    clipping_fraction: float  # of the samples, cut off at the top or bottom, 0..1
    bandwidth_hz: float  # half the rate if nothing was cut off
    level_db: float | None  # RMS of the speech, dBFS; None without speech
    peak_db: float | None  # dBFS; None if all is zero


def measure(wav: Wave, rate_hz: int, speech: Mask | None = None) -> Measures:
    """Measure a recording, shape (N,); where somebody speaks, shape (T,), is found by loudness if None."""
    return result_of(
        measure_in_steps(wav, rate_hz, active_frames(wav, rate_hz) if speech is None else speech)
    )


def measure_in_steps(wav: Wave, rate_hz: int, speech: Mask) -> Generator[float, None, Measures]:
    """Measure a recording in steps of well under a second, yielding the share that is done; see `measure`."""
    frames = wav.size * FRAMES_PER_S // rate_hz
    steady = yield from _without_rumble(wav, rate_hz)
    blocks = [power_spectra(steady, rate_hz, 0, 0)]
    for first in range(0, frames, _BLOCK_FRAMES):
        blocks.append(power_spectra(steady, rate_hz, first, min(first + _BLOCK_FRAMES, frames)))
        yield 0.2 + 0.4 * first / frames
    spectra = np.concatenate(blocks)
    speech = np.pad(speech[:frames], (0, max(frames - speech.size, 0)))
    noise = noise_spectrum(spectra, speech)
    usable = np.linspace(0, rate_hz / 2, spectra.shape[1]) >= LOWEST_HZ
    yield 0.7
    spoken = speech & _made_by_room(spectra[:, usable].sum(axis=1))
    snr_db = level_db = None
    if spoken.any():
        both = float(spectra[spoken][:, usable].sum(axis=1).mean())
        noise_power = float(noise[usable].sum())
        snr_db = _limited_db(both - noise_power, noise_power)
        level_db = float(10 * np.log10(max(both - noise_power, 0.01 * both)))
    peak = float(np.abs(wav).max(initial=0.0))
    yield 0.8
    clipped = clipping_fraction(wav, steady)
    yield 0.9
    return Measures(
        seconds=wav.size / rate_hz,
        sample_rate_hz=rate_hz,
        speech_seconds=float(speech.sum()) / FRAMES_PER_S,
        snr_db=snr_db,
        clipping_fraction=clipped,
        bandwidth_hz=bandwidth_hz(steady, rate_hz, speech),
        level_db=level_db,
        peak_db=float(20 * np.log10(peak)) if peak > 0 else None,
    )


def high_passed(wav: Wave, rate_hz: int, highpass_hz: float) -> Wave:
    """Take out what lies below a frequency, an offset too, and move nothing in time."""
    from scipy.signal import sosfiltfilt  # slow: not in the server

    if wav.size < _SHORTEST_FILTERED:
        return wav
    padding = min(wav.size - 1, round(0.1 * rate_hz))
    return sosfiltfilt(_high_pass(rate_hz, highpass_hz), wav, padlen=padding).astype(np.float32)


@cache
def _high_pass(rate_hz: int, highpass_hz: float) -> NDArray[np.float64]:
    from scipy.signal import butter

    sections: NDArray[np.float64] = butter(8, highpass_hz, "highpass", fs=rate_hz, output="sos")
    return sections


def _without_rumble(wav: Wave, rate_hz: int) -> Generator[float, None, Wave]:
    step, context = round(_FILTERED_S * rate_hz), round(_CONTEXT_S * rate_hz)
    parts = [wav[:0]]
    for start in range(0, wav.size, step):
        first = max(start - context, 0)
        part = high_passed(wav[first : start + step + context], rate_hz, RUMBLE_HZ)
        parts.append(part[start - first :][:step])
        yield 0.2 * start / wav.size
    return np.concatenate(parts)


def power_spectra(wav: Wave, rate_hz: int, first: int = 0, last: int | None = None) -> Spectra:
    """Measure the power of the frames from..to in bins up to half the rate, shape (T, rate // 100 + 1).

    The sum over a row is the mean square of the 20 ms around the middle of that frame.
    """
    last = wav.size * FRAMES_PER_S // rate_hz if last is None else last
    hop = rate_hz // FRAMES_PER_S
    window = np.hanning(2 * hop + 1)[:-1].astype(np.float32)
    window /= np.sqrt(np.sum(np.square(window)) * 2 * hop)
    spectra = np.empty((last - first, hop + 1), dtype=np.float32)
    for start in range(first, last, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, last)
        begins = (np.arange(start, stop) * rate_hz / FRAMES_PER_S).astype(np.int64) - hop // 2
        low, high = int(begins[0]), int(begins[-1]) + 2 * hop
        part = wav[max(low, 0) : high]
        part = np.pad(part, (max(-low, 0), high - max(low, 0) - part.size))
        rows = part[(begins - low)[:, None] + np.arange(2 * hop)]
        spectra[start - first : stop - first] = np.square(np.abs(np.fft.rfft(rows * window, axis=1)))
    spectra[:, 1:-1] *= 2.0
    return spectra


def active_frames(wav: Wave, rate_hz: int) -> Mask:
    """Find where somebody speaks, shape (T,), by the loudness; this cannot tell speech from knocks."""
    from scipy.ndimage import binary_closing, binary_dilation, median_filter  # slow: not in the server

    spectra = power_spectra(high_passed(wav, rate_hz, RUMBLE_HZ), rate_hz)
    hz = np.linspace(0, rate_hz / 2, spectra.shape[1])
    inside = (hz >= _ACTIVITY_BAND_HZ[0]) & (hz <= _ACTIVITY_BAND_HZ[1])
    power = spectra[:, inside].sum(axis=1)
    sounding = _made_by_room(power)
    if not sounding.any():
        return np.zeros(power.size, dtype=np.bool_)
    level = 10 * np.log10(power + DIGITAL_SILENCE * power.max())
    level = median_filter(level, 5, mode="nearest")
    top = np.percentile(level[sounding], 95)
    floor = max(float(np.percentile(level, 5)), top - 60.0)
    threshold = max(floor + 0.3 * (top - floor), top - 35.0)
    if top - floor < 6.0:  # all alike: a hum, or speech without a pause
        return sounding
    return binary_dilation(binary_closing(level > threshold, iterations=8), iterations=3)


def noise_spectrum(spectra: Spectra, speech: Mask) -> NDArray[np.float64]:
    """Estimate the mean power of the noise in each bin, shape (F,)."""
    from scipy.ndimage import binary_dilation  # takes a second: not in the server

    made_by_room = _made_by_room(spectra.sum(axis=1))
    quiet = ~binary_dilation(speech, iterations=_MARGIN_FRAMES) if speech.any() else ~speech
    quiet &= made_by_room
    if quiet.sum() >= _NOISE_FRAMES:
        # The calmer half of what lies between words: the other holds the ends of words and the breaths.
        rows = np.flatnonzero(quiet)
        power = spectra[rows].sum(axis=1)
        rows = rows[power <= np.median(power)]
        calm = spectra[rows[:: max(1, rows.size // _MOST_QUANTILE_FRAMES)]]
        # The power of noise in a bin has an exponential distribution: its median is ln 2 of its mean.
        return np.median(calm, axis=0).astype(np.float64) / np.log(2)
    if not made_by_room.any():
        return np.zeros(spectra.shape[1])
    # No pause: in every bin there are moments without speech (2 % of an exponential lie below 0.02), and
    # all bins together hold no more than the calmest frames do.
    rows = np.flatnonzero(made_by_room)
    ceiling = float(np.percentile(spectra[rows].sum(axis=1), 1))
    rows = rows[:: max(1, rows.size // _MOST_QUANTILE_FRAMES)]
    low = np.percentile(spectra[rows], 2, axis=0).astype(np.float64) / -np.log(0.98)
    return low * min(1.0, ceiling / max(float(low.sum()), 1e-30))


def clipping_fraction(wav: Wave, steady: Wave) -> float:
    """Measure which share of a recording is cut off at the top or the bottom; `steady` has no rumble.

    Its traces: runs of samples that are alike at the very top (as it was clipped), or more samples close to
    the top than a bit below it (clipped, then encoded or filtered), which rumble alone looks like too.
    """
    if not wav.size:
        return 0.0
    centred = wav - wav.mean(dtype=np.float64).astype(np.float32)
    rumbles = np.square(wav - steady).mean() > _RUMBLING * np.square(steady).mean()
    shape = steady if rumbles else wav
    return (_clipped(centred, shape) + _clipped(-centred, -shape)) / wav.size


def _clipped(wav: Wave, shape: Wave) -> float:
    """Count the samples that are cut off at the top; bumps are looked for in `shape`."""
    top = float(wav.max())
    if top < 1e-3:
        return 0.0
    lengths = np.diff(runs(wav >= top * 0.9995), axis=1)
    in_runs = float(lengths.sum()) if np.count_nonzero(lengths >= 3) >= 3 else 0.0
    bars = np.linspace(0.3, 1.0, 36) * max(float(shape.max()), 1e-3)
    return max(in_runs, _piled_up(np.histogram(shape, bins=bars)[0].astype(float)))


def _piled_up(counts: NDArray[np.float64]) -> float:
    """Count the samples in and beyond a bump of a histogram of amplitudes: what is left of a flat top."""
    for bar in range(6, counts.size):
        before = counts[bar - 5 : bar - 1].mean()
        bump = counts[bar] - 1.4 * before
        beyond = counts[bar + 4 :].sum()
        if bump > 20.0 + 4.0 * np.sqrt(before) and beyond < counts[bar]:
            return float(counts[bar - 1 :].sum() - 3.0 * before)
    return 0.0


def bandwidth_hz(wav: Wave, rate_hz: int, speech: Mask) -> float:
    """Find where the sound really ends, Hz; half the rate if nothing was cut off."""
    half_hz = rate_hz / 2
    level = _loud_spectrum(wav, rate_hz, speech)
    if level is None:
        return half_hz
    step_hz = half_hz / level.size
    fall = _fall(level, step_hz)
    steep = np.flatnonzero(fall > _CLIFF_DB)
    if not steep.size:
        return half_hz
    # The first cliff; its edge is where the spectrum is down by 10 dB for good.
    foot = max(steep[0] - round(300 / step_hz), 0)
    plateau = np.median(level[max(foot - round(700 / step_hz), 0) : foot + 1])
    beyond = np.maximum.accumulate(level[::-1])[::-1]
    edge_hz = float((foot + np.argmax(beyond[foot:] < plateau - _EDGE_DB)) * step_hz)
    return half_hz if edge_hz > 0.93 * half_hz else edge_hz


def _loud_spectrum(wav: Wave, rate_hz: int, speech: Mask) -> NDArray[np.float64] | None:
    """Measure what the loudest frames reach in bands of 100 Hz, dB; None without speech."""
    hop = rate_hz // 50
    window = np.blackman(2 * hop).astype(np.float32)  # its side lobes lie below what resamplers leave
    chosen = np.flatnonzero(speech[: max(wav.size * FRAMES_PER_S // rate_hz - 4, 0)])
    if chosen.size < 10:
        return None
    chosen = chosen[:: max(1, chosen.size // 4_000)]
    rows = wav[(chosen * rate_hz // FRAMES_PER_S)[:, None] + np.arange(2 * hop)]
    power = np.square(np.abs(np.fft.rfft(rows * window, axis=1)))
    per_band = max(1, round(_BAND_HZ / (rate_hz / (2 * hop))))
    bands = power.shape[1] // per_band
    banded = power[:, : bands * per_band].reshape(len(power), bands, per_band).mean(axis=2)
    # Fricatives are few and reach highest: the mean of the loudest twentieth of the frames in each band.
    loudest = np.sort(banded, axis=0)[-max(3, len(banded) // 20) :].mean(axis=0)
    return 10 * np.log10(loudest / hop**2 + 1e-16)


def _fall(level_db: NDArray[np.float64], step_hz: float) -> NDArray[np.float64]:
    """Measure how far the spectrum falls at each band for good, within 300 Hz for a filter's slope."""
    half_gap, width = round(300 / step_hz), round(700 / step_hz)
    fall = np.zeros(level_db.size)
    above = np.maximum.accumulate(level_db[::-1])[::-1]
    bands = np.arange(round(_LOWEST_CLIFF_HZ / step_hz), level_db.size - half_gap - 2)
    if bands.size:
        stretches = np.lib.stride_tricks.sliding_window_view(level_db, width + 1)
        below = np.median(stretches[bands - half_gap - width], axis=1)
        fall[bands] = below - above[bands + half_gap]
    return fall


def _made_by_room(power: NDArray[np.floating]) -> Mask:
    """Tell which frames are more than digital silence, by their power, shape (T,)."""
    return power > DIGITAL_SILENCE * power.max(initial=0.0)


def _limited_db(signal: float, noise: float) -> float:
    if noise <= 0.0:
        return MAX_SNR_DB
    return float(np.clip(10 * np.log10(max(signal / noise, 1e-9)), MIN_SNR_DB, MAX_SNR_DB))
