"""The demonstration: the example voice trained and tried, by the same jobs as on the page.

    DATA_DIR/demo/source.<ext>      the recording as it is
    DATA_DIR/demo/converted.wav     the same in the example voice
    DATA_DIR/demo/spectrograms.png  both as pictures, one above the other

The voice is offered to everybody who opens the page of this data folder, and nobody can change it. Where
it is there already it is not trained again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.records import Caller, Row
from rvc.errors import ConfigError
from rvc.files import ROOT

Say = Callable[[str], None]

EXAMPLES = ROOT / "assets" / "examples"
VOICE_NAME = "Wren (demo)"
OWNER = Caller(user_id="demo", admin=False)
TELL_EVERY_S = 15.0

TRAINING_S = 360.0  # that the steps of the training may take; a slower machine takes fewer steps
CALIBRATION_S = 60.0  # of stepping, after which it is judged whether all steps are done in time
FEWEST_STEPS = 60


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    model_id: str
    source: Path
    converted: Path
    picture: Path
    seconds: dict[str, float]  # that each part took, by name


def run_demo(jobs: Jobs, settings: Settings, *, say: Say) -> Demonstration:
    """Train the example voice if it is not there yet, and convert with it; a ConfigError if that fails."""
    folder = settings.data_dir / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    if model_id := _known_voice(jobs):
        say(f"The voice {VOICE_NAME} is there already; it is used as it is.")
    else:
        with _timed(seconds, "training"):
            model_id = _train(jobs, say)
    with _timed(seconds, "conversion"):
        source, converted, job_id = _convert(jobs, model_id, folder, say)
    picture = folder / "spectrograms.png"
    with _timed(seconds, "picture"):
        drawn, _ = jobs.files.spectrograms(OWNER, job_id)
        shutil.copyfile(drawn, picture)
    say(f"Recording:    {source}")
    say(f"In the voice: {converted}")
    say(f"As pictures:  {picture}")
    say("Done: " + ", ".join(f"{part} {spent:.1f} s" for part, spent in seconds.items()) + ".")
    return Demonstration(
        model_id=model_id, source=source, converted=converted, picture=picture, seconds=seconds
    )


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    seconds[part] = time.monotonic() - began_s


def _known_voice(jobs: Jobs) -> str | None:
    rows = jobs.registry.list("models", lambda row: row["model_name"] == VOICE_NAME and row["builtin"])
    return str(rows[0]["id"]) if rows else None


def _train(jobs: Jobs, say: Say) -> str:
    files = sorted((EXAMPLES / "voice").glob("*.ogg"))
    upload = jobs.upload(OWNER, [(path, path.name) for path in files], "training")
    length_s = sum(file["seconds"] for file in upload["files"])
    say(f"Training {VOICE_NAME} on {len(files)} recordings, {length_s:.0f} s ...")
    consent = {"statement": "A synthetic voice (flite, slt); see assets/examples/README.md"}
    settings: Row = {"consent": consent}
    job = jobs.submit(OWNER, "training", upload["id"], model_name=VOICE_NAME, settings=settings)
    steps = _affordable_steps(jobs, job, say)
    if steps is not None:
        say(f"  This machine is slow at it; the training is cut to {steps} steps.")
        jobs.cancel(OWNER, job["id"])
        *_, job = jobs.follow(OWNER, job["id"])
        if job["status"] == "cancelled":
            # It goes on from its checkpoint: the number of steps is no part of what must stay the same.
            jobs.registry.update("jobs", job["id"], settings={**settings, "total_steps": steps})
            job = jobs.resume(OWNER, job["id"])
    row = _finished(jobs, job, say)
    report = jobs.files.report(OWNER, row["id"])
    if report and report.get("speech_s"):
        say(f"  It learned from {report['speech_s']:.0f} s of speech.")
    return str(jobs.library.offer_to_all(row["model_id"])["id"])


def _affordable_steps(jobs: Jobs, job: Row, say: Say) -> int | None:
    """Watch the first minute of a training; return how many steps there is time for, None if for all."""
    seen, began_s = 0, None
    for _ in _told(jobs, job, say):
        for event in jobs.events(OWNER, job["id"], seen):
            seen, step = event["n"], event["data"].get("step")
            if not step:
                continue
            moment_s = time.monotonic()
            began_s = began_s or moment_s
            if moment_s - began_s >= CALIBRATION_S:
                in_time = int(step * TRAINING_S / (moment_s - began_s))
                enough = in_time >= event["data"]["total_steps"]
                return None if enough else max(in_time, step + 1, FEWEST_STEPS)
    return None


def _convert(jobs: Jobs, model_id: str, folder: Path, say: Say) -> tuple[Path, Path, str]:
    example = next((EXAMPLES / "recordings").glob("*.flac"))
    upload = jobs.upload(OWNER, [(example, example.name)], "target")
    say(f"Converting {example.name}, {upload['files'][0]['seconds']:.1f} s, into {VOICE_NAME} ...")
    # An admin, because the voice belongs to nobody in particular.
    caller = Caller(user_id=OWNER.user_id, admin=True)
    row = _finished(jobs, jobs.submit(caller, "conversion", upload["id"], model_id=model_id), say)
    result = row.get("result") or {}
    if result.get("transpose_semitones") is not None:
        say(f"  The melody was moved by {result['transpose_semitones']:+.1f} semitones to suit the voice.")
    source = folder / f"source{example.suffix}"
    converted = folder / "converted.wav"
    shutil.copyfile(jobs.files.input_path(OWNER, row["id"]), source)
    shutil.copyfile(jobs.files.result_path(OWNER, row["id"]), converted)
    return source, converted, str(row["id"])


def _finished(jobs: Jobs, job: Row, say: Say) -> Row:
    """Follow a job to its end; a ConfigError if that is not a good one."""
    *_, row = _told(jobs, job, say)
    if row["status"] != "completed":
        raise ConfigError(
            f"The {row['type']} of the demonstration is {row['status']}"
            + (f": {row['error_message']}" if row["error_message"] else "; run it again.")
        )
    return row


def _told(jobs: Jobs, job: Row, say: Say) -> Iterator[Row]:
    """Follow a job, saying now and then where it is."""
    told_s = time.monotonic()
    for row in jobs.follow(OWNER, job["id"]):
        moment_s = time.monotonic()
        if moment_s - told_s >= TELL_EVERY_S and row["status"] not in ("completed", "failed"):
            told_s = moment_s
            left = f", about {row['eta_s'] / 60:.0f} min left" if row["eta_s"] else ""
            doing = (row["message"] or row["stage"]).rstrip(".")
            say(f"  {100 * row['progress']:3.0f} %  {doing}{left}")
        yield row
