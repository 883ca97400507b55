"""Whether a blend of two voices lies between them: likeness to each, and word errors, by the yardstick.

    python -m tests.bench.blend --speech FOLDER --judge JUDGE_ENV/bin/python

FOLDER holds speech and a `metadata.csv` (file|speaker|seconds|text); JUDGE_ENV is an environment with
`tests/bench/requirements-score.txt`. The voices that ship and a blend of them, half and half, made as the
page makes it, speak the sources' sentences; `tests.bench.blend_scores` prints the table in docs/quality.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.conversion.convert import convert
from pipelines.events import finish
from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.blending import blend_voices
from pipelines.voices.library import BUILTIN_PREFIX, BUILTIN_VOICES, Library
from rvc.engine.options import ConvertOptions
from rvc.files import ROOT
from rvc.voice import Voice
from tests.bench.quality import JUDGED_TARGETS, SHORTEST_SOURCE_S, recordings_of

PARENTS = ("kathleen", "flemishguy")
BLEND = "half and half"
ME = Caller("bench")


def lay_out(speech: Path, sources: dict[str, int], work: Path) -> None:
    """Copy what is said, by speaker so many sentences with text, and real recordings of each parent."""
    (work / "source").mkdir()
    for speaker, count in sources.items():
        said = [u for u in recordings_of(speech, speaker, unheard=False) if u.text]
        for one in [u for u in said if u.seconds >= SHORTEST_SOURCE_S][:count]:
            shutil.copy(speech / one.file, work / "source")
    for speaker in PARENTS:
        (work / "target" / speaker).mkdir(parents=True)
        for one in recordings_of(speech, speaker, unheard=True)[:JUDGED_TARGETS]:
            shutil.copy(speech / one.file, work / "target" / speaker)


def speak_all(folder: Path, work: Path, name: str) -> None:
    """Convert all sources with the voice of a bundle."""
    voice = Voice.load(folder)
    (work / "converted" / name).mkdir(parents=True)
    for path in sorted((work / "source").iterdir()):
        made = work / "converted" / name / f"{path.stem}.wav"
        finish(convert(path, made, voice, ConvertOptions(format="wav")))


def main() -> None:
    """Blend, convert and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--judge", default=sys.executable, help="python of the judges' environment")
    parser.add_argument("--man", type=int, default=24, help="sentences of speaker 26")
    parser.add_argument("--woman", type=int, default=12, help="sentences of speaker 19")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        lay_out(options.speech, {"26": options.man, "19": options.woman}, work)
        registry = Registry(work / "data")
        library = Library(work / "data", registry)
        ids = [f"{BUILTIN_PREFIX}{name}" for name in PARENTS]
        row = blend_voices(library, ME, ids, [0.5, 0.5], BLEND, lambda _: None)
        for name in PARENTS:
            speak_all(BUILTIN_VOICES / name, work, name)
        speak_all(library.folder(ME, row["id"]), work, BLEND)
        registry.close()
        judge = [options.judge, "-m", "tests.bench.blend_scores", str(work), str(options.speech)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        sys.exit(subprocess.run(judge, check=False, env=environment).returncode)


if __name__ == "__main__":
    main()
