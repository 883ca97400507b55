"""The tone of a recording: how strong each part of the spectrum is in its speech, on the whole.

It is what microphone, room and the speaker's build do to everything that is said, and it comes through the
content encoder. So a recording is heard through an equaliser that gives it the tone of the voice's own ones.
Measured as the mean of the logarithm of band power over loud frames, in which a fixed filter is a sum
(cepstral mean normalisation: Atal 1974, Furui 1981). Audio is 16 kHz, shape (N,).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import firwin2, oaconvolve

from rvc.audio.level import GATE_ROUNDS, HOP_16K, RATE_16K_HZ, normalisation_gain
from rvc.engine.card import TONE_BANDS
from rvc.lite.encoder import (
    POWER_FLOOR,
    band_edges_hz,
    log_mel,
    mel_bank,
    power_spectrum,
)

# Frames further below the mean power are pauses; of the others, those further below theirs have no say,
# because the noise of the room is heard in them.
PAUSE_DB, LOUD_DB = 15.0, 10.0
CAUTIOUS_FRAMES = 100  # so many loud frames are believed by half
# Over time, a band of speech varies at least so much: 7 to 13 dB were measured, and 0.5 in a held vowel,
# which tells nothing of a tone.
SPEECH_SPREAD_DB = 8.0
MAX_DB = 20.0  # the equaliser raises and lowers a band by no more, from the mean of what all bands lack
TAPS = 511
BLOCK_SAMPLES = 60 * RATE_16K_HZ
DB_PER_NEPER = 10.0 / math.log(10.0)

Wave = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tone:
    db: NDArray[np.float64]  # mean level of each band relative to the mean of all, (20,)
    certainty: float  # how much of it can be believed, 0..1
    frames: int  # loud frames behind it


def measure_tone(wav16k: Wave) -> Tone:
    """Measure the tone of a recording, whatever its level."""
    return tone_of(np.concatenate(list(_levels_by_minutes(wav16k))))


def tone_of(bands: NDArray[np.float32]) -> Tone:
    """Measure the tone of frames by their `band_levels`, (T, 20)."""
    power = np.exp(bands).sum(axis=1)
    active = power[power > 2 * TONE_BANDS * POWER_FLOOR]
    if not active.size:
        return Tone(db=np.zeros(TONE_BANDS), certainty=0.0, frames=0)
    for _ in range(GATE_ROUNDS):
        active = active[active > active.mean() * 10 ** (-PAUSE_DB / 10)]
    loud = bands[power > active.mean() * 10 ** (-LOUD_DB / 10)] * DB_PER_NEPER
    mean = loud.mean(axis=0, dtype=np.float64)
    spread = float(loud.std(axis=0).mean()) / SPEECH_SPREAD_DB
    certainty = len(loud) / (len(loud) + CAUTIOUS_FRAMES) * min(spread, 1.0) ** 2
    return Tone(db=mean - mean.mean(), certainty=certainty, frames=len(loud))


def mean_tone(waves16k: Iterable[Wave]) -> NDArray[np.float64]:
    """Measure the tone of several recordings together, each by its loud frames, shape (20,)."""
    tones = [measure_tone(wav) for wav in waves16k]
    weights = [max(tone.frames, 1e-9) for tone in tones]
    return np.average([tone.db for tone in tones], axis=0, weights=weights)


def match_tone(wav16k: Wave, tone_db: NDArray[np.float64]) -> Wave:
    """Give a recording the tone `tone_db` as far as its own is known, not delayed; its level is another."""
    taps = equaliser(correction_db(measure_tone(wav16k), tone_db))
    half = TAPS // 2
    made = np.empty_like(wav16k)
    for start in range(0, wav16k.size, BLOCK_SAMPLES):  # an hour at once would take its size several times
        first, stop = max(start - half, 0), min(start + BLOCK_SAMPLES, wav16k.size)
        part = oaconvolve(wav16k[first : stop + half], taps)
        made[start:stop] = part[start - first + half :][: stop - start]
    return made


def correction_db(measured: Tone, tone_db: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say what a recording lacks of a tone in each band, as far as its own is known, (20,)."""
    return np.clip((tone_db - measured.db) * measured.certainty, -MAX_DB, MAX_DB)


def band_levels(wav16k: Wave) -> NDArray[np.float32]:
    """Natural logarithm of the power of each frame in each band, (T, 20), at the networks' level."""
    fine = log_mel(power_spectrum(torch.from_numpy(wav16k)[None]), _bank())[0]
    return fine.reshape(len(fine), TONE_BANDS, -1).mean(2).numpy()


@lru_cache(maxsize=1)
def _bank() -> torch.Tensor:
    return mel_bank()


def _levels_by_minutes(wav16k: Wave) -> Iterator[NDArray[np.float32]]:
    gain = np.float32(normalisation_gain(wav16k))
    for start in range(0, wav16k.size + 1, BLOCK_SAMPLES):
        yield band_levels(gain * wav16k[start : start + BLOCK_SAMPLES])[: BLOCK_SAMPLES // HOP_16K]


def band_centres_hz() -> NDArray[np.float64]:
    return band_edges_hz()[1:-1].reshape(TONE_BANDS, -1).mean(1).numpy()


def equaliser(gain_db: NDArray[np.float64]) -> Wave:
    """Design the equaliser: a filter of linear phase whose gain goes straight from band to band, (511,)."""
    centres_hz = band_centres_hz()
    grid_hz = np.linspace(0.0, RATE_16K_HZ / 2, 257)
    gains = 10 ** (np.interp(grid_hz, centres_hz, gain_db) / 20)
    return firwin2(TAPS, grid_hz, gains, fs=RATE_16K_HZ).astype(np.float32)
