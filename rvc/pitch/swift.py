"""F0 by a small network and by Praat: the one says where a voice is, and its octave, the other where exactly.

Sources: the package swift-f0 (MIT; Nieradzik 2025, "SwiftF0"), whose network finds a voice in noise in which
         autocorrelation loses it; rvc/pitch/praat.py, which is finer in time and pitch on clean speech.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray
from swift_f0 import SwiftF0 as Network
from swift_f0.core import HOP, LEFT_FRAMES, LOOKAHEAD_FRAMES

from rvc.audio.level import HOP_16K, RATE_16K_HZ, SILENCE_RMS, frame_rms, loud_of
from rvc.pitch.f0 import SURROUNDINGS_FRAMES, F0Estimator, chunks, tidy_f0
from rvc.pitch.praat import CEILING_HZ, FLOOR_HZ, HUM_HZ, PraatF0
from rvc.steps import relay

# Loud parts over quiet ones. With less noise (12 dB below the voice, about) Praat finds as much, five times
# as fast.
NOISY_DB, QUIET_PERCENTILE = 17.0, 10.0
LEVEL = 0.05  # loud RMS that the network is given: what is very quiet it takes for silence
VOICED, VOICED_ALONE = 0.5, 0.6  # confidence, where Praat hears a voice too, and where it does not
JUMP_OCTAVES = 0.1  # between neighbouring frames of the network; a larger one is no glide
SAME_OCTAVES = 1 / 12
# Farther apart, each is off by its own share of the noise, and the middle by less; as near they are on clean
# sound, where Praat is the finer one; so it is everywhere on high notes.
MIDDLE_OCTAVES, MIDDLE_BELOW_HZ = 25 / 1200, 500.0
# Where they disagree: how many frames around they agree on, and how near and far from the median of those.
SURE_FRAMES, ON_MELODY_OCTAVES, OFF_MELODY_OCTAVES = 40, 0.25, 0.6
CHUNK_FRAMES = 625  # of the network: 10 s
PRAAT_SHARE = 0.3  # of the time


class SwiftF0(F0Estimator):
    """Praat, and in noise SwiftF0 and Praat together."""

    cost_s = 0.03

    def __init__(self) -> None:
        self._praat = PraatF0()
        self._network = Network(threads=1, spin=False)

    def track(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float64]]:
        praat_hz = yield from relay(self._praat.track(wav16k), lambda share: PRAAT_SHARE * share)
        rms = frame_rms(wav16k)
        loud, quiet = loud_of(rms), _quiet_of(rms)
        if loud > quiet * 10 ** (NOISY_DB / 20) or loud <= 0.0:
            return praat_hz
        heard = self.by_network(wav16k * np.float32(LEVEL / loud))
        network = yield from relay(heard, lambda share: PRAAT_SHARE + (1 - PRAAT_SHARE) * share)
        return tidy_f0(combined(praat_hz, *network))

    def by_network(
        self, wav16k: NDArray[np.float32]
    ) -> Generator[float, None, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Give what the network alone hears where loud parts have an RMS of 0.05: Hz and confidence, (T,)."""
        pitch, confidence = yield from self._heard(wav16k)
        return _at_frames(pitch, confidence, wav16k.size // HOP_16K + 1)

    def _heard(
        self, wav: NDArray[np.float32]
    ) -> Generator[float, None, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Give pitch (octaves, log2 of Hz) and confidence of each frame of the network."""
        count = max(1, wav.size // HOP)
        pitch, confidence = np.zeros(count), np.zeros(count)
        overlap = max(LEFT_FRAMES, LOOKAHEAD_FRAMES)
        for start, stop, first, last in chunks(count, CHUNK_FRAMES, overlap):
            part = wav[first * HOP : None if last == count else last * HOP]
            found = self._network.detect(part, RATE_16K_HZ, FLOOR_HZ, CEILING_HZ)
            pitch[start:stop] = np.log2(found.pitch_hz[start - first : stop - first])
            confidence[start:stop] = found.confidence[start - first : stop - first]
            yield stop / count
        return pitch, confidence


def combined(
    praat_hz: NDArray[np.float64], network_hz: NDArray[np.float64], confidence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the contour of both, in Hz, 0 where unvoiced; all (T,).

    The network decides. Where both say the same, Praat's value stands, and where nearly so, the middle.
    Praat's stands, too, where it is on the melody around, on which they agree, and the network an octave or
    so away from it. A frame that Praat alone calls voiced is so if it is on that melody, or the network,
    though unsure, has the same note. The network alone must be surer, and is not believed below the filter
    against hum.
    """
    found = praat_hz > 0
    voiced = np.where(found, confidence >= VOICED, (confidence >= VOICED_ALONE) & (network_hz > HUM_HZ))
    praat, network = np.log2(np.where(found, praat_hz, 1.0)), np.log2(network_hz)
    apart = np.where(found, np.abs(praat - network), np.inf)
    exact = apart < SAME_OCTAVES
    agreed = voiced & exact
    differ = exact & (apart > MIDDLE_OCTAVES) & (network_hz < MIDDLE_BELOW_HZ)
    middle_hz = np.where(differ, np.sqrt(praat_hz * network_hz), praat_hz)
    for frame in np.flatnonzero(found & ~exact).tolist():
        around = slice(max(frame - SURROUNDINGS_FRAMES, 0), frame + SURROUNDINGS_FRAMES + 1)
        melody = praat[around][agreed[around]]
        if melody.size >= SURE_FRAMES:
            middle = np.median(melody)
            strays = not voiced[frame] or abs(network[frame] - middle) > OFF_MELODY_OCTAVES
            exact[frame] = strays and abs(praat[frame] - middle) < ON_MELODY_OCTAVES
    return np.where(exact, middle_hz, np.where(voiced, network_hz, 0.0))


def _quiet_of(rms: NDArray[np.float64]) -> float:
    """Take the level of the pauses, digital silence left out; 0.0 if there is nothing else."""
    heard = rms[rms > SILENCE_RMS]
    return float(np.percentile(heard, QUIET_PERCENTILE)) if heard.size else 0.0


def _at_frames(
    pitch: NDArray[np.float64], confidence: NDArray[np.float64], frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bring what the network says every 16 ms to our frames of 10 ms; pitch becomes Hz."""
    place = np.arange(frames) * (HOP_16K / HOP)
    own = np.arange(pitch.size)
    nearest = pitch[np.minimum(np.rint(place).astype(int), pitch.size - 1)]
    between = np.interp(place, own, pitch)
    glides = np.abs(between - nearest) < JUMP_OCTAVES
    return 2.0 ** np.where(glides, between, nearest), np.interp(place, own, confidence)
