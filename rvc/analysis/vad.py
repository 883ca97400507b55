"""Where somebody speaks: silero-vad, as the recording is read.

Shapes:  N = samples at 16 kHz, T = frames of 10 ms.
Source:  silero-vad's TorchScript network, whose weights come in its package (MIT); it sees 32 ms at a time
         and remembers what came before, so the result does not depend on how the recording is cut to blocks.
Only the worker imports this: it loads torch.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

RATE_HZ = 16_000
CHUNK = 512
HOP = 160

ENTER, LEAVE = 0.5, 0.35
"""Speech begins above the first probability and ends below the second."""

MIN_SPEECH_FRAMES = 10
MIN_PAUSE_FRAMES = 10
QUIET_RMS = 0.02
"""Recordings whose loudest tenth is below this are raised to it: the network misses a whisper at -60 dB."""


@cache
def _network() -> torch.jit.ScriptModule:
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad  # sets torch to one thread when it is imported

    network: torch.jit.ScriptModule = load_silero_vad(onnx=False)
    torch.set_num_threads(threads)
    return network


class SpeechDetector:
    """Reads one recording, block by block.

    Args:
        gain: Factor that its samples are heard with.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain
        self._network = _network()
        self._network.reset_states()
        self._rest = np.empty(0, dtype=np.float32)
        self._probabilities: list[float] = []
        self._samples = 0

    def push(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, shape (n,), at 16 kHz."""
        self._samples += block.size
        wav = np.concatenate([self._rest, block]) * np.float32(self.gain)
        whole = wav.size - wav.size % CHUNK
        self._listen(wav[:whole])
        self._rest = wav[whole:] / np.float32(self.gain)

    def finish(self) -> NDArray[np.bool_]:
        """Return where somebody speaks, shape (T,), T = N // 160."""
        if self._rest.size:
            self._listen(np.pad(self._rest * np.float32(self.gain), (0, CHUNK - self._rest.size)))
            self._rest = np.empty(0, dtype=np.float32)
        frames = self._samples // HOP
        if not frames:
            return np.zeros(0, dtype=np.bool_)
        chunks = (np.arange(frames) * HOP + HOP // 2) // CHUNK
        return tidy_mask(np.array(self._probabilities)[np.minimum(chunks, len(self._probabilities) - 1)])

    def _listen(self, wav: NDArray[np.float32]) -> None:
        with torch.inference_mode():
            for chunk in torch.from_numpy(wav).view(-1, 1, CHUNK):
                self._probabilities.append(float(self._network(chunk, RATE_HZ)))


def tidy_mask(probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Turn probabilities into stretches: two thresholds, no crumbs, no tiny gaps.

    Args:
        probabilities: Of speech in each frame, shape (T,).

    Returns:
        Shape (T,).
    """
    possible = probabilities > LEAVE
    mask = np.zeros(possible.size, dtype=np.bool_)
    for start, stop in runs(possible):
        if probabilities[start:stop].max() > ENTER:
            mask[start:stop] = True
    for start, stop in runs(~mask):
        if stop - start < MIN_PAUSE_FRAMES and start > 0 and stop < mask.size:
            mask[start:stop] = True
    for start, stop in runs(mask):
        if stop - start < MIN_SPEECH_FRAMES:
            mask[start:stop] = False
    return mask


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """List where a mask, shape (T,), is true, as from..to."""
    borders = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in borders.reshape(-1, 2)]
