"""The child that measures where a voice lies: `python -m rvc.pitch.measure ORDER`.

recording: a sound file, maybe a stranger's; name: what messages call it
->  result: JSON of median_hz, low_hz, high_hz, as `F0Statistics`
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np

from rvc.audio.level import FRAMES_PER_S, RATE_16K_HZ
from rvc.audio.reader import blocks
from rvc.errors import AudioError
from rvc.pitch.f0 import f0_statistics
from rvc.pitch.praat import PraatF0
from rvc.sandbox import Order, serve

BLOCK_S, MOST_BLOCKS = 10.0, 60  # ten minutes tell as much as an hour
LEAST_VOICED_S = 1.0


def measure(order: Order) -> None:
    """Measure a recording and write what was found."""
    name = order["name"]
    pieces = blocks(Path(order["recording"]), rate_hz=RATE_16K_HZ, block_s=BLOCK_S, name=name)
    f0_hz = PraatF0()(np.concatenate([np.empty(0, np.float32), *islice(pieces, MOST_BLOCKS)]))
    statistics = f0_statistics(f0_hz)
    if statistics is None or np.count_nonzero(f0_hz) < LEAST_VOICED_S * FRAMES_PER_S:
        raise AudioError(
            f"{name} holds less than a second of voice, too little to measure its pitch; "
            "give some seconds of one person speaking."
        )
    found = {field: round(hz, 1) for field, hz in asdict(statistics).items()}
    Path(order["result"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], measure))
