"""Sounds made from nothing, for the cases: a sung vowel, and syllables with pauses between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 24_000
VOWEL_HZ = ((700.0, 80.0), (1220.0, 90.0), (2600.0, 120.0))
Wave = NDArray[np.float64]


def resonated(wav: Wave, formants_hz: tuple[tuple[float, float], ...]) -> Wave:
    """Send a sound through resonators, each a centre and a width in Hz; the peak is 1."""
    size = 2 * wav.size
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    spectrum = np.fft.rfft(wav, size)
    for hz, width_hz in formants_hz:
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        spectrum = spectrum / (1 - 2 * radius * np.cos(2 * np.pi * hz / RATE_HZ) * z + radius**2 * z**2)
    made = np.fft.irfft(spectrum, size)[: wav.size]
    return made / np.abs(made).max()


def vowel(f0_hz: Wave, formants_hz: tuple[tuple[float, float], ...] = VOWEL_HZ, peak: float = 0.25) -> Wave:
    """Sing a vowel with this F0 at every sample."""
    cycles = np.cumsum(f0_hz) / RATE_HZ
    numbers = range(1, int(0.45 * RATE_HZ / f0_hz.min()) + 1)
    wav = sum(np.sin(2 * np.pi * n * cycles) / n**0.9 * (n * f0_hz < 0.45 * RATE_HZ) for n in numbers)
    place = np.arange(f0_hz.size)
    fade = np.clip(np.minimum(place, place[::-1]) / (0.05 * RATE_HZ), 0, 1)
    return peak * fade * resonated(np.asarray(wav), formants_hz)


def note(hz: float, seconds: float = 2.0) -> Wave:
    """Hold a note, with a little vibrato."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return vowel(hz * 2 ** (0.15 * np.sin(2 * np.pi * 5.5 * time_s) / 12))


def syllables(seconds: float = 8.0, seed: int = 0) -> Wave:
    """Say vowels that change, at 100 to 140 Hz, with pauses; peak 0.18."""
    rng = np.random.default_rng(seed)
    parts: list[Wave] = []
    while sum(part.size for part in parts) < seconds * RATE_HZ:
        first_hz, last_hz = rng.uniform(100, 140, 2)
        hz = np.linspace(first_hz, last_hz, int(rng.uniform(0.12, 0.3) * RATE_HZ))
        formants = ((rng.uniform(300, 750), 80.0), (rng.uniform(900, 2200), 100.0), (2600.0, 150.0))
        parts += [vowel(hz, formants, 0.18), np.zeros(int(rng.uniform(0.03, 0.25) * RATE_HZ))]
    return np.concatenate(parts)[: round(seconds * RATE_HZ)]
