"""A voice's sample: some seconds of MP3, which every browser plays, to hear it before it is used.

What comes in with a stranger's voice is heard in a child process (`python -m rvc.audio.sample_file`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvc.audio.level import frame_rms
from rvc.audio.reader import blocks, load_mono, probe
from rvc.audio.resampling import resample
from rvc.audio.writer import save
from rvc.errors import AudioError
from rvc.sandbox import ChildDiedError, Order, TooSlowError, run_sandboxed, serve

MAX_SAMPLE_BYTES = 150_000
SAMPLE_S, LONGEST_S = 3.0, 4.0  # of ours, and of one that is taken in: encoders add some silence
RATE_HZ = 24_000
QUIET = 0.03  # of the loudest stretch: what is softer is no beginning of speech
LEAD_S, FADE_S = 0.05, 0.05
LIMITS = {"memory_bytes": 300_000_000, "cpu_s": 20, "file_bytes": 1_000_000}
WALL_S = 60.0


def save_sample(recording: Path, destination: Path) -> None:
    """Write the beginning of a recording, without the silence before it, as a sample."""
    wav, rate_hz = load_mono(recording)
    save(destination, excerpt(resample(wav, rate_hz, RATE_HZ)), RATE_HZ)


def excerpt(wav: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut from samples at 24 kHz, shape (N,), what a voice's sample holds; its end is faded."""
    rms = frame_rms(wav)  # of frames of 160 samples, whatever they last
    loud = np.flatnonzero(rms > QUIET * rms.max()) if rms.size else rms
    start = max(0, int(loud[0]) * 160 - round(LEAD_S * RATE_HZ)) if loud.size else 0
    cut = wav[start : start + round(SAMPLE_S * RATE_HZ)].copy()
    ramp = np.linspace(1.0, 0.0, min(round(FADE_S * RATE_HZ), cut.size), dtype=np.float32)
    cut[cut.size - ramp.size :] *= ramp
    return cut


def is_sample_apart(path: Path, *, most_bytes: int = MAX_SAMPLE_BYTES, longest_s: float = LONGEST_S) -> bool:
    """Whether a stranger's file is an MP3 of a length that can be kept, as a child process finds."""
    if path.stat().st_size > most_bytes:
        return False
    order = {"path": str(path.resolve()), "longest_s": longest_s, **LIMITS}
    try:
        return run_sandboxed("rvc.audio.sample_file", order, WALL_S).startswith(b"yes")
    except (TooSlowError, ChildDiedError):
        return False


def _hear(order: Order) -> bytes:
    path = Path(order["path"])
    try:
        info = probe(path)
        seconds = sum(block.size for block in blocks(path, max_seconds=order["longest_s"], info=info))
    except AudioError:
        return b"no"
    return b"yes" if info.codec == "mp3" and seconds else b"no"


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], _hear))
