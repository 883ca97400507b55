"""Steady noise taken out of a recording, by what is heard of it between the words (spectral gating).

Source: the package noisereduce (MIT; Sainburg et al. 2020). N samples, mono; T frames of 10 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

from rvc.analysis.quality import active_frames
from rvc.analysis.slicing import runs
from rvc.audio.level import FRAMES_PER_S

Wave = NDArray[np.float32]

NOISE_KEPT = 0.1  # against musical noise
MOST_NOISE_S, LEAST_NOISE_S = 4.0, 0.4
SHORTEST_PAUSE_FRAMES, MARGIN_S = 30, 0.08
HEARD_S = 300.0  # of a long recording, where its pauses are looked for
BLOCK_S, CONTEXT_S = 20.0, 1.0


def noise_of(read: Callable[[float, float], Wave], rate_hz: int, speech: NDArray[np.bool_]) -> Wave:
    """Collect up to 4 s of a recording's longest pauses; empty if they are too short to tell.

    `read` gives the recording between two times in seconds; `speech`, (T,), is where somebody speaks.
    """
    pauses = sorted(runs(~speech).tolist(), key=lambda pause: pause[0] - pause[1])
    found: list[Wave] = []
    for start, stop in pauses:
        seconds = sum(wav.size for wav in found) / rate_hz
        if stop - start < SHORTEST_PAUSE_FRAMES or seconds >= MOST_NOISE_S:
            break
        begin, end = start / FRAMES_PER_S + MARGIN_S, stop / FRAMES_PER_S - MARGIN_S
        wav = read(begin, min(end, begin + MOST_NOISE_S - seconds))
        if wav.size and float(np.abs(wav).max()) > 1e-5:
            found.append(wav)
    wav = np.concatenate([np.empty(0, dtype=np.float32), *found])
    return wav if wav.size >= LEAST_NOISE_S * rate_hz else np.empty(0, dtype=np.float32)


def without_noise(wav: Wave, rate_hz: int, noise: Wave) -> Wave:
    """Take the noise out; where none is known (it is empty), what changes slowly is taken for it."""
    import noisereduce  # heavy, and off by default

    if not wav.any():  # it divides by how loud it is
        return wav
    options = {"y_noise": noise, "stationary": True} if noise.size else {"stationary": False}
    reduced = noisereduce.reduce_noise(
        y=wav, sr=rate_hz, prop_decrease=1.0 - NOISE_KEPT, n_fft=1024 if rate_hz < 32_000 else 2048, **options
    )
    return np.asarray(reduced, dtype=np.float32)[: wav.size]


def cleaned(wav: Wave, rate_hz: int) -> Generator[float, None, Wave]:
    """Take the steady noise out of a whole recording, (N,), in steps; yields the share that is done."""
    heard = wav[: round(HEARD_S * rate_hz)]
    yield 0.0
    noise = noise_of(
        lambda start, stop: heard[round(start * rate_hz) : round(stop * rate_hz)],
        rate_hz,
        active_frames(heard, rate_hz),
    )
    step, context = round(BLOCK_S * rate_hz), round(CONTEXT_S * rate_hz)
    clean = np.empty_like(wav)
    for start in range(0, wav.size, step):
        first = max(start - context, 0)
        part = without_noise(wav[first : start + step + context], rate_hz, noise)
        clean[start : start + step] = part[start - first :][:step]
        yield min(start + step, wav.size) / wav.size
    return clean
