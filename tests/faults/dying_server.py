"""What a server is doing when it is killed: `python -m tests.faults.dying_server WHAT FOLDER`.

`python -m rvc.sandbox tests.faults.dying_server` is a child that does nothing for a minute.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import soundfile as sf

from pipelines.jobs.processes import WORKER_COMMAND
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.records import Caller
from pipelines.voices.library import BUILTIN_PREFIX
from rvc.files import ROOT
from rvc.sandbox import Order, run_sandboxed, serve
from tests.toy_worker import TOY_WORKER

ME = Caller("me")
SPEECH = ROOT / "assets" / "examples" / "voice" / "wren-1.ogg"
LIMITS = {"memory_bytes": 1_000_000_000, "cpu_s": 60, "file_bytes": 1_000_000}


def sandboxed(folder: Path) -> None:
    """A child with a child of its own."""
    run_sandboxed("tests.faults.dying_server", {"deep": 1, **LIMITS}, 60.0)


def loading(folder: Path) -> None:
    """A child that is still loading what it needs."""
    os.environ["LOADS_S"] = "60"
    run_sandboxed("tests.faults.dying_server", {"deep": 0, **LIMITS}, 60.0)


def importing(folder: Path) -> None:
    jobs = _jobs(folder)
    while True:
        jobs.library.import_voice(ME, [folder / "voice.pth"])


def exporting(folder: Path) -> None:
    jobs = _jobs(folder)
    row = jobs.library.import_voice(ME, [folder / "voice.pth"])
    (folder / "ready").touch()
    while True:
        os.utime(jobs.library.folder(ME, row["id"]) / "card.json")  # of what has changed a new one is made
        jobs.library.export_rvc(ME, row["id"])


def converting(folder: Path) -> None:
    """By the real engine, something long."""
    jobs = _jobs(folder)
    wav, rate_hz = sf.read(SPEECH)
    long = folder / "long.wav"
    with sf.SoundFile(long, "w", rate_hz, 1) as file:
        for _ in range(round(600 * rate_hz / len(wav)) + 1):
            file.write(wav)
    jobs.start()
    upload = jobs.upload(ME, [(long, "long.wav")], "target")["id"]
    for event in jobs.follow(ME, jobs.submit(ME, "conversion", upload, model_id=_builtin(jobs))["id"]):
        if event["progress"] > 0:
            (folder / "ready").touch()


def batch(folder: Path) -> None:
    jobs = _jobs(folder)
    jobs.start()
    files = [(SPEECH, f"{number}.ogg") for number in range(50)]
    upload = jobs.upload(ME, files, "batch")["id"]
    for event in jobs.follow(ME, jobs.submit_batch(ME, [upload], model_id=_builtin(jobs))["id"]):
        if event["progress"] > 0:
            (folder / "ready").touch()


def training(folder: Path) -> None:
    """Toy work, which saves where it stands."""
    jobs = _jobs(folder, TOY_WORKER)
    jobs.start()
    upload = jobs.upload(ME, [(SPEECH, "me.ogg")], "training")["id"]
    settings = {"steps": 1_000_000, "step_s": 0.01}
    job = jobs.submit(ME, "training", upload, model_name="Me", settings=settings)
    for event in jobs.follow(ME, job["id"]):
        if event["progress"] > 0:
            (folder / "ready").touch()


def _jobs(folder: Path, command: tuple[str, ...] = WORKER_COMMAND) -> Jobs:
    return Jobs(Settings(data_dir=folder / "data"), worker_command=command)


def _builtin(jobs: Jobs) -> str:
    return next(row["id"] for row in jobs.library.list(ME) if row["id"].startswith(BUILTIN_PREFIX))


DOING = {
    work.__name__: work for work in (sandboxed, loading, importing, exporting, converting, batch, training)
}


def _asleep(order: Order) -> None:
    if order["deep"]:
        run_sandboxed("tests.faults.dying_server", {**order, "deep": order["deep"] - 1}, 60.0)
    time.sleep(60)


if __name__ == "__main__":
    if len(sys.argv) == 2:  # an order
        time.sleep(float(os.environ.get("LOADS_S", "0")))
        sys.exit(serve(sys.argv[1:], _asleep))
    DOING[sys.argv[1]](Path(sys.argv[2]))
