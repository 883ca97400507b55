"""What can be seen of a conversion: the melodies and the spectrograms of its source and its result.

Both are measured in the sound itself, which child processes hear, with limits, and kept beside the result.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from pipelines.store.records import Row
from rvc.files import atomic_write
from rvc.sandbox import hear_sandboxed

MAX_SECONDS = 60.0
STEP_S = 0.02
LIMITS = {"memory_bytes": 2_000_000_000, "cpu_s": 120, "file_bytes": 20_000_000}
WALL_S = 240.0
TOO_HEAVY = "These recordings cannot be drawn within the limits of memory and time; listen to them instead."


def pitch_contours(before: Path, after: Path, kept: Path) -> Row:
    """Return source_hz and result_hz, one value every step_s of the first seconds; null where unvoiced."""
    if not kept.is_file():
        order = {"recordings": _places(before, after), "seconds": MAX_SECONDS, "step_s": STEP_S, **LIMITS}
        source, result = orjson.loads(hear_sandboxed("rvc.pitch.melody", order, WALL_S, TOO_HEAVY))
        kept.parent.mkdir(exist_ok=True)
        with atomic_write(kept) as path:
            path.write_bytes(orjson.dumps({"step_s": STEP_S, "source_hz": source, "result_hz": result}))
    contours: Row = orjson.loads(kept.read_bytes())
    return contours


def draw_spectrograms(before: Path, after: Path, kept: Path, titles: tuple[str, str]) -> None:
    """Draw the first 20 s of two recordings above each other, with their melodies, unless it was done before.

    `titles` are what stands above each; it is a PNG of 1200 x 800.
    """
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        with atomic_write(kept) as path:
            order = {"recordings": _places(before, after), "titles": titles, "picture": str(path), **LIMITS}
            hear_sandboxed("pipelines.spectrogram_picture", order, WALL_S, TOO_HEAVY)


def _places(*recordings: Path) -> list[str]:
    return [str(path.resolve()) for path in recordings]
