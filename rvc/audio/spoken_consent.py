"""A spoken consent: checked for its sound and length, and kept as MP3, in a child process with limits.

    python -m rvc.audio.spoken_consent ORDER
    path, name: a stranger's recording, and what messages call it
    ->  result: the same as MP3; the answer is JSON: seconds

Who speaks, and what, is not checked: nothing here can do that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from rvc.audio.level import RATE_16K_HZ, frame_rms
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from rvc.audio.writer import save
from rvc.errors import AudioError
from rvc.sandbox import Order, hear_sandboxed, serve

RATE_HZ = 24_000
SHORTEST_S, LONGEST_S = 3.0, 120.0
SOUNDING_S = 1.5  # of it that is louder than...
SOUNDING_RMS = 10 ** (-50 / 20)  # of full scale; a quiet room is softer
LIMITS = {"memory_bytes": 1_000_000_000, "cpu_s": 60, "file_bytes": 4_000_000}
MAX_BYTES = 3_000_000  # of the longest
WALL_S = 120.0


def keep_spoken(recording: Path, name: str, result: Path) -> float:
    """Check a recording and write it as MP3; return its seconds.

    Raises:
        AudioError: It cannot be read, is too short or too long, or holds almost no sound.
    """
    order = {"path": str(recording.resolve()), "name": name, "result": str(result.resolve())} | LIMITS
    too_heavy = f"{name} cannot be read within its limits of memory and time; record only the sentence."
    answer = hear_sandboxed("rvc.audio.spoken_consent", order, WALL_S, too_heavy)
    return float(json.loads(answer)["seconds"])


def _check(order: Order) -> bytes:
    name = str(order["name"])
    wav, rate_hz = load_mono(Path(order["path"]), max_seconds=LONGEST_S, name=name)
    seconds = wav.size / rate_hz
    if seconds < SHORTEST_S:
        raise AudioError(f"{name} is shorter than {SHORTEST_S:g} s; read the whole sentence.")
    sounding = np.count_nonzero(frame_rms(resample(wav, rate_hz, RATE_16K_HZ)) > SOUNDING_RMS) / 100
    if sounding < SOUNDING_S:
        raise AudioError(f"{name} holds almost no sound; come nearer to the microphone, and read it again.")
    save(Path(order["result"]), resample(wav, rate_hz, RATE_HZ), RATE_HZ)
    return json.dumps({"seconds": round(seconds, 2)}).encode()


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], _check))
