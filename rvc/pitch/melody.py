"""The child that measures melodies: `python -m rvc.pitch.melody ORDER`.

recordings: sound files; seconds: so much of each is heard; step_s
->  JSON, of each recording its pitch in Hz, one value every step_s; null where unvoiced
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rvc.audio.level import FRAMES_PER_S, RATE_16K_HZ
from rvc.audio.reader import blocks
from rvc.errors import AudioError
from rvc.pitch.praat import PraatF0
from rvc.sandbox import Order, serve


def measure(order: Order) -> bytes:
    """Measure the beginning of each recording."""
    every = round(order["step_s"] * FRAMES_PER_S)
    melodies = [_melody(Path(path), order["seconds"], every) for path in order["recordings"]]
    return json.dumps(melodies).encode()


def _melody(path: Path, seconds: float, every: int) -> list[float | None]:
    wav = next(blocks(path, rate_hz=RATE_16K_HZ, block_s=seconds), None)
    if wav is None:
        raise AudioError(f"{path.name} holds no sound, so it has no melody to draw.")
    return [round(float(hz), 1) if hz > 0 else None for hz in PraatF0()(wav)[::every]]


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], measure))
