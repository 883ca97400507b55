"""Recordings with tables, which readers write out whole, are opened on trial in a child process with limits.

A tenth of a MB of MP4 may state a table of 170 million samples, for which FFmpeg takes 5 GB; Matroska and ASF
have tables too, and pictures. What passes is opened here afterwards, at no more cost than there; what kills
the child is refused, and the others are tried in another. Other containers are rows of small pieces, and need
no trial.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rvc.audio.containers import locate
from rvc.audio.reader import probe
from rvc.errors import AudioError
from rvc.sandbox import ChildDiedError, Order, TooSlowError, run_sandboxed, serve

WITH_TABLES = frozenset(("m4a", "mp4", "mov", "3gp", "webm", "mkv", "wma"))
MEMORY_BYTES = 70_000_000  # ten hours of AAC have tables of 50 MB; a server that reads on needs it twice
CPU_S, CPU_S_EACH = 20.0, 1.0
WALL_S = 600.0  # of all children together
_LOG_BYTES = 10_000_000


def refusals(files: Sequence[tuple[Path, str]]) -> list[AudioError | None]:
    """Return for each file, with what it is called, why it cannot be opened; None where it can, or may."""
    found: list[AudioError | None] = [None] * len(files)
    left = [number for number, (path, _) in enumerate(files) if _has_tables(path)]
    end_s = time.monotonic() + WALL_S
    while left:
        said = _tried([files[number] for number in left], end_s - time.monotonic())
        if not said:  # the first ended its child, whose time and memory were all its own
            too_much = " cannot be opened within its limits of memory and time; export it as WAV."
            said = [files[left[0]][1] + too_much]
        for number, sentence in zip(left, said, strict=False):
            found[number] = AudioError(sentence) if sentence else None
        left = left[len(said) :]
    return found


def _tried(files: Sequence[tuple[Path, str]], wall_s: float) -> list[str | None]:
    """Try files in one child; return what it says of each (None: can be opened) until it ends or dies."""
    with tempfile.TemporaryDirectory(prefix="timbre-trial-") as folder:
        result = Path(folder) / "said"
        order = {
            "files": [(str(path.resolve()), name) for path, name in files],
            "result": str(result),
            "memory_bytes": MEMORY_BYTES,
            "cpu_s": round(CPU_S + CPU_S_EACH * len(files)),
            "file_bytes": _LOG_BYTES,
        }
        if wall_s > 0:
            with contextlib.suppress(TooSlowError, ChildDiedError):
                run_sandboxed("rvc.audio.trial", order, wall_s)
        lines = result.read_bytes().split(b"\n")[:-1] if result.exists() else []
        return [json.loads(line) for line in lines]


def _has_tables(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    located = locate(path)
    return located is not None and located.container in WITH_TABLES


def _try(order: Order) -> None:
    """In the child: open each, and say at once what came of it."""
    with Path(order["result"]).open("w", encoding="utf-8") as result:
        for path, name in order["files"]:
            sentence = None
            try:
                probe(Path(path), name=name)
            except AudioError as error:
                sentence = str(error)
            except MemoryError:
                sentence = f"{name} states more than it can hold, so it is damaged; export it again."
            result.write(json.dumps(sentence) + "\n")
            result.flush()


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], _try))
