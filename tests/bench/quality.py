"""The quality table: a voice trained through the endpoints, a stranger converted with it, and scores.

    python -m tests.bench.quality --speech FOLDER --target nathalie --minutes 5 --source 26 --sentences 20 \
        --judge JUDGE_ENV/bin/python

FOLDER holds speech and a `metadata.csv` (file|speaker|seconds|text). JUDGE_ENV is an environment with
`tests/bench/requirements-score.txt`. The target's recordings are taken in the table's order until the minutes
are full; what is left of them is what the judges compare with. Everything goes through a launched app and its
Python client, with default settings. Prints timings and what `score.py` prints.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file  # type: ignore[import-untyped]

logger = logging.getLogger("quality")
ROOT = Path(__file__).resolve().parents[2]
SHORTEST_SOURCE_S = 3.0
JUDGED_TARGETS = 40


def rows_of(speech: Path, speaker: str) -> list[dict[str, str]]:
    """The recordings of one speaker, in the table's order, each once."""
    with (speech / "metadata.csv").open(encoding="utf-8") as table:
        rows = [
            r for r in csv.DictReader(table, delimiter="|", quoting=csv.QUOTE_NONE) if r["speaker"] == speaker
        ]
    return list({row["file"]: row for row in rows}.values())


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


def measure(options: argparse.Namespace, work: Path) -> list[str]:
    """Train and convert; returns the arguments of score.py."""
    folders = {name: work / name for name in ("source", "target", "converted", "data")}
    for folder in folders.values():
        folder.mkdir()
    seconds, training = 0.0, []
    for row in rows_of(options.speech, options.target):
        if seconds < 60 * options.minutes:
            training.append(options.speech / row["file"])
            seconds += float(row["seconds"])
        elif len(list(folders["target"].iterdir())) < JUDGED_TARGETS:
            shutil.copy(options.speech / row["file"], folders["target"])
    sources = [r for r in rows_of(options.speech, options.source) if float(r["seconds"]) >= SHORTEST_SOURCE_S]
    for row in sources[: options.sentences]:
        shutil.copy(options.speech / row["file"], folders["source"])
    server, client = launch(folders["data"])
    try:
        began = time.monotonic()
        voice = last(client, [handle_file(p) for p in training], options.target, {}, api_name="/train_voice")
        logger.info(
            "trained on %.1f min of %s in %.1f min",
            seconds / 60,
            options.target,
            (time.monotonic() - began) / 60,
        )
        began = time.monotonic()
        for path in sorted(folders["source"].iterdir()):
            done = last(client, handle_file(path), voice["model_id"], {}, api_name="/convert_voice")
            made = Path(client.predict(done["id"], api_name="/download_audio"))
            shutil.copy(made, folders["converted"] / f"{path.stem}{made.suffix}")
        logger.info(
            "converted %d sentences in %.0f s", len(sources[: options.sentences]), time.monotonic() - began
        )
    finally:
        server.terminate()
        server.wait(30)
    named = [f"--{name}={folders[name]}" for name in ("converted", "source", "target")]
    return [*named, f"--text={options.speech / 'metadata.csv'}", f"--json={options.json.resolve()}"]


def main() -> int:
    """Run it; the exit status is score.py's."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--target", default="nathalie")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--source", default="26")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--judge", default=sys.executable, help="python of the judges' environment")
    parser.add_argument("--json", type=Path, default=Path("quality.json"))
    parser.add_argument("--keep", type=Path, help="copy the work folder there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments = measure(options, Path(folder))
        judged = subprocess.run(
            [options.judge, str(Path(__file__).with_name("score.py")), *arguments], check=False
        )
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True)
    return judged.returncode


if __name__ == "__main__":
    sys.exit(main())
