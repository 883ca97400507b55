"""The child that tries recordings, if one called "killer" ended it, and one called "slow" took for ever."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from rvc.audio import reader

_probe = reader.probe


def probe(path: Path, *, name: str | None = None) -> reader.AudioInfo:
    if name == "killer":
        os._exit(9)
    if name == "slow":
        while True:
            pass
    return _probe(path, name=name)


if __name__ == "__main__":
    reader.probe = probe
    runpy.run_module("rvc.audio.trial", run_name="__main__")
