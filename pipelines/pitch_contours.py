"""The melodies of a conversion's source and result, both as they are measured in the sound itself.

What analyses sound is loaded only when contours are asked for; they are kept beside the result.
"""

from __future__ import annotations

import threading
from pathlib import Path

import orjson

from pipelines.store.records import Row
from rvc.files import atomic_write

MAX_SECONDS = 60.0
STEP_S = 0.02
_ONE_AT_A_TIME = threading.Lock()


def pitch_contours(before: Path, after: Path, kept: Path) -> Row:
    """Return source_hz and result_hz, one value every step_s of the first seconds; null where unvoiced."""
    with _ONE_AT_A_TIME:
        if kept.is_file():
            found: Row = orjson.loads(kept.read_bytes())
            return found
        contours = {"step_s": STEP_S, "source_hz": _measured(before), "result_hz": _measured(after)}
        kept.parent.mkdir(exist_ok=True)
        with atomic_write(kept) as path:
            path.write_bytes(orjson.dumps(contours))
        return contours


def _measured(path: Path) -> list[float | None]:
    from rvc.audio.level import FRAMES_PER_S, RATE_16K_HZ
    from rvc.audio.reader import blocks
    from rvc.errors import AudioError
    from rvc.pitch.praat import PraatF0

    wav = next(blocks(path, rate_hz=RATE_16K_HZ, block_s=MAX_SECONDS), None)
    if wav is None:
        raise AudioError(f"{path.name} holds no sound, so it has no melody to draw.")
    f0_hz = PraatF0()(wav)[:: round(STEP_S * FRAMES_PER_S)]
    return [round(float(hz), 1) if hz > 0 else None for hz in f0_hz]
