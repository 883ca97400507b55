"""One line of the quality table: a voice of the launched app, a stranger converted with it, and scores.

    python -m tests.bench.quality --speech FOLDER --target nathalie --minutes 5 --source 26 --sentences 20 \
        --judge JUDGE_ENV/bin/python

FOLDER holds speech and a `metadata.csv` (file|speaker|seconds|text). JUDGE_ENV is an environment with
`tests/bench/requirements-score.txt`. With `--minutes` the target's voice is trained on that much of their
recordings, taken in the table's order, and judged by what is left; with `--minutes 0` the voice is the
built-in one of that speaker, judged by the sentences that it has not heard. Everything goes through a
launched app and its Python client, with default settings. Prints timings and what `score.py` prints.
`tests.bench.quality_table` makes all lines of the table in docs/quality.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from rvc.pretrain.dataset import HELD_OUT_SPEAKERS, Utterance, read_corpus

logger = logging.getLogger("quality")
ROOT = Path(__file__).resolve().parents[2]
SHORTEST_SOURCE_S = 3.0
JUDGED_TARGETS = 40


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One line of the table.

    Attributes:
        target: Speaker whose voice it is.
        minutes: Of the target's recordings to train on; 0 takes the built-in voice of that speaker.
        source: Speaker who is converted.
        sentences: How many sentences of the source.
        steps: Of the training; None are as many as suit the recordings, 0 none.
        words: Whether the word error rate counts: the judge understands English only.
    """

    target: str
    minutes: float
    source: str
    sentences: int = 20
    steps: int | None = None
    words: bool = True


def recordings_of(speech: Path, speaker: str, *, unheard: bool) -> list[Utterance]:
    """The recordings of one speaker in the table's order; of a speaker that training heard, the held-out."""
    rows = [u for u in read_corpus(speech) if u.speaker == speaker]
    return [u for u in rows if u.held_out] if unheard and speaker not in HELD_OUT_SPEAKERS else rows


def launch(data: Path) -> tuple[subprocess.Popen[bytes], Client]:
    """Start the app on a free port and connect to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"DATA_DIR": str(data), "MAX_FILES": "1000"}
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=environment)
    for _ in range(120):
        time.sleep(0.5)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                downloads = str(data / "downloads")
                return server, Client(f"http://127.0.0.1:{port}", verbose=False, download_files=downloads)
    server.kill()
    raise RuntimeError("The app did not answer within a minute.")


def last(client: Client, *arguments: object, api_name: str) -> dict[str, Any]:
    """Follow a generator endpoint to its last row, which must be of a completed job."""
    row: dict[str, Any] = client.submit(*arguments, api_name=api_name).result()
    if row.get("status") != "completed":
        raise RuntimeError(f"{api_name} ended with {row}")
    return row


def lay_out(trial: Trial, speech: Path, work: Path) -> list[Path]:
    """Copy what is converted and what judges the voice; returns what the voice is trained on."""
    for name in ("source", "target", "converted", "data"):
        (work / name).mkdir()
    seconds, training = 0.0, []
    for heard in recordings_of(speech, trial.target, unheard=not trial.minutes):
        if seconds < 60 * trial.minutes:
            training.append(speech / heard.file)
            seconds += heard.seconds
        elif len(list((work / "target").iterdir())) < JUDGED_TARGETS:
            shutil.copy(speech / heard.file, work / "target")
    sources = [u for u in recordings_of(speech, trial.source, unheard=True) if u.seconds >= SHORTEST_SOURCE_S]
    for said in sources[: trial.sentences]:
        shutil.copy(speech / said.file, work / "source")
    return training


def convert_all(trial: Trial, training: list[Path], work: Path) -> float:
    """Train if there is something to train on, and convert; returns the minutes of training."""
    server, client = launch(work / "data")
    trained_min = 0.0
    try:
        model_id = f"builtin-{trial.target}"
        if training:
            began = time.monotonic()
            files = [handle_file(path) for path in training]
            settings = {} if trial.steps is None else {"steps": trial.steps}
            model_id = last(client, files, trial.target, settings, api_name="/train_voice")["model_id"]
            trained_min = (time.monotonic() - began) / 60
        began = time.monotonic()
        for path in sorted((work / "source").iterdir()):
            done = last(client, handle_file(path), model_id, {}, api_name="/convert_voice")
            made = Path(client.predict(done["id"], api_name="/download_audio"))
            shutil.copy(made, work / "converted" / f"{path.stem}{made.suffix}")
        logger.info("trained %.1f min, converted in %.0f s", trained_min, time.monotonic() - began)
    finally:
        server.terminate()
        server.wait(30)
    return trained_min


def measure(trial: Trial, speech: Path, judge: str, keep: Path | None = None) -> dict[str, float]:
    """Run one trial; returns what `score.py` found, and the minutes of training.

    Raises:
        RuntimeError: A job or the judges failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        trained_min = convert_all(trial, lay_out(trial, speech, work), work)
        scored = work / "scores.json"
        command = [judge, "-m", "tests.bench.score", f"--json={scored}"]
        command += [f"--{name}={work / name}" for name in ("converted", "source", "target")]
        command += [f"--text={speech / 'metadata.csv'}"] if trial.words else []
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        failed = subprocess.run(command, check=False, env=environment).returncode
        if keep:
            shutil.copytree(folder, keep, dirs_exist_ok=True)
        if failed:
            raise RuntimeError(f"The judges ended with {failed} for {trial}")
        summary: dict[str, float] = json.loads(scored.read_text(encoding="utf-8"))["summary"]
        return summary | {"training_min": trained_min}


def main() -> None:
    """Run one trial."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--target", default="nathalie")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, help="of the training; 0: a voice without")
    parser.add_argument("--source", default="26")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--judge", default=sys.executable, help="python of the judges' environment")
    parser.add_argument("--json", type=Path, default=Path("quality.json"))
    parser.add_argument("--keep", type=Path, help="copy the work folder there")
    options = parser.parse_args()
    trial = Trial(
        target=options.target,
        minutes=options.minutes,
        source=options.source,
        sentences=options.sentences,
        steps=options.steps,
    )
    found = measure(trial, options.speech, options.judge, options.keep)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
