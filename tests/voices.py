"""Speech for tests, made by arithmetic: a glottal source, four resonances, syllables, words and pauses.

Nobody would take it for a person, but silero-vad does, and it has what the measures look for: a mouth of a
certain length, a pitch that falls over a phrase, fricatives that reach far up, and silence between phrases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Wave = NDArray[np.float32]

VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410),
             (660, 1720, 2410), (440, 1020, 2240), (490, 1350, 1690))  # fmt: skip
FRICATIVES_HZ = (2_600, 4_200, 5_800)


@dataclass(frozen=True, kw_only=True)
class Voice:
    """Who speaks.

    Attributes:
        f0_hz: Pitch around which the voice moves.
        tract: Length of the mouth and throat relative to a man's; a woman's is about 0.85.
        tilt: How dull the source is, 0..1.
        breath: Level of the breath in it.
    """

    f0_hz: float = 120.0
    tract: float = 1.0
    tilt: float = 0.93
    breath: float = 0.01


MAN = Voice()
WOMAN = Voice(f0_hz=205.0, tract=0.84, tilt=0.9, breath=0.02)
OTHER_WOMAN = Voice(f0_hz=185.0, tract=0.92, tilt=0.96, breath=0.004)


def speak(
    voice: Voice, seconds: float, *, rate_hz: int = 16_000, seed: int = 0, pause_s: float = 0.5
) -> Wave:
    """Speak phrases of one to three seconds.

    Args:
        voice: Who speaks.
        seconds: Length of the result.
        rate_hz: Its rate.
        seed: What is said.
        pause_s: Silence between phrases.

    Returns:
        Samples, shape (N,), peak 0.5.
    """
    random = np.random.default_rng(seed)
    wav = np.zeros(round(seconds * rate_hz), dtype=np.float64)
    at = round(0.2 * rate_hz)
    while at < wav.size:
        phrase = _phrase(voice, int(random.integers(5, 12)), rate_hz, random)
        room = max(min(phrase.size, wav.size - at), 0)
        wav[at : at + room] += phrase[:room]
        at += phrase.size + round(pause_s * rate_hz)
    return (0.5 * wav / np.abs(wav).max()).astype(np.float32)


def with_noise(wav: Wave, snr_db: float, active: NDArray[np.bool_], *, seed: int = 0) -> Wave:
    """Add white noise so far below the mean power of the samples where somebody speaks, shape (N,)."""
    power = float(np.mean(np.square(wav[active], dtype=np.float64))) / 10 ** (snr_db / 10)
    noise = np.random.default_rng(seed).normal(scale=np.sqrt(power), size=wav.size)
    return (wav + noise).astype(np.float32)


def spoken_samples(wav: Wave, rate_hz: int) -> NDArray[np.bool_]:
    """Tell for clean speech over digital silence which samples are spoken, shape (N,)."""
    reach = round(0.05 * rate_hz)
    loud = np.convolve(np.abs(wav) > 1e-4, np.ones(2 * reach + 1), mode="same")
    return loud > 0.5


def _phrase(voice: Voice, syllables: int, rate_hz: int, random: np.random.Generator) -> NDArray[np.float64]:
    parts = []
    for number in range(syllables):
        fall = 1.15 - 0.3 * number / syllables
        if random.random() < 0.6:
            parts.append(_fricative(voice, random.uniform(0.06, 0.11), rate_hz, random))
        vowels = [VOWELS_HZ[i] for i in random.integers(len(VOWELS_HZ), size=2)]
        f0_hz = voice.f0_hz * fall * random.uniform(0.92, 1.1)
        parts.append(_vowel(voice, vowels, f0_hz, (random.uniform(0.1, 0.2), rate_hz), random))
    return np.concatenate(parts)


def _vowel(
    voice: Voice,
    vowels: list[tuple[int, int, int]],
    f0_hz: float,
    length: tuple[float, int],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """A glide from one vowel to another, in pieces of 10 ms whose filters keep their memory."""
    seconds, rate_hz = length
    count = round(seconds * rate_hz)
    time = np.arange(count) / rate_hz
    phase = np.cumsum(f0_hz * (1 + 0.06 * np.sin(np.pi * time / seconds)) / rate_hz)
    pulses = (np.diff(np.floor(phase), prepend=0.0) > 0).astype(np.float64)
    source = lfilter([1.0], [1.0, -voice.tilt], pulses) + voice.breath * random.normal(size=count)
    step = rate_hz // 100
    memory = [np.zeros(2) for _ in range(4)]
    out = np.empty(count)
    for start in range(0, count, step):
        share = start / count
        formants = [(1 - share) * a + share * b for a, b in zip(*vowels, strict=True)] + [3_500.0]
        sound = source[start : start + step]
        for number, hz in enumerate(formants):
            sound, memory[number] = _resonate(
                sound, hz / voice.tract, 60 + 0.05 * hz, rate_hz, memory[number]
            )
        out[start : start + step] = sound
    return out * np.sin(np.pi * np.clip(time / seconds, 0, 1)) ** 0.5


def _fricative(
    voice: Voice, seconds: float, rate_hz: int, random: np.random.Generator
) -> NDArray[np.float64]:
    count = round(seconds * rate_hz)
    hz = min(FRICATIVES_HZ[int(random.integers(3))] / voice.tract, 0.4 * rate_hz)
    sound, _ = _resonate(random.normal(size=count), hz, 2_000.0, rate_hz, np.zeros(2))
    return 0.7 * sound * np.hanning(count)


def _resonate(
    sound: NDArray[np.float64], hz: float, width_hz: float, rate_hz: int, memory: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One resonance of unit gain at 0 Hz for low ones."""
    radius = np.exp(-np.pi * width_hz / rate_hz)
    poles = [1.0, -2 * radius * np.cos(2 * np.pi * hz / rate_hz), radius**2]
    out, memory = lfilter([sum(poles)], poles, sound, zi=memory)
    return out, memory
