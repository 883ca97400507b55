"""One life of a server and of the person who uses it: `python -m tests.faults.life DATA_DIR`.

The person wants a voice prepared and trained, and a recording converted. In a later life they look at what
has become of it: they resume what was interrupted, retry what was parked, and upload again what never
arrived. The process ends when everything they want has ended, and prints the rows as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import soundfile as sf

from pipelines.jobs.processes import WORKER_COMMAND
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store import storage
from pipelines.store.records import Caller
from pipelines.voices.bundle import pack
from rvc.files import ROOT
from tests.tiny import toy_bundle

ME = Caller("me")
EXAMPLES = ROOT / "assets" / "examples"
TRAINING = {
    "engine": "tiny", "total_steps": 40, "batch_size": 3, "score_every": 20, "checkpoint_every": 5,
    "threads": 1,
}  # fmt: skip
WRITE_VARIABLE = "DIE_IN_WRITE"
Row = dict[str, Any]


def recordings(folder: Path) -> tuple[Path, Path]:
    """A voice of sixteen seconds, and a recording to convert."""
    folder.mkdir(exist_ok=True)
    paths = folder / "voice.wav", folder / "speech.wav"
    for path, source in zip(paths, ("voice/wren-1.ogg", "recordings/visitor.flac"), strict=True):
        if not path.exists():
            wav, rate_hz = sf.read(EXAMPLES / source, frames=16 * sf.info(EXAMPLES / source).samplerate)
            sf.write(path, wav, rate_hz)
    return paths


def voice_of_mine(jobs: Jobs, outside: Path) -> str:
    """The id of a toy voice to convert into, imported if it is not there yet."""
    for model in jobs.library.list(ME):
        if model["engine"] == "toy":
            return str(model["id"])
    archive = outside / "voice.zip"
    pack(toy_bundle(outside / "bundle"), archive)
    return str(jobs.library.import_voice(ME, [archive], "Hum")["id"])


def wanted(jobs: Jobs, outside: Path) -> list[Row]:
    """Ask for what is not there yet, and again for what has ended without a result."""
    voice, speech = recordings(outside)
    rows = [row for row in jobs.list(ME) if row["status"] != "uploaded"]
    by_type = {row["type"]: row for row in rows}
    model_id = voice_of_mine(jobs, outside)
    if "preprocessing" not in by_type:
        upload = jobs.upload(ME, [(voice, "voice.wav")], "training")
        by_type["preprocessing"] = jobs.submit(ME, "preprocessing", upload["id"])
    if "training" not in by_type:
        source = by_type["preprocessing"]["id"]
        by_type["training"] = jobs.submit(ME, "training", source, model_name="Mine", settings=TRAINING)
    if "conversion" not in by_type:
        upload = jobs.upload(ME, [(speech, "speech.wav")], "target")
        by_type["conversion"] = jobs.submit(ME, "conversion", upload["id"], model_id=model_id)
    for row in by_type.values():
        if row["status"] == "interrupted":
            jobs.resume(ME, row["id"])
        elif row["status"] == "failed":
            jobs.retry(ME, row["id"])
    return [list(jobs.follow(ME, row["id"]))[-1] for row in by_type.values()]


def die_in_write(number: int) -> None:
    """Kill this process at the given step of the registry: the odd ones half written, the even ones whole."""
    append, done = storage.JournaledStorage.append, 0

    def deadly(self: storage.JournaledStorage, line: bytes) -> None:
        nonlocal done
        done += 1
        if done == number and number % 2:
            append(self, line[: len(line) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, line)
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    storage.JournaledStorage.append = deadly  # type: ignore[method-assign]


def main(data_dir: Path) -> None:
    """Live until everything has ended."""
    if number := int(os.environ.get(WRITE_VARIABLE, "0")):
        die_in_write(number)
    worker = (*WORKER_COMMAND, "--tasks", "tests.faults.work")
    settings = Settings(data_dir=data_dir / "data", cancel_grace_s=3.0)
    settings.data_dir.mkdir(exist_ok=True)
    jobs = Jobs(settings, worker_command=worker, retry_pauses_s=(0.05, 0.05))
    try:
        jobs.start()
        rows = wanted(jobs, data_dir / "outside")
        sys.stdout.write(json.dumps(rows) + "\n")
    finally:
        jobs.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
