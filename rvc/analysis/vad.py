"""Where somebody speaks: silero-vad (MIT, its weights come in its package), as the recording is read.

The network sees 32 ms at a time and remembers what came before, so the result does not depend on how the
recording is cut to blocks. T = frames of 10 ms. Only the worker imports this: it loads torch.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from rvc.analysis.slicing import runs
from rvc.audio.level import HOP_16K, RATE_16K_HZ

CHUNK = 512
ENTER, LEAVE = 0.5, 0.35  # speech begins above the first probability and ends below the second
MIN_SPEECH_FRAMES = MIN_PAUSE_FRAMES = 10


@cache
def _network() -> torch.jit.ScriptModule:
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad  # sets torch to one thread when it is imported

    network: torch.jit.ScriptModule = load_silero_vad(onnx=False)
    torch.set_num_threads(threads)
    return network


class SpeechDetector:
    """Reads one recording, block by block; `gain` is the factor that its samples are heard with."""

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
        chunks = (np.arange(self._samples // HOP_16K) * HOP_16K + HOP_16K // 2) // CHUNK
        return tidy_mask(np.array(self._probabilities)[np.minimum(chunks, len(self._probabilities) - 1)])

    def _listen(self, wav: NDArray[np.float32]) -> None:
        with torch.inference_mode():
            for chunk in torch.from_numpy(wav).view(-1, 1, CHUNK):
                self._probabilities.append(float(self._network(chunk, RATE_16K_HZ)))


def tidy_mask(probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Turn probabilities of speech, shape (T,), into stretches: two thresholds, no crumbs, no tiny gaps."""
    mask = np.zeros(probabilities.size, dtype=np.bool_)
    for start, stop in runs(probabilities > LEAVE):
        if probabilities[start:stop].max() > ENTER:
            mask[start:stop] = True
    for start, stop in runs(~mask):
        if stop - start < MIN_PAUSE_FRAMES and start > 0 and stop < mask.size:
            mask[start:stop] = True
    for start, stop in runs(mask):
        if stop - start < MIN_SPEECH_FRAMES:
            mask[start:stop] = False
    return mask
